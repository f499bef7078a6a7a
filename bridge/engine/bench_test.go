package engine_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// BenchmarkEngine is the engine alone: a source in memory, a step and a sink that do
// nothing, batches of 256. An operation is one message.
func BenchmarkEngine(b *testing.B) {
	for _, c := range []struct {
		name     string
		inFlight int
		ids      bool
	}{{"InOrder", 1, false}, {"InFlight4", 4, false}, {"IDs", 1, true}} {
		b.Run(c.name, func(b *testing.B) {
			p := &engine.Pipeline{
				Name:        "bench",
				MaxInFlight: c.inFlight,
				From: []bridge.Endpoint[bridge.Source]{{
					Type: "memory",
					Open: func(context.Context, bridge.Env) (bridge.Source, error) {
						return &endless{left: b.N}, nil
					},
				}},
				Steps: []bridge.Endpoint[bridge.Step]{{
					Type: "touch",
					Open: func(context.Context, bridge.Env) (bridge.Step, error) { return touch{}, nil },
				}},
				To: engine.To(bridge.Endpoint[bridge.Sink]{
					Type: "count",
					Open: func(_ context.Context, env bridge.Env) (bridge.Sink, error) {
						if c.ids {
							env.NeedID()
						}
						return count{}, nil
					},
				}),
			}
			b.ReportAllocs()
			if err := p.Run(b.Context(), bridge.Env{}, nil); err != nil {
				b.Fatal(err)
			}
			if got := p.Ledger().Delivered; got != uint64(b.N) {
				b.Fatalf("%d delivered, want %d", got, b.N)
			}
		})
	}
}

// BenchmarkRoute is the engine with a route of three branches, whose conditions cost nothing.
func BenchmarkRoute(b *testing.B) {
	branch := func(when bridge.Condition) engine.Branch {
		to := counting(false)
		to.When = when
		return to
	}
	benchmarkTo(b, engine.Branch{
		Mode:     engine.ModeRoute,
		Branches: []engine.Branch{branch(new(oneIn)), branch(new(oneIn)), branch(nil)},
	})
}

// BenchmarkAny is the engine with a branch of any, the first of which is well, beside one sink
// alone that needs IDs, as those of any may: the difference is what the alternative costs.
func BenchmarkAny(b *testing.B) {
	b.Run("Alone", func(b *testing.B) { benchmarkTo(b, counting(true)) })
	b.Run("Any", func(b *testing.B) { benchmarkTo(b, anyOf(counting(false), counting(false))) })
}

func counting(ids bool) engine.Branch {
	return engine.To(bridge.Endpoint[bridge.Sink]{
		Type: "count",
		Open: func(_ context.Context, env bridge.Env) (bridge.Sink, error) {
			if ids {
				env.NeedID()
			}
			return count{}, nil
		},
	})
}

func benchmarkTo(b *testing.B, to engine.Branch) {
	p := &engine.Pipeline{
		Name: "bench",
		From: []bridge.Endpoint[bridge.Source]{{Type: "memory",
			Open: func(context.Context, bridge.Env) (bridge.Source, error) {
				return &endless{left: b.N}, nil
			}}},
		To: to,
	}
	b.ReportAllocs()
	if err := p.Run(b.Context(), bridge.Env{}, nil); err != nil {
		b.Fatal(err)
	}
	if got := p.Ledger().Delivered; got != uint64(b.N) {
		b.Fatalf("%d delivered, want %d", got, b.N)
	}
}

// oneIn is a condition that every third message meets.
type oneIn struct{ n int }

func (c *oneIn) Match(*bridge.Message) (bool, error) { c.n++; return c.n%3 == 0, nil }

var payload = make([]byte, 256)

// endless returns left messages in batches of 256.
type endless struct{ left int }

func (e *endless) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	n := min(e.left, 256)
	if n == 0 {
		return nil, nil, io.EOF
	}
	e.left -= n
	batch, now := make(bridge.Batch, n), time.Now()
	for i := range batch {
		batch[i] = bridge.Message{Topic: "a/b", Payload: payload, Time: now}
	}
	return batch, func(context.Context, error) error { return nil }, nil
}

func (e *endless) Close() error { return nil }

type touch struct{}

func (touch) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		if len(b[i].Payload) > 0 {
			out.Pass(i)
		} else {
			out.Drop(i)
		}
	}
	return nil
}

func (touch) Close() error { return nil }

type count struct{}

func (count) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b)}, nil
}
func (count) Close() error { return nil }
