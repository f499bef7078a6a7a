package nats

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var _ bridge.Source = (*source)(nil)

// Bounds of what waits for the pipeline beside its bytes.
const (
	maxPending = 32768 // messages in the client library
	overhead   = 256   // bytes that a message takes beside its payload, about
)

// source reads core NATS. The client library calls take for each message, and keeps what
// take has no room for, up to limits of its own; what is beyond these it drops.
type source struct {
	conn   *conn
	env    bridge.Env
	subs   []*nats.Subscription
	before uint64 // messages that the connection had received before it subscribed
	close  func() error
	ready  chan struct{} // has one when something has arrived
	limit  int           // of bytes

	mu       sync.Mutex // guards what follows
	room     sync.Cond  // there is some, or the source is closed
	arrived  bridge.Batch
	bytes    int
	closed   bool
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
	r := &source{conn: c, env: env, ready: make(chan struct{}, 1), limit: int(s.Buffer) / 2}
	r.room.L = &r.mu
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
		sub, err := r.conn.QueueSubscribe(subject, s.Queue, r.take)
		if err == nil {
			err = sub.SetPendingLimits(maxPending, max(1, r.limit/len(s.subjects())))
		}
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

// take is called by the client library.
func (r *source) take(m *nats.Msg) {
	b := bridge.Message{Topic: m.Subject, Payload: m.Data}
	if len(m.Header) > 0 {
		// A publisher chose Nats-Msg-Id, and another may choose the same: it is no identity.
		b.Header = received(m.Header)
	}
	r.mu.Lock()
	for r.bytes >= r.limit && !r.closed {
		r.room.Wait()
	}
	r.arrived = append(r.arrived, b)
	r.bytes += len(b.Payload) + overhead
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err // even if there are messages, which may never end
		}
		if batch := r.next(); len(batch) > 0 {
			return batch, settled, nil
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
		case <-r.conn.gone:
			// What came before the end may have come after the question.
			if batch := r.next(); len(batch) > 0 {
				return batch, settled, nil
			}
			return nil, nil, r.conn.err()
		}
	}
}

// next returns what has arrived, and tells the engine what was dropped meanwhile.
func (r *source) next() bridge.Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.arrived), r.env.MaxBatch)
	batch, now := r.arrived[:n:n], time.Now()
	if r.arrived = r.arrived[n:]; len(r.arrived) == 0 {
		r.arrived = nil
	}
	for i := range batch {
		batch[i].Time = now
		r.bytes -= len(batch[i].Payload) + overhead
	}
	r.received += n
	r.count()
	r.room.Broadcast()
	return batch
}

// settled acknowledges nothing, since core NATS knows no acknowledgements.
func settled(context.Context, error) error { return nil }

// count tells the engine what the client library dropped.
func (r *source) count() {
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
	r.conn.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.room.Broadcast()
	// A subscription that has ended tells no number any more.
	r.report(int(atomic.LoadUint64(&r.conn.InMsgs)-r.before) - r.received)
	return nil
}
