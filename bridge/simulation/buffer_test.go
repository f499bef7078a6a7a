package simulation

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// state is a bridge.State in the memory of the world: what its buffer has stored survives a
// process.
type state struct {
	*world
	buffer *buffer
}

func (*state) Checkpoint(string, string) bridge.Checkpoint { return new(bridge.MemoryCheckpoint) }

func (s *state) Buffer(string, bridge.BufferSettings) bridge.Buffer { return s.buffer }

func (s *state) DeadLetters(string) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{Type: "dead", Open: s.openDead}
}

// buffer is a list of messages. Its ends are those of one process.
type buffer struct {
	*world
	process  int
	before   int
	finished bool
}

func (b *buffer) OpenSink(_ context.Context, env bridge.Env) (bridge.Sink, error) {
	env.NeedID()
	return &bufferSink{b}, nil
}

type bufferSink struct{ *buffer }

func (s *bufferSink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := s.pause(ctx, time.Millisecond, "store", string(batch[0].Payload)); err != nil {
		return bridge.Result{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != s.world.process {
		return bridge.Result{}, errPlanned
	}
	for _, m := range batch {
		if m.ID == "" {
			s.wrong("%s came to the buffer without an id", m.Payload)
		}
		m.Payload = slices.Clone(m.Payload)
		s.inBuffer = append(s.inBuffer, m)
		s.stored[string(m.Payload)] = true
	}
	s.broadcast()
	return bridge.Result{Settled: len(batch)}, nil
}

func (*bufferSink) Close() error { return nil }

func (b *buffer) OpenSource(_ context.Context, env bridge.Env) (bridge.Source, error) {
	return &bufferSource{buffer: b, env: env, closed: make(chan struct{})}, nil
}

type bufferSource struct {
	*buffer
	env    bridge.Env
	at     int // messages that are out
	once   sync.Once
	closed chan struct{}
}

func (s *bufferSource) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		if s.process != s.world.process {
			s.mu.Unlock()
			<-ctx.Done()
			return nil, nil, ctx.Err()
		}
		if n := min(len(s.inBuffer)-s.at, s.env.MaxBatch); n > 0 {
			defer s.mu.Unlock()
			batch := slices.Clone(s.inBuffer[s.at : s.at+n])
			s.at += n
			for _, m := range batch {
				s.reads[string(m.Payload)]++
			}
			return batch, s.ack(n), nil
		}
		finished, changed := s.finished, s.changed
		s.mu.Unlock()
		if finished {
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

func (s *bufferSource) ack(n int) bridge.Ack {
	return func(_ context.Context, refused error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.process != s.world.process {
			return nil
		}
		n := bridge.Settled(n, refused)
		for _, m := range s.inBuffer[:n] {
			id := string(m.Payload)
			if why := s.owedAt(s.root(), 0, id); why != "" {
				s.wrong("%s was taken out of the buffer early: %s", id, why)
			}
		}
		s.inBuffer = slices.Clone(s.inBuffer[n:])
		s.at -= n
		return nil
	}
}

func (s *bufferSource) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (b *buffer) Finish(done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished = done
	b.broadcast()
}

func (b *buffer) Held() bridge.Held {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bridge.Held{Before: uint64(b.before), Now: uint64(len(b.inBuffer))}
}
