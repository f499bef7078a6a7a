package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// conn is a connection that is never mended: what ends it ends the instance that has it.
type conn struct {
	*nats.Conn
	servers string        // for errors
	gone    chan struct{} // closed when the connection has ended
	socket  atomic.Pointer[net.Conn]

	slow sync.Once // tells about dropped messages

	mu    sync.Mutex // guards cause
	cause error      // the first reason to end the connection
}

// connect connects to one of the servers and sees to it that the streams are there.
func connect(ctx context.Context, s *Client, env bridge.Env) (*conn, error) {
	options, err := s.options(env)
	if err != nil {
		return nil, bridge.Permanent(err)
	}
	c := &conn{gone: make(chan struct{})}
	all := nats.GetDefaultOptions()
	var names []string
	for _, u := range s.URL {
		// Not nats.Connect, which would take a comma in a password for the end of the URL.
		all.Servers, names = append(all.Servers, u.URL.String()), append(names, u.String())
	}
	c.servers = strings.Join(names, ", ")
	options = append(options,
		nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
			d := net.Dialer{Timeout: s.ConnectTimeout}
			socket, err := d.DialContext(ctx, network, address)
			if err == nil {
				c.socket.Store(&socket)
			}
			return socket, err
		})),
		nats.ClosedHandler(func(*nats.Conn) { close(c.gone) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.trouble(err, env) }))
	for _, set := range options {
		if err := set(&all); err != nil {
			return nil, bridge.Permanent(err)
		}
	}
	defer context.AfterFunc(ctx, c.cut)() // a server that says nothing blocks us in the socket
	if c.Conn, err = all.Connect(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, connectError(c.servers, err)
	}
	if err := ensureStreams(ctx, c, s.Streams); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// connectError adds what to do, and marks what will not pass by itself.
func connectError(servers string, err error) error {
	err = fmt.Errorf("connect to %s: %w", servers, err)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrNkeysNotSupported):
		return bridge.Permanent(fmt.Errorf("%w: check username and password, token, creds or nkey", err))
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return bridge.Permanent(fmt.Errorf("%w: check tls, and the scheme of url", err))
	case errors.Is(err, nats.ErrNoServers):
		return fmt.Errorf("%w: check url, and whether the server runs", err)
	}
	return err
}

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

func (s *Client) options(env bridge.Env) ([]nats.Option, error) {
	name := s.Name
	if name == "" {
		name = "xrtcbridge " + env.Instance
	}
	options := []nats.Option{
		nats.Name(name),
		nats.Timeout(s.ConnectTimeout),
		nats.NoReconnect(),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second), // the deadline of each write
	}
	if s.Username != "" {
		options = append(options, nats.UserInfo(s.Username, s.Password.Reveal()))
	}
	if !s.Token.IsZero() {
		options = append(options, nats.Token(s.Token.Reveal()))
	}
	if s.Creds != "" {
		if err := checkCreds(s.Creds); err != nil {
			return nil, fmt.Errorf("read creds: %w", err)
		}
		options = append(options, nats.UserCredentials(s.Creds))
	}
	if s.NKey != "" {
		nkey, err := nats.NkeyOptionFromSeed(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("read nkey: %w", err)
		}
		options = append(options, nkey)
	}
	if s.TLS != (bridge.TLS{}) {
		config, err := s.TLS.Config()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config))
	}
	return options, nil
}

// checkCreds tells whether a credentials file has what one needs to connect.
func checkCreds(file string) error {
	var o nats.Options
	err := nats.UserCredentials(file)(&o)
	if err == nil {
		_, err = o.UserJWT()
	}
	if err == nil {
		_, err = o.SignatureCB([]byte("nonce"))
	}
	return err
}

// trouble hears what the server or the client library complain about outside of a call.
func (c *conn) trouble(err error, env bridge.Env) {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		c.slow.Do(func() { env.Logger.Warn("dropping messages: they come faster than the pipeline takes them") })
	case errors.Is(err, nats.ErrBadHeaderMsg):
		env.Logger.Warn("message came with malformed headers, which are left out")
	default:
		c.fail(err)
	}
}

// fail ends the connection for that reason.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = err
	}
	c.mu.Unlock()
	c.cut()
}

// err says why the connection has ended.
func (c *conn) err() error {
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
		cause = errors.New("closed by the server") // an io.EOF would mean the end of the input to the engine
	}
	err := fmt.Errorf("connection to %s: %w", c.servers, cause)
	if errors.Is(err, nats.ErrPermissionViolation) {
		return bridge.Permanent(fmt.Errorf("%w: check what the server lets this user do", err))
	}
	return err
}

// refused returns what the server refused until the last flush.
func (c *conn) refused() error {
	err := c.LastError()
	if err == nil || errors.Is(err, nats.ErrSlowConsumer) || errors.Is(err, nats.ErrBadHeaderMsg) {
		return nil
	}
	return c.err()
}

// cut closes the socket, so that whoever is blocked in it goes on.
func (c *conn) cut() {
	if socket := c.socket.Load(); socket != nil {
		_ = (*socket).Close()
	}
}

// flush waits until the server has handled all that was sent. It returns when ctx is done or the
// connection has ended.
func (c *conn) flush(ctx context.Context, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := c.FlushWithContext(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("connection to %s: no answer for %s", c.servers, timeout)
	}
	return c.err()
}

// close ends the connection without waiting for the peer.
func (c *conn) close() {
	c.cut()
	c.Close()
	<-c.gone
}

// jetStream returns the JetStream of the connection.
func (c *conn) jetStream() (jetstream.JetStream, error) { return jetstream.New(c.Conn) }
