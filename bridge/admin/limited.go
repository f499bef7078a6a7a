package admin

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// limited is a listener that bounds the connections at a time. If there are too many, the oldest
// goes that has never been trusted, so that who may ask nothing keeps nobody out; if all were, the
// new one goes.
type limited struct {
	net.Listener
	most int

	mu        sync.Mutex // guards what follows
	open      int
	strangers list.List // of *counted, the oldest first
}

func newLimited(l net.Listener, most int) *limited { return &limited{Listener: l, most: most} }

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		added, victim := l.add(c)
		if victim != nil {
			_ = victim.Close()
		}
		if added != nil {
			return added, nil
		}
	}
}

// add adds a connection, unless it returns nil, and returns one that has to go.
func (l *limited) add(c net.Conn) (added *counted, victim net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		oldest := l.strangers.Front()
		if oldest == nil {
			return nil, c
		}
		old := oldest.Value.(*counted)
		l.forget(old)
		victim = old
	}
	added = &counted{Conn: c, of: l}
	added.in = l.strangers.PushBack(added)
	l.open++
	return added, victim
}

func (l *limited) forget(c *counted) {
	if !c.gone {
		c.gone = true
		l.open--
		c.trust()
	}
}

// counted is one of the connections of a limited listener, whose mutex guards in and gone.
type counted struct {
	net.Conn
	of   *limited
	in   *list.Element // of the strangers; nil: it is none
	gone bool
}

// trust makes it no stranger. The mutex must be held.
func (c *counted) trust() {
	if c.in != nil {
		c.of.strangers.Remove(c.in)
		c.in = nil
	}
}

func (c *counted) Close() error {
	c.of.mu.Lock()
	c.of.forget(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// connection is the key of the *counted in the context of its requests.
type connection struct{}

// withConnection is the ConnContext hook of the HTTP server.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, connection{}, conn)
}

// trustConnection notes that the one who asks with such a context may ask everything.
func trustConnection(ctx context.Context) {
	if c, ok := ctx.Value(connection{}).(*counted); ok {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.trust()
	}
}
