package store_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// BenchmarkBuffer is a pipeline from memory through a buffer to nowhere, with messages of 256 bytes
// in batches as large as connectors make them under load, and in small ones. An operation is one
// message.
func BenchmarkBuffer(b *testing.B) {
	for _, durability := range []string{"power", "process"} {
		for _, c := range []struct {
			name  string
			batch int
		}{{"Batch1024", 1024}, {"Batch64", 64}} {
			b.Run(durability+c.name, func(b *testing.B) {
				state := open(b, b.TempDir(), func(s *store.Settings) { s.Durability = durability })
				p := &engine.Pipeline{
					Name: "bench", Buffer: &bridge.BufferSettings{MaxBytes: 4 << 30}, State: state,
					From: []bridge.Endpoint[bridge.Source]{{Type: "memory",
						Open: func(context.Context, bridge.Env) (bridge.Source, error) {
							return &batches{left: b.N, size: c.batch}, nil
						}}},
					To: engine.To(bridge.Endpoint[bridge.Sink]{
						Type: "count",
						Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return count{}, nil },
					}),
				}
				b.ReportAllocs()
				if err := p.Run(b.Context(), bridge.Env{}, nil); err != nil {
					b.Fatal(err)
				}
				if got := p.Ledger().Delivered; got != uint64(b.N) {
					b.Fatalf("%d delivered, want %d", got, b.N)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

var payload = make([]byte, 256)

// batches returns left messages in batches of a size.
type batches struct{ left, size int }

func (s *batches) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	n := min(s.left, s.size)
	if n == 0 {
		return nil, nil, io.EOF
	}
	s.left -= n
	batch, now := make(bridge.Batch, n), time.Now()
	for i := range batch {
		batch[i] = bridge.Message{Topic: "a/b", Payload: payload, Time: now}
	}
	return batch, func(context.Context, error) error { return nil }, nil
}

func (*batches) Close() error { return nil }

type count struct{}

func (count) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b)}, nil
}

func (count) Close() error { return nil }
