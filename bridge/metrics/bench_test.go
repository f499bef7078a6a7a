package metrics_test

import (
	"context"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// BenchmarkEngineWatched is the engine alone, with batches of 256 from memory to nowhere, and the
// same with a monitor around its ends and metrics of both: the difference is what counting costs. An
// operation is one message.
func BenchmarkEngineWatched(b *testing.B) {
	for _, watched := range []bool{false, true} {
		name := map[bool]string{false: "Alone", true: "Watched"}[watched]
		b.Run(name, func(b *testing.B) {
			p := &engine.Pipeline{
				Name: "bench",
				From: []bridge.Endpoint[bridge.Source]{(&bridgetest.Plenty{Left: b.N, Size: 256}).Endpoint()},
				Steps: []bridge.Endpoint[bridge.Step]{{Type: "touch", Open: func(context.Context, bridge.Env) (bridge.Step, error) {
					return touch{}, nil
				}}},
				To: engine.To(bridgetest.Nowhere{}.Endpoint()),
			}
			if watched {
				m := monitor.New()
				m.Settled = metrics.New(metrics.Options{}).Settled
				m.Watch(p)
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

type touch struct{}

func (touch) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Pass(i)
	}
	return nil
}

func (touch) Close() error { return nil }
