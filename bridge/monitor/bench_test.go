package monitor_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// BenchmarkWatched is the engine alone, with batches of 256 from memory to nowhere, and the same
// with a monitor around its ends: the difference is what looking costs. An operation is one message.
func BenchmarkWatched(b *testing.B) {
	for _, watched := range []bool{false, true} {
		name := map[bool]string{false: "Alone", true: "Watched"}[watched]
		b.Run(name, func(b *testing.B) {
			p := &engine.Pipeline{
				Name: "bench",
				From: []bridge.Endpoint[bridge.Source]{{Type: "memory",
					Open: func(context.Context, bridge.Env) (bridge.Source, error) {
						return &endless{left: b.N}, nil
					}}},
				Steps: []bridge.Endpoint[bridge.Step]{{Type: "touch", Open: func(context.Context, bridge.Env) (bridge.Step, error) {
					return touch{}, nil
				}}},
				To: engine.To(bridge.Endpoint[bridge.Sink]{Type: "count",
					Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
						return count{}, nil
					}}),
			}
			if watched {
				m := monitor.New()
				m.Settled = func(string, time.Duration) {}
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

var payload = make([]byte, 256)

type endless struct{ left int }

func (e *endless) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	n := min(e.left, 256)
	if n == 0 {
		return nil, nil, io.EOF
	}
	e.left -= n
	batch := make(bridge.Batch, n)
	for i := range batch {
		batch[i] = bridge.Message{Topic: "a/b", Payload: payload}
	}
	return batch, func(context.Context, error) error { return nil }, nil
}

func (*endless) Close() error { return nil }

type touch struct{}

func (touch) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Pass(i)
	}
	return nil
}

func (touch) Close() error { return nil }

type count struct{}

func (count) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b)}, nil
}

func (count) Close() error { return nil }
