package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// sinkFunc is a sink that is nothing but its Write.
type sinkFunc func(ctx context.Context, b bridge.Batch) (bridge.Result, error)

func (f sinkFunc) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	return f(ctx, b)
}

func (sinkFunc) Close() error { return nil }

// takeAll is the Write of a sink to which nothing is too much.
func takeAll(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b)}, nil
}

// broken returns a sink that takes nothing.
func broken(why func() error) bridge.Sink {
	return sinkFunc(func(context.Context, bridge.Batch) (bridge.Result, error) {
		return bridge.Result{}, why()
	})
}

// withClose is a sink that tells when it is closed.
type withClose struct {
	bridge.Sink
	close func()
}

func (w withClose) Close() error {
	w.close()
	return w.Sink.Close()
}

// sinks returns the endpoint of sinks the n-th of which, beginning with 1, is what open returns.
func sinks(open func(n int) (bridge.Sink, error)) bridge.Endpoint[bridge.Sink] {
	var n atomic.Int32
	return bridge.Endpoint[bridge.Sink]{
		Type: "test",
		Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return open(int(n.Add(1))) },
	}
}

// failsAt returns a fault: nothing is known of a batch that has a message with the payload.
func failsAt(payload []byte) func(context.Context, bridge.Batch) (int, error) {
	return func(_ context.Context, b bridge.Batch) (int, error) {
		for _, m := range b {
			if string(m.Payload) == string(payload) {
				return 0, errors.New("connection closed")
			}
		}
		return len(b), nil
	}
}

// gauge counts how many writes there are at once; fault takes some time for each.
type gauge struct{ now, most atomic.Int64 }

// begin counts a write that goes on until end is called.
func (g *gauge) begin() (end func()) {
	n := g.now.Add(1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	return func() { g.now.Add(-1) }
}

func (g *gauge) fault(_ context.Context, b bridge.Batch) (int, error) {
	defer g.begin()()
	<-time.After(10 * time.Millisecond)
	return len(b), nil
}

// processing is a step that is nothing but its Process.
type processing func(b bridge.Batch, out *bridge.Output) error

func (f processing) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	return f(b, out)
}

func (processing) Close() error { return nil }

// step returns one step whose n-th instance, beginning with 1, is what open returns.
func step(open func(n int) (bridge.Step, error)) []bridge.Endpoint[bridge.Step] {
	var n atomic.Int32
	return []bridge.Endpoint[bridge.Step]{{
		Type: "test",
		Open: func(context.Context, bridge.Env) (bridge.Step, error) { return open(int(n.Add(1))) },
	}}
}

// stepOf returns one step all instances of which do the same.
func stepOf(f processing) []bridge.Endpoint[bridge.Step] {
	return step(func(int) (bridge.Step, error) { return f, nil })
}

func passAll(b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Pass(i)
	}
	return nil
}

// collect holds what it gets, and makes one message of it at the end.
func collect(b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Hold(i)
	}
	if out.Last() {
		out.Add(bridge.Message{Payload: []byte("all")})
		out.Release(out.Call())
	}
	return nil
}

// condition is met by the messages of which it is true.
type condition func(m *bridge.Message) bool

func (c condition) Match(m *bridge.Message) (bool, error) { return c(m), nil }

// anyOf returns the branch that delivers to the first that takes a message.
func anyOf(branches ...engine.Branch) engine.Branch {
	return engine.Branch{Mode: engine.ModeAny, Branches: branches}
}

// logTo returns what a pipeline runs with to log there.
func logTo(log io.Writer) bridge.Env {
	return bridge.Env{Logger: slog.New(slog.NewTextHandler(log, nil))}
}

// runFor runs a pipeline for a while, looks at it then, and stops it. It is for a synctest bubble.
func runFor(t *testing.T, p *engine.Pipeline, d time.Duration, look func()) error {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- runUntil(ctx, t, p) }()
	<-time.After(d)
	synctest.Wait()
	look()
	stop()
	return <-done
}
