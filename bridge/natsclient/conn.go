package natsclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
)

// How long the other side may be silent: it is asked each time, and given up after the third.
const (
	pingEvery = 10 * time.Second
	pings     = 3
	patience  = 10 * time.Second // with a write of which nothing leaves
)

// longest is more than any wait takes.
const longest = 24 * time.Hour

// words is more bytes than pings take in the meantime: what moves beyond that is messages.
const words = 512

// Conn is a connection that is never mended: what ends it ends whoever has it. Dial makes it one;
// what it is told to call may call Fail before that returns.
type Conn struct {
	*nats.Conn
	Servers string        // for errors
	Gone    chan struct{} // closed when the connection has ended

	socket atomic.Pointer[socket.Conn]
	mu     sync.Mutex // guards cause
	cause  error      // the first reason to end the connection
}

// Options are those of a connection that is never mended, and does not wait for ever.
func Options(name string) []nats.Option {
	return []nats.Option{
		nats.Name(name), nats.NoReconnect(), nats.Timeout(patience),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pings - 1), nats.FlusherTimeout(patience),
	}
}

// Dial connects to one of the servers. What trying again does not help is permanent. The connection
// ends when nothing comes for half a minute and nothing leaves either: on a slow line an answer may
// have to wait until what was written has left.
func (c *Conn) Dial(ctx context.Context, s *Settings, name string, options ...nats.Option) error {
	auth, err := s.auth()
	if err != nil {
		return bridge.Permanent(err)
	}
	config, always, err := s.secure()
	if err != nil {
		return bridge.Permanent(err)
	}
	timeout := cmp.Or(s.ConnectTimeout, 10*time.Second)
	c.Servers, c.Gone = s.Servers(), make(chan struct{})
	all := nats.GetDefaultOptions()
	web := false
	for _, u := range s.URL {
		one := *u.URL
		if one.Scheme == "wss" { // the TLS of which is ours
			if one.Scheme = "ws"; one.Port() == "" {
				one.Host = net.JoinHostPort(one.Hostname(), "443")
			}
		}
		web = one.Scheme == "ws"
		// Not nats.Connect, which would take a comma in a password for the end of the URL.
		all.Servers = append(all.Servers, one.String())
	}
	if always && !web { // what the library knows of that of WebSockets it does itself
		auth = append(auth, nats.Secure(config))
	}
	last, named := new(trial), s.names()
	own := []nats.Option{
		nats.Timeout(timeout),
		nats.MaxPingsOutstanding(math.MaxInt32), // watch counts
		nats.SkipHostLookup(),                   // the dialer does that, and names the server to TLS
		nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
			c.Cut() // the library leaves a WebSocket open that has failed
			d := net.Dialer{Timeout: timeout}
			plain, err := d.DialContext(ctx, network, address)
			if last = (&trial{address: address, err: err}); err != nil {
				return nil, err
			}
			c.socket.Store(socket.New(plain, patience))
			tlsOf := config.Clone()
			if tlsOf.ServerName == "" {
				tlsOf.ServerName = named(address)
			}
			last.Conn = &screen{web: web, Conn: &secured{
				Conn: c.socket.Load(), config: tlsOf, always: always, timeout: timeout,
			}}
			if ctx.Err() != nil { // Cut may have come before there was anything to cut
				c.Cut()
			}
			return last, nil
		})),
	}
	for _, set := range append(append(append(Options(name), auth...), own...), options...) {
		if err := set(&all); err != nil {
			return bridge.Permanent(err)
		}
	}
	told := all.ClosedCB
	all.ClosedCB = func(nc *nats.Conn) {
		close(c.Gone)
		if told != nil {
			told(nc)
		}
	}
	defer context.AfterFunc(ctx, c.Cut)() // a server that says nothing blocks us in the socket
	if c.Conn, err = all.Connect(); err != nil {
		c.Cut()
		return connectError(c.Servers, last, cmp.Or(ctx.Err(), err))
	}
	go c.watch()
	return nil
}

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

// SkipTLSHandshake keeps the library from TLS, which is that of the connection.
func (dialer) SkipTLSHandshake() bool { return true }

// watch ends a connection on which nothing has moved for a while.
func (c *Conn) watch() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	var received, left int64
	for quiet := 0; quiet < pings; {
		select {
		case <-c.Gone:
			return
		case <-t.C:
		}
		s := c.socket.Load()
		quiet++
		if r, l := s.Received(), s.Left(); r != received || l > left+words {
			received, left, quiet = r, l, 0
		}
	}
	c.Fail(nats.ErrStaleConnection)
}

// Fail ends the connection for that reason.
func (c *Conn) Fail(err error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = err
	}
	c.mu.Unlock()
	c.Cut()
}

// Err says why the connection has ended. It is never io.EOF, which means the end of an input.
func (c *Conn) Err() error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if cause == nil {
		cause = c.LastError()
	}
	switch {
	case cause == nil:
		cause = nats.ErrConnectionClosed
	case errors.Is(cause, io.EOF):
		cause = errors.New("closed by the server")
	}
	err := fmt.Errorf("connection to %s: %w", c.Servers, cause)
	if errors.Is(err, nats.ErrPermissionViolation) {
		return bridge.Permanent(fmt.Errorf("%w: check what the server lets this user do", err))
	}
	return err
}

// LoggedIn says so for a probe, and where if that is one of several addresses.
func (c *Conn) LoggedIn(addresses int) string {
	at, err := bridge.ParseURL(c.ConnectedUrl())
	if addresses < 2 || err != nil {
		return "logged in"
	}
	if at.Scheme == "ws" && strings.Contains(c.Servers, "wss://"+at.Hostname()) {
		at.Scheme = "wss" // of which the library does not know
	}
	return fmt.Sprintf("logged in at %v, one of %d addresses", at, addresses)
}

// Cut closes the socket, so that whoever is blocked in it goes on.
func (c *Conn) Cut() {
	if s := c.socket.Load(); s != nil {
		_ = s.Close()
	}
}

// End ends the connection without waiting for the peer.
func (c *Conn) End() {
	c.Cut()
	c.Close()
	<-c.Gone
}

// Sync waits until the server has handled all that was sent, as Await does.
func (c *Conn) Sync(ctx context.Context, timeout time.Duration, out Outgoing) error {
	return c.Await(ctx, timeout, out, c.FlushWithContext)
}

// Await calls ask, which waits for an answer to what is out. It fails when nothing has left for the
// timeout, or no answer and nothing before it has come in that time after everything had, and had
// time to get there.
func (c *Conn) Await(ctx context.Context, timeout time.Duration, out Outgoing, ask func(context.Context) error) error {
	limited, cancel := c.Patience(ctx, timeout, true, out)
	defer cancel()
	err := ask(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil && !c.IsClosed():
		return fmt.Errorf("connection to %s: no answer for %s", c.Servers, timeout)
	case c.IsClosed():
		return c.Err()
	}
	return err
}

// Patience returns a context for waiting for an answer to what is out: it is canceled when nothing
// has left for the timeout, or that time is over after everything had, and had time to get there.
// If incoming, the answer may also be behind messages that come.
func (c *Conn) Patience(ctx context.Context, timeout time.Duration, incoming bool, out Outgoing) (context.Context,
	context.CancelFunc,
) {
	limited, cancel := context.WithTimeout(ctx, longest) // the client library wants a deadline
	var in int64
	c.incoming(&in)
	out = out.Waiting()
	var mu sync.Mutex // guards timer
	mu.Lock()
	defer mu.Unlock()
	var timer *time.Timer
	// The first look comes early, to see what belongs to the question: pings that follow do not.
	timer = time.AfterFunc(timeout/10, func() {
		rest := c.Rest(&out, timeout)
		if incoming && c.incoming(&in) {
			rest = timeout
		}
		if limited.Err() != nil || rest <= 0 {
			cancel()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		timer.Reset(rest)
	})
	return limited, func() {
		timer.Stop()
		cancel()
	}
}

// Outgoing is what is written to a connection and may not have left yet.
type Outgoing struct {
	start, end, left int64     // bytes of the connection: before it, behind it, and what has left
	moved            time.Time // when some of it left last, or the waiting began
}

// Outgoing returns what is written from now on.
func (c *Conn) Outgoing() Outgoing {
	return Outgoing{start: c.written(), left: c.socket.Load().Left()}
}

// Waiting returns it for a wait that begins now.
func (o Outgoing) Waiting() Outgoing {
	o.moved = time.Now()
	return o
}

// written returns how many bytes have been, those included that the client library still holds.
func (c *Conn) written() int64 {
	buffered, _ := c.Buffered() // an error means that it has ended
	return c.socket.Load().Written() + int64(buffered)
}

// Rest returns how much longer an answer to what is out may take. It is the timeout from when some
// of it has left last, as far as the calls have seen, and what a slow line needs from there. Behind
// the first call nothing more belongs to it.
func (c *Conn) Rest(out *Outgoing, timeout time.Duration) time.Duration {
	now, left, first := time.Now(), c.socket.Load().Left(), out.end == 0
	if first {
		out.end = c.written()
	}
	if out.left < out.end && left > out.left && (left < out.end || !first) {
		out.moved = now
	}
	out.left = left
	return timeout + socket.Crossing(out.end-out.start) - now.Sub(out.moved)
}

// incoming reports whether messages have come since the mark, which it moves: what is waited for
// may be behind them.
func (c *Conn) incoming(mark *int64) bool {
	before := *mark
	*mark = c.socket.Load().Received()
	return *mark > before+words
}

// Underway reports whether some of a message that is not complete has come since the mark, which it
// moves: what is waited for may be behind it.
func (c *Conn) Underway(mark *int64) bool {
	before := *mark
	*mark = c.socket.Load().Received() - int64(atomic.LoadUint64(&c.InBytes))
	return *mark > before+words
}
