package host_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// BenchmarkPlugin measures what the way through a plugin process costs, AutoMTLS on: 256-byte
// messages through a source and through a sink in batches of DefaultMaxBatch, and 5,000 round trips
// of one message.
func BenchmarkPlugin(b *testing.B) {
	p := plugintest.Load(b, host.Settings{})
	c := named(b, p, "probe")
	for _, headers := range []int{0, 2} {
		b.Run(fmt.Sprintf("source/headers=%d", headers), func(b *testing.B) { benchSource(b, c, headers) })
		b.Run(fmt.Sprintf("sink/headers=%d", headers),
			func(b *testing.B) { benchSink(b, c, headers, bridge.DefaultMaxBatch) })
	}
	b.Run("roundtrip", func(b *testing.B) { benchRoundTrip(b, c) })
}

func benchSource(b *testing.B, c bridge.Connector, headers int) {
	env := bridgetest.Env(b, "bench-from")
	env.MaxBatch = bridge.DefaultMaxBatch
	source, err := c.Source.Open(b.Context(), &sourceSettings{Size: 256, Headers: headers, Flood: true}, env)
	if err != nil {
		b.Fatal(err)
	}
	defer source.Close()
	// Acks cross the next Read, as they do in the engine.
	acks := make(chan bridge.Ack, 4)
	done := make(chan error, 1)
	go func() {
		for ack := range acks {
			if err := ack(context.Background(), nil); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	b.ResetTimer()
	for n := 0; n < b.N; {
		batch, ack, err := source.Read(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		n += len(batch)
		acks <- ack
	}
	close(acks)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func benchSink(b *testing.B, c bridge.Connector, headers, size int) {
	sink, err := c.Sink.Open(b.Context(), &sinkSettings{}, bridgetest.Env(b, "bench-to"))
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	batch := make(bridge.Batch, size)
	for i := range batch {
		batch[i] = message(i, 256, headers)
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += len(batch) {
		if _, err := sink.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func benchRoundTrip(b *testing.B, c bridge.Connector) {
	sink, err := c.Sink.Open(b.Context(), &sinkSettings{}, bridgetest.Env(b, "bench-to"))
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	one := bridge.Batch{message(0, 256, 0)}
	took := make([]time.Duration, 5000) // whatever b.N is
	for i := range took {
		start := time.Now()
		if _, err := sink.Write(b.Context(), one); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkStart measures the time from nothing to the first message.
func BenchmarkStart(b *testing.B) {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		h := host.New(nil)
		p, err := h.Load(b.Context(), "test", host.Settings{Path: path})
		if err != nil {
			b.Fatal(err)
		}
		source, err := named(b, p, "probe").Source.Open(b.Context(), &sourceSettings{Size: 256, Flood: true},
			bridgetest.Env(b, "bench-from"))
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := source.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
