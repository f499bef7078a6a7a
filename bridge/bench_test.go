package bridge_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
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
			p := &bridge.Pipeline{
				Name:        "bench",
				MaxInFlight: c.inFlight,
				From: []bridge.Endpoint[bridge.Source]{{Type: "memory", Open: func(context.Context, bridge.Env) (bridge.Source, error) {
					return &endless{left: b.N}, nil
				}}},
				Steps: []bridge.Endpoint[bridge.Step]{{Type: "touch", Open: func(context.Context, bridge.Env) (bridge.Step, error) { return touch{}, nil }}},
				To:    []bridge.Endpoint[bridge.Sink]{{Type: "count", Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return count{c.ids}, nil }}},
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

func (touch) Process(_ context.Context, b bridge.Batch) (bridge.Batch, error) {
	kept := b[:0]
	for _, m := range b {
		if len(m.Payload) > 0 {
			kept = append(kept, m)
		}
	}
	return kept, nil
}

type count struct{ ids bool }

func (c count) NeedsID() bool                                      { return c.ids }
func (count) Write(_ context.Context, b bridge.Batch) (int, error) { return len(b), nil }
func (count) Close() error                                         { return nil }
