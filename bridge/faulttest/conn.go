package faulttest

import (
	"net"
	"sync"
	"time"
)

// past is a deadline that wakes whoever reads or writes.
var past = time.Unix(1, 0)

// conn is one connection of a client, with the one to the server.
type conn struct {
	proxy  *Proxy
	client *net.TCPConn
	over   chan struct{} // closed when nothing more is forwarded

	mu      sync.Mutex // guards what follows
	server  *net.TCPConn
	streams []*stream // up and down, when there is a server
	ended   bool      // over is closed
}

// run returns when both sockets are closed and all goroutines have ended.
func (c *conn) run() {
	for st := c.proxy.state.Load(); st.BlackHole && !c.isOver(); st = c.proxy.state.Load() {
		c.wait(st, 0)
	}
	if c.isOver() {
		return
	}
	server, err := c.proxy.dial(c.proxy.getTarget())
	if err != nil {
		c.reset()
		return
	}
	var wg sync.WaitGroup
	for _, s := range c.attach(server.(*net.TCPConn)) {
		wg.Go(s.read)
		wg.Go(s.write)
	}
	wg.Wait()
	c.end()
	_ = c.client.Close()
	_ = server.Close()
}

func (c *conn) attach(server *net.TCPConn) []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		abort(server)
		return nil
	}
	c.server = server
	c.streams = []*stream{
		newStream(c, true, c.client, server),
		newStream(c, false, server, c.client),
	}
	return c.streams
}

// settle wakes the streams and waits until they are under the state.
func (c *conn) settle(current *state) {
	c.mu.Lock()
	streams := c.streams
	c.mu.Unlock()
	for _, s := range streams {
		_ = s.src.SetReadDeadline(past)
		_ = s.dst.SetWriteDeadline(past)
	}
	for _, s := range streams {
		s.in.settle(current)
		s.out.settle(current)
	}
}

// wait returns when the state has changed, the connection is over or the
// time is up; 0 is for ever.
func (c *conn) wait(st *state, d time.Duration) {
	var up <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		up = timer.C
	}
	select {
	case <-st.changed:
	case <-c.over:
	case <-up:
	}
}

func (c *conn) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// end says that nothing more is forwarded, and reports whether that is news.
func (c *conn) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.ended = true
	close(c.over)
	return true
}

// reset sends an RST to both sides.
func (c *conn) reset() {
	c.end()
	abort(c.client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		abort(c.server)
	}
}

// finish sends a FIN to both sides. The sockets stay open, as closing one with
// unread bytes would send an RST.
func (c *conn) finish() {
	if c.end() {
		_ = c.client.CloseWrite()
		_ = c.server.CloseWrite()
	}
}

// abort closes a socket with an RST.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// drain waits until the kernel of the other side has taken all that was
// written, as an RST throws away the rest.
func (c *conn) drain(socket *net.TCPConn) {
	for unsent(socket) > 0 && !c.isOver() {
		timer := time.NewTimer(time.Millisecond) // the kernel tells nobody
		select {
		case <-timer.C:
		case <-c.over:
		}
		timer.Stop()
	}
}
