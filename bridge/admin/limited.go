package admin

import (
	"net"
	"sync"
)

// limited is a listener that closes connections which are too many at once.
type limited struct {
	net.Listener
	free chan struct{}
}

func newLimited(l net.Listener, most int) *limited {
	return &limited{l, make(chan struct{}, most)}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &counted{c, sync.OnceFunc(func() { <-l.free })}, nil
		default:
			_ = c.Close()
		}
	}
}

// counted is one of the connections of a limited listener.
type counted struct {
	net.Conn
	free func()
}

func (c *counted) Close() error {
	defer c.free()
	return c.Conn.Close()
}
