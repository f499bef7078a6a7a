package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const flushTimeout = 10 * time.Second

var _ bridge.Sink = (*sink)(nil)

// sink publishes to core NATS.
type sink struct {
	conn    *conn
	subject subject
	flush   bool
	headers sync.Pool // of *header
	close   func() error
}

func openSink(ctx context.Context, s *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	c, err := connect(ctx, &s.Client, env)
	if err != nil {
		return nil, err
	}
	if s.JetStream || s.Stream != "" {
		return newStreamSink(c, s, env), nil
	}
	k := &sink{
		conn:    c,
		subject: newSubject(s.Subject),
		flush:   s.Flush,
		headers: sync.Pool{New: func() any { return new(header) }},
	}
	k.close = sync.OnceValue(k.stop)
	return k, nil
}

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := ctx.Err(); err != nil {
		return bridge.Result{}, err
	}
	defer context.AfterFunc(ctx, s.conn.cut)() // a peer that does not read blocks us in the socket
	n, refused, err := s.publish(batch)
	if s.flush && n > 0 {
		failed := s.conn.flush(ctx, flushTimeout)
		if failed == nil {
			failed = s.conn.refused()
		}
		if failed != nil {
			return refused.Result(0), failed
		}
	}
	return refused.Result(n), err
}

// publish hands messages to the client library, and returns how many, and which it or we refuse. An
// error is about the connection.
func (s *sink) publish(batch bridge.Batch) (n int, refused bridge.Refusals, err error) {
	h := s.headers.Get().(*header)
	defer s.headers.Put(h)
	var out nats.Msg
	for i := range batch {
		m := &batch[i]
		subject, err := s.subject.of(m)
		if err != nil {
			refused = append(refused, bridge.Refusal{Index: i, Err: err})
			continue
		}
		out.Subject, out.Data, out.Header = subject, m.Payload, nil
		if len(m.Header) > 0 {
			h.reset()
			h.add(m.Header)
			out.Header = h.header
		}
		switch reason, err := s.conn.publish(&out); {
		case err != nil:
			return n, refused, err
		case reason != nil:
			refused = append(refused, bridge.Refusal{Index: i, Err: reason})
		default:
			n++
		}
	}
	return n, refused, nil
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
			m.Subject, m.Size()-len(m.Subject)-len(m.Reply), c.servers, c.MaxPayload()), nil
	case c.IsClosed():
		return nil, c.err()
	}
	return nil, fmt.Errorf("publish to %q: %w", m.Subject, err)
}

func (s *sink) Close() error { return s.close() }

func (s *sink) stop() error {
	defer s.conn.close()
	if s.flush || s.conn.IsClosed() {
		return nil
	}
	return s.conn.flush(context.Background(), closeTimeout)
}
