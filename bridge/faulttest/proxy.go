package faulttest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Proxy is a TCP proxy on loopback that breaks what goes through it, when and
// where a test says. Without a fault it is transparent: it passes on bytes,
// the end of each direction, and resets. All methods may be called concurrently.
type Proxy struct {
	t      testing.TB
	addr   string
	anchor []net.Conn
	dial   func(addr string) (net.Conn, error)
	cancel context.CancelFunc

	state               atomic.Pointer[state]
	up, down, discarded atomic.Int64

	setting sync.Mutex // held by Set and close
	wg      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	target string
	front  *front // nil while connections are refused
	conns  map[*conn]struct{}
	closed bool

	marking sync.Mutex // held while a mark is made, guards marks
	marks   map[string]chan struct{}
}

// front is a listener with its loop.
type front struct {
	net.Listener
	done chan struct{} // closed when the loop has ended
}

// NewProxy listens on a port of loopback and forwards each connection to
// target, host:port, which need not listen yet. The end of the test resets all
// connections, and waits for all goroutines of the proxy.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		t: t, target: target, cancel: cancel,
		dial: func(addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		conns: map[*conn]struct{}{},
		marks: map[string]chan struct{}{},
	}
	p.state.Store(newState(Fault{}))
	t.Cleanup(p.close)
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for a fault proxy: %v", err)
	}
	p.addr = listener.Addr().String()
	if err := p.hold(listener); err != nil {
		_ = listener.Close()
		t.Fatalf("hold the port of a fault proxy: %v", err)
	}
	p.open(listener)
	return p
}

// Addr returns the host:port that clients connect to. It stays the same.
func (p *Proxy) Addr() string { return p.addr }

// SetTarget says where connections go that are opened from now on.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Set replaces the fault, for the open connections and new ones. When it
// returns, nothing goes on under the fault before. Set(Fault{}) lifts all.
func (p *Proxy) Set(f Fault) {
	p.t.Helper()
	p.setting.Lock()
	defer p.setting.Unlock()
	p.catchUp()
	if p.isClosed() {
		return
	}
	next := newState(f)
	close(p.state.Swap(next).changed)
	for _, c := range p.all() {
		c.settle(next)
	}
	front := p.getFront()
	switch {
	case f.Refuse && front != nil:
		p.shut(front)
	case !f.Refuse && front == nil:
		listener, err := listen(p.addr)
		// A process that is being started has a copy of the listener from before, for a moment.
		for range 1000 {
			if !errors.Is(err, syscall.EADDRINUSE) {
				break
			}
			<-time.After(10 * time.Millisecond)
			listener, err = listen(p.addr)
		}
		if err != nil {
			p.t.Errorf("listen again for a fault proxy: %v", err)
			return
		}
		p.open(listener)
	}
}

// Cut resets all connections that are open towards a client. New ones are
// accepted, if the fault is not Refuse.
func (p *Proxy) Cut() {
	p.catchUp()
	for _, c := range p.all() {
		c.reset()
	}
}

// Connections returns how many connections are open: accepted, and neither
// cut nor closed by both sides.
func (p *Proxy) Connections() int {
	p.catchUp()
	n := 0
	for _, c := range p.all() {
		if !c.isOver() {
			n++
		}
	}
	return n
}

// Transferred returns how many bytes were forwarded to servers and to clients
// since the proxy began. A byte that has arrived is counted.
func (p *Proxy) Transferred() (up, down int64) { return p.up.Load(), p.down.Load() }

// Discarded returns how many bytes of clients were thrown away by HalfOpen.
func (p *Proxy) Discarded() int64 { return p.discarded.Load() }

func (p *Proxy) close() {
	p.setting.Lock()
	defer p.setting.Unlock()
	p.cancel()
	if front := p.getFront(); front != nil {
		p.shut(front)
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, c := range p.all() {
		c.reset()
	}
	p.wg.Wait()
	for _, c := range p.anchor {
		_ = c.Close()
	}
}

func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}

// hold keeps one connection to the listener, so that the port stays taken
// while connections are refused: nobody is given it meanwhile, and a client
// that tries again and again cannot be connected to itself.
func (p *Proxy) hold(listener net.Listener) error {
	out, err := p.dial(p.addr)
	if err != nil {
		return err
	}
	p.anchor = append(p.anchor, out)
	in, err := listener.Accept()
	if err != nil {
		return err
	}
	p.anchor = append(p.anchor, in)
	return nil
}

func (p *Proxy) open(listener net.Listener) {
	f := &front{Listener: listener, done: make(chan struct{})}
	p.mu.Lock()
	p.front = f
	p.mu.Unlock()
	p.wg.Go(func() {
		defer close(f.done)
		p.accept(f)
	})
}

func (p *Proxy) shut(f *front) {
	p.mu.Lock()
	p.front = nil
	p.mu.Unlock()
	_ = f.Close()
	<-f.done
}

func (p *Proxy) accept(f *front) {
	for {
		client, err := f.Accept()
		switch {
		case err == nil:
			p.take(client.(*net.TCPConn))
		case errors.Is(err, net.ErrClosed):
			return
		default: // no file descriptors: others may give some back
			<-time.After(5 * time.Millisecond)
		}
	}
}

// slowHolds is how many bytes the system takes, about, on behalf of a line that is slow when it is
// opened: megabytes would seem to have left at once, and then to stand still.
const slowHolds = 64 << 10

func (p *Proxy) take(client *net.TCPConn) {
	p.marking.Lock()
	mark, ok := p.marks[client.RemoteAddr().String()]
	p.marking.Unlock()
	if ok {
		abort(client)
		close(mark)
		return
	}
	if p.state.Load().Rate > 0 {
		_ = client.SetReadBuffer(slowHolds)
	}
	c := &conn{proxy: p, client: client, over: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		abort(client)
		return
	}
	p.conns[c] = struct{}{}
	p.wg.Go(func() {
		defer p.forget(c)
		c.run()
	})
}

// catchUp waits until all connections are accepted that clients have opened
// before: they come in order, so it opens one more and waits for that.
func (p *Proxy) catchUp() {
	f, local, mark := p.mark()
	if mark == nil {
		return
	}
	select {
	case <-mark:
	case <-f.done:
	}
	p.marking.Lock()
	defer p.marking.Unlock()
	delete(p.marks, local.LocalAddr().String())
	abort(local.(*net.TCPConn))
}

// mark opens a connection of which take knows that it is a mark.
func (p *Proxy) mark() (*front, net.Conn, chan struct{}) {
	p.marking.Lock()
	defer p.marking.Unlock()
	f := p.getFront()
	if f == nil {
		return nil, nil, nil
	}
	local, err := p.dial(p.addr)
	if err != nil { // it was shut meanwhile
		return nil, nil, nil
	}
	mark := make(chan struct{})
	p.marks[local.LocalAddr().String()] = mark
	return f, local, mark
}

func (p *Proxy) all() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := make([]*conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	return conns
}

func (p *Proxy) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) getTarget() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

func (p *Proxy) getFront() *front {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.front
}

func (p *Proxy) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}
