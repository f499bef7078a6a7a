package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	shared bool   // a message may come in several subscriptions
	copies atomic.Int64
	close  func() error
	ready  chan struct{} // has one when something has arrived
	limit  int           // of bytes

	mu       sync.Mutex // guards what follows
	room     sync.Cond  // there is some, or the source is closed
	arrived  bridge.Batch
	bytes    int
	closed   bool
	looking  bool // it is looked at what is dropped meanwhile
	received int
	dropped  int // of these the engine knows
}

// lookEvery is how often the engine is told what is dropped while it does not read.
const lookEvery = time.Second

func openSource(ctx context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	c, err := connect(ctx, &s.Client, env)
	if err != nil {
		return nil, err
	}
	if s.stream() != "" {
		p, err := openPull(ctx, c, s, env)
		if err != nil {
			c.End()
			return nil, err
		}
		return s.reading(ctx, p, c, env)
	}
	r := &source{conn: c, env: env, ready: make(chan struct{}, 1), limit: int(s.Buffer) / 2}
	r.room.L = &r.mu
	r.close = sync.OnceValue(r.stop)
	r.before = atomic.LoadUint64(&c.InMsgs)
	if err := r.subscribe(ctx, s); err != nil {
		c.End()
		return nil, err
	}
	return s.reading(ctx, r, c, env)
}

// reading returns what reads what the settings say by a source of what is said of that, or of all.
func (s *SourceSettings) reading(ctx context.Context, source bridge.Source, c *conn, env bridge.Env) (
	bridge.Source, error,
) {
	switch {
	case s.GivenUp:
		return &givenUp{Source: source, conn: c, env: env, streams: make(map[string]jetstream.Stream)}, nil
	case s.Objects != "":
		store, err := c.objects(ctx, s.Objects)
		if err != nil {
			return nil, errors.Join(err, source.Close())
		}
		return &objectSource{Source: source, conn: c, store: store, most: s.MaxSize}, nil
	}
	return source, nil
}

func (r *source) subscribe(ctx context.Context, s *SourceSettings) error {
	subjects, _ := distinct(s.subjects())
	for i, subject := range subjects {
		take := r.take
		if s.Queue == "" { // the server counts all subscriptions of a queue group as one
			take = r.handler(subject, subjects[:i])
		}
		sub, err := r.conn.QueueSubscribe(subject, s.Queue, take)
		if err == nil {
			err = sub.SetPendingLimits(maxPending, max(1, r.limit/len(subjects)))
		}
		if err != nil {
			return fmt.Errorf("subscribe to %q: %w", subject, err)
		}
		r.subs = append(r.subs, sub)
	}
	// The server answers a subscription only to refuse it.
	if err := r.conn.sync(ctx, cmp.Or(s.ConnectTimeout, answerTimeout), r.conn.Outgoing()); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// handler takes the messages of a subscription, but for those that an earlier one has, too.
func (r *source) handler(subject string, earlier []string) nats.MsgHandler {
	earlier = slices.DeleteFunc(slices.Clone(earlier), func(other string) bool { return !overlap(other, subject) })
	if len(earlier) == 0 {
		return r.take
	}
	r.shared = true
	return func(m *nats.Msg) {
		if slices.ContainsFunc(earlier, func(other string) bool { return covers(other, m.Subject) }) {
			r.copies.Add(1)
			return
		}
		r.take(m)
	}
}

// take is called by the client library.
func (r *source) take(m *nats.Msg) {
	b := bridge.Message{Topic: m.Subject, Payload: m.Data}
	if len(m.Header) > 0 || m.Reply != "" {
		// A publisher chose Nats-Msg-Id, and another may choose the same: it is no identity.
		b.Header = received(m.Header)
	}
	if m.Reply != "" {
		b.Header[replyHeader] = m.Reply
	}
	r.mu.Lock()
	if r.bytes >= r.limit && !r.looking {
		r.looking = true
		time.AfterFunc(lookEvery, r.look)
	}
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
		case <-r.conn.Gone:
			// What came before the end may have come after the question.
			if batch := r.next(); len(batch) > 0 {
				return batch, settled, nil
			}
			return nil, nil, r.conn.Err()
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

// look counts what is dropped while nobody reads.
func (r *source) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.looking = !r.closed && r.bytes >= r.limit; r.looking {
		r.count()
		time.AfterFunc(lookEvery, r.look)
	}
}

// report tells the engine about messages dropped since the last time.
func (r *source) report(dropped int) {
	if dropped > r.dropped {
		r.env.Dropped(dropped - r.dropped)
		r.dropped = dropped
	}
}

func (r *source) Close() error { return r.close() }

// drain has the client library call take for what it keeps, since nobody can tell copies among that
// otherwise.
func (r *source) drain() {
	if r.conn.Drain() != nil {
		return // it has ended
	}
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-r.conn.Gone:
	case <-late.C:
	}
}

// stop closes the connection and counts what is lost by that.
func (r *source) stop() error {
	r.mu.Lock()
	r.closed = true
	r.room.Broadcast()
	r.mu.Unlock()
	if r.shared {
		r.drain()
	}
	r.conn.End()
	r.mu.Lock()
	defer r.mu.Unlock()
	// A subscription that has ended tells no number any more.
	r.report(int(atomic.LoadUint64(&r.conn.InMsgs)-r.before) - r.received - int(r.copies.Load()))
	return nil
}
