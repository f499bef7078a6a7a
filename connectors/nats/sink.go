package nats

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const flushTimeout = 10 * time.Second

var _ bridge.Sink = (*sink)(nil)

// sink publishes to core NATS.
type sink struct {
	form
	conn  *conn
	flush bool
	spare sync.Pool // of *header
	close func() error
}

func openSink(ctx context.Context, s *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	c, err := connect(ctx, &s.Client, env)
	if err != nil {
		return nil, err
	}
	if s.Objects != "" {
		k, err := openObjectSink(ctx, c, s)
		if err != nil {
			c.End()
			return nil, err
		}
		return k, nil
	}
	if s.JetStream || s.stream() != "" {
		return newStreamSink(ctx, c, s, env), nil
	}
	k := &sink{
		form:  newForm(s),
		conn:  c,
		flush: s.Flush,
		spare: sync.Pool{New: func() any { return new(header) }},
	}
	k.close = sync.OnceValue(k.stop)
	return k, nil
}

func (s *sink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := ctx.Err(); err != nil {
		return bridge.Result{}, err
	}
	defer context.AfterFunc(ctx, s.conn.Cut)() // a peer that does not read blocks us in the socket
	out := s.conn.Outgoing()
	n, refused, err := s.publish(batch)
	if s.flush && n > 0 {
		if late := s.conn.sync(ctx, flushTimeout, out); late != nil {
			n, err = 0, late
		}
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // that was us
	}
	return refused.Result(n), err
}

// publish hands messages to the client library, and returns how many, and which it or we refuse. An
// error is about the connection.
func (s *sink) publish(batch bridge.Batch) (n int, refused bridge.Refusals, err error) {
	h := s.spare.Get().(*header)
	defer s.spare.Put(h)
	var out nats.Msg
	for i := range batch {
		reason := s.fill(&out, h, &batch[i])
		if reason == nil {
			reason, err = s.conn.publish(&out)
		}
		switch {
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

func (s *sink) Close() error { return s.close() }

func (s *sink) stop() error {
	defer s.conn.End()
	if s.flush || s.conn.IsClosed() {
		return nil
	}
	return s.conn.Sync(context.Background(), closeTimeout, s.conn.Outgoing())
}
