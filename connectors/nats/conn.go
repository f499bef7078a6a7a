package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// conn is a connection that is never mended: what ends it ends the instance that has it.
type conn struct {
	*natsclient.Conn
	js     jetstream.JetStream
	api    string    // what its subjects begin with
	behind string    // the setting that says so
	slow   sync.Once // tells about dropped messages
}

// connect connects to one of the servers and sees to it that the streams are there.
func connect(ctx context.Context, s *Client, env bridge.Env) (*conn, error) {
	c, err := dial(ctx, s, env)
	if err != nil {
		return nil, err
	}
	if err := ensureStreams(ctx, c, s.streams(), env); err != nil {
		c.End()
		return nil, err
	}
	return c, nil
}

// dial connects to one of the servers.
func dial(ctx context.Context, s *Client, env bridge.Env) (*conn, error) {
	c := &conn{Conn: new(natsclient.Conn), api: s.API(), behind: "api_prefix"}
	if s.Domain != "" {
		c.behind = fmt.Sprintf("domain %q", s.Domain)
	}
	err := c.Dial(ctx, &s.Settings, cmp.Or(s.Name, "xrtcbridge "+env.Instance),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.trouble(err, env) }))
	if err != nil {
		return nil, err
	}
	if c.js, err = s.JetStream(c.Conn.Conn); err != nil {
		c.End()
		return nil, err
	}
	return c, nil
}

// trouble hears what the server or the client library complain about outside of a call.
func (c *conn) trouble(err error, env bridge.Env) {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		c.slow.Do(func() { env.Logger.Warn("dropping messages: they come faster than the pipeline takes them") })
	case errors.Is(err, nats.ErrBadHeaderMsg):
		env.Logger.Warn("message came with malformed headers, which are left out")
	default:
		c.Fail(err)
	}
}

// sync waits until the server has handled all that was sent, and returns what it refused of that.
func (c *conn) sync(ctx context.Context, timeout time.Duration, out natsclient.Outgoing) error {
	if err := c.Sync(ctx, timeout, out); err != nil {
		return err
	}
	if err := c.LastError(); err == nil || errors.Is(err, nats.ErrSlowConsumer) || errors.Is(err, nats.ErrBadHeaderMsg) {
		return nil
	}
	return c.Err()
}

// publish hands a message to the client library. It returns the reason if that is too large for the
// server, or an error of the connection.
func (c *conn) publish(m *nats.Msg) (refused, err error) {
	err = c.PublishMsg(m)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("publish to %q: %d bytes with headers, and %s takes %d at most (max_payload)",
			m.Subject, m.Size()-len(m.Subject)-len(m.Reply), c.Servers, c.MaxPayload()), nil
	case c.IsClosed():
		return nil, c.Err()
	}
	return nil, fmt.Errorf("publish to %q: %w", m.Subject, err)
}
