package xrtc

import (
	"context"
	"net"
	"sync"
)

// conns are the open connections of a client, so that Close can end what goes on over them. That
// costs a request nothing, as a context of its own would.
type conns struct {
	mu     sync.Mutex // guards what follows
	open   map[net.Conn]struct{}
	closed bool
}

func (cs *conns) dial(ctx, closed context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(closed, func() { cancel(ErrClosed) })()
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		_ = conn.Close()
		return nil, ErrClosed
	}
	if cs.open == nil {
		cs.open = make(map[net.Conn]struct{})
	}
	cs.open[conn] = struct{}{}
	return &tracked{conn, cs}, nil
}

func (cs *conns) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	for conn := range cs.open {
		_ = conn.Close()
	}
	cs.open = nil
}

// tracked is a connection that is among its conns until it is closed.
type tracked struct {
	net.Conn
	conns *conns
}

func (t *tracked) Close() error {
	t.conns.mu.Lock()
	delete(t.conns.open, t.Conn)
	t.conns.mu.Unlock()
	return t.Conn.Close()
}
