package bridgetest

import (
	"context"
	"io"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Upstream is a queue of messages in memory. Sources opened from it deliver
// again what was not acknowledged, oldest first, like a broker with a persistent session.
type Upstream struct {
	mu       sync.Mutex // guards what follows
	waiting  []bridge.Message
	unacked  []bridge.Message // read by the open source, in order
	finished bool
	changed  chan struct{} // closed and replaced when something was added
	acked    []bridge.Message
	nacks    []error
}

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
	return append([]bridge.Message(nil), u.acked...)
}

// Nacks returns the errors that batches were settled with.
func (u *Upstream) Nacks() []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]error(nil), u.nacks...)
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
	u.waiting = append(u.unacked, u.waiting...)
	u.unacked = nil
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
		batch, finished, changed := s.up.take(s.max)
		switch {
		case len(batch) > 0:
			return batch, s.up.ack(len(batch)), nil
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

func (u *Upstream) take(most int) (batch bridge.Batch, finished bool, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := min(most, len(u.waiting))
	batch = append(batch, u.waiting[:n]...)
	u.waiting = u.waiting[n:]
	u.unacked = append(u.unacked, batch...)
	if u.changed == nil {
		u.changed = make(chan struct{})
	}
	return batch, u.finished, u.changed
}

func (u *Upstream) ack(n int) bridge.Ack {
	return func(_ context.Context, err error) error {
		u.mu.Lock()
		defer u.mu.Unlock()
		if err != nil {
			u.nacks = append(u.nacks, err)
			return nil
		}
		u.acked = append(u.acked, u.unacked[:n]...)
		u.unacked = u.unacked[n:]
		return nil
	}
}

// Downstream collects messages in memory.
type Downstream struct {
	// Fault, if not nil, is asked before each Write how many messages of the
	// batch to take and which error to return then. It is called from the writing goroutine.
	Fault func(ctx context.Context, b bridge.Batch) (n int, err error)
	// IDs makes the sinks ask for message IDs.
	IDs bool

	mu  sync.Mutex // guards got
	got []bridge.Message
}

// Got returns what was delivered, in that order.
func (d *Downstream) Got() []bridge.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]bridge.Message(nil), d.got...)
}

// Open opens a sink.
func (d *Downstream) Open(context.Context, bridge.Env) (bridge.Sink, error) {
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

var _ bridge.Identifying = (*memorySink)(nil)

func (s *memorySink) NeedsID() bool { return s.down.IDs }

func (s *memorySink) Write(ctx context.Context, b bridge.Batch) (int, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return 0, io.ErrClosedPipe
	}
	n, err := len(b), error(nil)
	if s.down.Fault != nil {
		n, err = s.down.Fault(ctx, b)
	}
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	s.down.got = append(s.down.got, clone(b[:n])...)
	return n, err
}

func (s *memorySink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
