package store_test

import (
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
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
					From: []bridge.Endpoint[bridge.Source]{(&bridgetest.Plenty{Left: b.N, Size: c.batch}).Endpoint()},
					To:   engine.To(bridgetest.Nowhere{}.Endpoint()),
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
