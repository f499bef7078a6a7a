package engine_test

import (
	"context"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
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
				From:        []bridge.Endpoint[bridge.Source]{plenty(b)},
				Steps: []bridge.Endpoint[bridge.Step]{{
					Type: "touch",
					Open: func(context.Context, bridge.Env) (bridge.Step, error) { return touch{}, nil },
				}},
				To: counting(c.ids),
			}
			benchmark(b, p)
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
			return bridgetest.Nowhere{}, nil
		},
	})
}

func benchmarkTo(b *testing.B, to engine.Branch) {
	benchmark(b, &engine.Pipeline{Name: "bench", From: []bridge.Endpoint[bridge.Source]{plenty(b)}, To: to})
}

// plenty is a source of a message for each operation, in batches of 256.
func plenty(b *testing.B) bridge.Endpoint[bridge.Source] {
	return (&bridgetest.Plenty{Left: b.N, Size: 256}).Endpoint()
}

// benchmark runs a pipeline that delivers a message for each operation.
func benchmark(b *testing.B, p *engine.Pipeline) {
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
