package nats

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var _ bridge.Source = (*source)(nil)

// source reads core NATS. The channel is all there is between it and the client library.
type source struct {
	conn     *conn
	env      bridge.Env
	messages chan *nats.Msg
	subs     []*nats.Subscription
	before   uint64 // messages that the connection had received before it subscribed
	close    func() error

	mu       sync.Mutex // guards what follows, between Read and Close
	received int
	dropped  int // of these the engine knows
}

func openSource(ctx context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	c, err := connect(ctx, &s.Client, env)
	if err != nil {
		return nil, err
	}
	if s.Stream != "" {
		p, err := openPull(ctx, c, s, env)
		if err != nil {
			c.close()
			return nil, err
		}
		return p, nil
	}
	r := &source{conn: c, env: env, messages: make(chan *nats.Msg, s.Pending)}
	r.close = sync.OnceValue(r.stop)
	r.before = atomic.LoadUint64(&c.InMsgs)
	if err := r.subscribe(ctx, s); err != nil {
		c.close()
		return nil, err
	}
	return r, nil
}

func (r *source) subscribe(ctx context.Context, s *SourceSettings) error {
	for _, subject := range s.subjects() {
		sub, err := r.conn.ChanQueueSubscribe(subject, s.Queue, r.messages)
		if err != nil {
			return fmt.Errorf("subscribe to %q: %w", subject, err)
		}
		r.subs = append(r.subs, sub)
	}
	// The server answers a subscription only to refuse it.
	if err := r.conn.flush(ctx, s.ConnectTimeout); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := r.conn.refused(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

func (r *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err // even if there are messages, which may never end
	}
	var first *nats.Msg
	select {
	case first = <-r.messages:
	default:
		select {
		case first = <-r.messages:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-r.conn.gone:
			// What came before the end may have come after the question.
			select {
			case first = <-r.messages:
			default:
				return nil, nil, r.conn.err()
			}
		}
	}
	now := time.Now()
	n := min(len(r.messages)+1, r.env.MaxBatch)
	batch := make(bridge.Batch, n)
	for i, m := 0, first; ; m = <-r.messages {
		b := &batch[i]
		b.Topic, b.Payload, b.Time = m.Subject, m.Data, now
		if len(m.Header) > 0 {
			b.ID, b.Header = m.Header.Get(jetstream.MsgIDHeader), received(m.Header)
		}
		if i++; i == n {
			break
		}
	}
	r.count(n)
	return batch, settled, nil
}

// settled acknowledges nothing, since core NATS knows no acknowledgements.
func settled(context.Context, error) error { return nil }

// count tells the engine what the client library dropped meanwhile.
func (r *source) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received += n
	dropped := 0
	for _, sub := range r.subs {
		if d, err := sub.Dropped(); err == nil {
			dropped += d
		}
	}
	r.report(dropped)
}

// report tells the engine about messages dropped since the last time.
func (r *source) report(dropped int) {
	if dropped > r.dropped {
		r.env.Dropped(dropped - r.dropped)
		r.dropped = dropped
	}
}

func (r *source) Close() error { return r.close() }

// stop closes the connection and counts what is lost by that.
func (r *source) stop() error {
	lost := r.conn.IsClosed()
	if !lost {
		r.count(0)
	}
	r.conn.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if lost {
		// A subscription that has ended tells no number any more.
		r.report(int(atomic.LoadUint64(&r.conn.InMsgs)-r.before) - r.received)
	} else {
		r.report(r.dropped + len(r.messages))
	}
	return nil
}
