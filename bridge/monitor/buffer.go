package monitor

import (
	"context"
	"errors"
	"io"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// state wraps what the state lends to a pipeline.
type state struct {
	bridge.State
	pipeline *pipeline
	end      *end // of the buffer
}

func (s state) Buffer(name string, settings bridge.BufferSettings) bridge.Buffer {
	return buffer{s.State.Buffer(name, settings), s.end}
}

func (s state) DeadLetters(name string) bridge.Endpoint[bridge.Sink] {
	e := s.State.DeadLetters(name)
	s.pipeline.letters(&e)
	return e
}

// buffer wraps a buffer. What it has got are the messages of its end, and what was taken out has
// passed.
type buffer struct {
	bridge.Buffer
	end *end
}

func (b buffer) OpenSink(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
	s, i, err := open(ctx, b.end, env, b.Buffer.OpenSink)
	return sink{s, i}, err
}

func (b buffer) OpenSource(ctx context.Context, env bridge.Env) (bridge.Source, error) {
	s, err := b.Buffer.OpenSource(ctx, env)
	b.end.upsets(ctx, err)
	return taken{s, b.end}, err
}

// taken wraps the source of a buffer.
type taken struct {
	bridge.Source
	*end
}

func (t taken) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	b, ack, err := t.Source.Read(ctx)
	t.passed.Add(uint64(len(b)))
	if err != io.EOF { //nolint:errorlint // as the engine does
		t.upsets(ctx, err)
	}
	return b, ack, err
}

// upsets notes that what was written to the end cannot be read back, unless that was to stop.
func (e *end) upsets(ctx context.Context, err error) {
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		e.pipeline.failed(e, err)
	}
}
