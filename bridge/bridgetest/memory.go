package bridgetest

import (
	"context"
	"io"
	"slices"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Upstream is a queue of messages in memory. Sources opened from it deliver
// again what was not acknowledged, oldest first, like a broker with a persistent session.
type Upstream struct {
	mu       sync.Mutex // guards what follows
	waiting  []bridge.Message
	unacked  []*reading // of the open source, in order
	finished bool
	changed  chan struct{} // closed and replaced when something was added
	acked    []bridge.Message
	nacks    []error
}

// reading is what one Read returned.
type reading struct{ messages []bridge.Message }

// Send adds messages.
func (u *Upstream) Send(messages ...bridge.Message) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = append(u.waiting, messages...)
	u.signal()
}

// Finish makes Read return io.EOF when everything has been read.
func (u *Upstream) Finish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.finished = true
	u.signal()
}

// Acked returns what was acknowledged, in that order.
func (u *Upstream) Acked() []bridge.Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.acked)
}

// Nacks returns the errors that batches were settled with.
func (u *Upstream) Nacks() []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.nacks)
}

func (u *Upstream) signal() {
	if u.changed != nil {
		close(u.changed)
		u.changed = nil
	}
}

// Open opens a source. One at a time may be open.
func (u *Upstream) Open(_ context.Context, env bridge.Env) (bridge.Source, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var again []bridge.Message
	for _, r := range u.unacked {
		again = append(again, r.messages...)
	}
	u.waiting, u.unacked = append(again, u.waiting...), nil
	return &memorySource{up: u, max: env.MaxBatch, closed: make(chan struct{})}, nil
}

// Endpoint returns the upstream as a part of a pipeline.
func (u *Upstream) Endpoint() bridge.Endpoint[bridge.Source] {
	return bridge.Endpoint[bridge.Source]{Type: "memory", Open: u.Open}
}

type memorySource struct {
	up     *Upstream
	max    int
	once   sync.Once
	closed chan struct{}
}

var _ bridge.Source = (*memorySource)(nil)

func (s *memorySource) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		taken, finished, changed := s.up.take(s.max)
		switch {
		case taken != nil:
			return slices.Clone(taken.messages), s.ack(taken), nil
		case finished:
			return nil, nil, io.EOF
		}
		select {
		case <-changed:
		case <-s.closed:
			return nil, nil, io.ErrClosedPipe
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (s *memorySource) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (u *Upstream) take(most int) (taken *reading, finished bool, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := min(most, len(u.waiting)); n > 0 {
		taken = &reading{messages: u.waiting[:n:n]}
		u.waiting = u.waiting[n:]
		u.unacked = append(u.unacked, taken)
	}
	if u.changed == nil {
		u.changed = make(chan struct{})
	}
	return taken, u.finished, u.changed
}

// ack settles what was taken, once, and like a broker only as long as its source is open.
func (s *memorySource) ack(taken *reading) bridge.Ack {
	settled := false
	return func(_ context.Context, err error) error {
		u := s.up
		u.mu.Lock()
		defer u.mu.Unlock()
		select {
		case <-s.closed:
			return io.ErrClosedPipe
		default:
		}
		if settled {
			panic("a batch was settled twice")
		}
		settled = true
		n := bridge.Settled(len(taken.messages), err)
		u.acked = append(u.acked, taken.messages[:n]...)
		if err != nil {
			u.nacks = append(u.nacks, err)
			taken.messages = taken.messages[n:]
			return nil
		}
		u.unacked = slices.DeleteFunc(u.unacked, func(r *reading) bool { return r == taken })
		return nil
	}
}

// Downstream collects messages in memory.
type Downstream struct {
	// Fault, if not nil, is asked before each Write how many messages of the
	// batch to take and which error to return then. It is called from the writing goroutine.
	Fault func(ctx context.Context, b bridge.Batch) (n int, err error)
	// Refuse, if not nil, says of each message that is taken why it is refused instead, if it is.
	Refuse func(m *bridge.Message) error
	// IDs makes the sinks ask for message IDs.
	IDs bool

	mu  sync.Mutex // guards got
	got []bridge.Message
}

// Got returns what was delivered, in that order.
func (d *Downstream) Got() []bridge.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

// Open opens a sink.
func (d *Downstream) Open(_ context.Context, env bridge.Env) (bridge.Sink, error) {
	if d.IDs {
		env.NeedID()
	}
	return &memorySink{down: d}, nil
}

// Endpoint returns the downstream as a part of a pipeline.
func (d *Downstream) Endpoint() bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{Type: "memory", Open: d.Open}
}

type memorySink struct {
	down   *Downstream
	mu     sync.Mutex // guards closed
	closed bool
}

var _ bridge.Sink = (*memorySink)(nil)

func (s *memorySink) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return bridge.Result{}, io.ErrClosedPipe
	}
	n, err := len(b), error(nil)
	if s.down.Fault != nil {
		n, err = s.down.Fault(ctx, b)
	}
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	result := bridge.Result{Settled: n}
	for i := range b[:n] {
		if s.down.Refuse != nil {
			if reason := s.down.Refuse(&b[i]); reason != nil {
				result.Refused = append(result.Refused, bridge.Refusal{Index: i, Err: reason})
				continue
			}
		}
		s.down.got = append(s.down.got, clone(b[i:i+1])...)
	}
	return result, err
}

func (s *memorySink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
