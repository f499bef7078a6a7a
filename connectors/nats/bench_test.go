package nats_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// The benchmarks come in pairs: ours, and loop, which is what one would write by
// hand with the client library. One operation is one message of 256 bytes.

const benchBatch = 256

func benchMessages(n int) bridge.Batch {
	b := make(bridge.Batch, n)
	for i := range b {
		b[i] = bridge.Message{Topic: "a", Payload: make([]byte, 256)}
	}
	return b
}

func BenchmarkCoreSink(b *testing.B) {
	batch := benchMessages(benchBatch)
	b.Run("loop", func(b *testing.B) {
		nc := client(b, natstest.Start(b, nil)).Conn()
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			if err := nc.Publish("a", batch[i%benchBatch].Payload); err != nil {
				b.Fatal(err)
			}
			if i%benchBatch == benchBatch-1 || i == b.N-1 {
				if err := nc.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		s := natstest.Start(b, nil)
		sink := openSink(b, sinkSettings(b, s, func(s *nats.SinkSettings) { s.Subject = topic{} }))
		benchWrite(b, sink, batch)
	})
}

func benchWrite(b *testing.B, sink bridge.Sink, batch bridge.Batch) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= benchBatch {
		if _, err := sink.Write(context.Background(), batch[:min(left, benchBatch)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStreamSink(b *testing.B) {
	batch := benchMessages(1024)
	config := jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, MaxMsgs: 10_000}
	b.Run("loop", func(b *testing.B) {
		s := natstest.Start(b, nil)
		createStream(b, client(b, s), config)
		js, err := jetstream.New(client(b, s).Conn(), jetstream.WithPublishAsyncMaxPending(4000))
		if err != nil {
			b.Fatal(err)
		}
		futures := make([]jetstream.PubAckFuture, 0, 1024)
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			f, err := js.PublishMsgAsync(&natsgo.Msg{Subject: "a", Data: batch[i%1024].Payload})
			if err != nil {
				b.Fatal(err)
			}
			if futures = append(futures, f); len(futures) < 1024 && i < b.N-1 {
				continue
			}
			for _, f := range futures {
				select {
				case <-f.Ok():
				case err := <-f.Err():
					b.Fatal(err)
				}
			}
			futures = futures[:0]
		}
	})
	b.Run("fast", func(b *testing.B) {
		s := natstest.Start(b, nil)
		createFast(b, client(b, s), map[string]any{"max_msgs": 10_000})
		sink := openSink(b, sinkSettings(b, s, func(s *nats.SinkSettings) { s.Subject, s.Stream = bridge.Text("a.b"), "S" }))
		b.ReportAllocs()
		b.ResetTimer()
		for left := b.N; left > 0; left -= len(batch) {
			if _, err := sink.Write(context.Background(), batch[:min(left, len(batch))]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		s := natstest.Start(b, nil)
		createStream(b, client(b, s), config)
		sink := openSink(b, sinkSettings(b, s, func(s *nats.SinkSettings) { s.Subject, s.JetStream = topic{}, true }))
		b.ReportAllocs()
		b.ResetTimer()
		for left := b.N; left > 0; left -= len(batch) {
			if _, err := sink.Write(context.Background(), batch[:min(left, len(batch))]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// feed publishes n messages, never more than room ahead of what was received.
func feed(b *testing.B, nc *natsgo.Conn, n, room int, received *atomic.Int64) {
	b.Helper()
	payload := make([]byte, 256)
	for i := range n {
		for i-int(received.Load()) >= room {
			runtime.Gosched()
		}
		if err := nc.Publish("a", payload); err != nil {
			b.Error(err)
			return
		}
	}
}

func BenchmarkCoreSource(b *testing.B) {
	b.Run("loop", func(b *testing.B) {
		s := natstest.Start(b, nil)
		nc := client(b, s).Conn()
		messages := make(chan *natsgo.Msg, 32768)
		if _, err := nc.ChanSubscribe("a", messages); err != nil {
			b.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			b.Fatal(err)
		}
		var received atomic.Int64
		b.ReportAllocs()
		b.ResetTimer()
		go feed(b, client(b, s).Conn(), b.N, 16384, &received)
		for n := 0; n < b.N; n++ {
			<-messages
			if n%benchBatch == 0 {
				received.Add(benchBatch)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		s := natstest.Start(b, nil)
		env := bridgetest.Env(b, "bench-from")
		source := openSource(b, sourceSettings(b, s, func(s *nats.SourceSettings) { s.Subject = "a" }), env)
		var received atomic.Int64
		b.ReportAllocs()
		b.ResetTimer()
		go feed(b, client(b, s).Conn(), b.N, 16384, &received)
		for n := 0; n < b.N; {
			batch, _, err := source.Read(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n += len(batch)
			received.Add(int64(len(batch)))
		}
	})
}

func benchStream(b *testing.B) (*nats.SourceSettings, jetstream.JetStream) {
	b.Helper()
	s := natstest.Start(b, nil)
	js := client(b, s)
	createStream(b, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage})
	sink := openSink(b, sinkSettings(b, s, func(s *nats.SinkSettings) { s.JetStream = true }))
	if _, err := sink.Write(b.Context(), benchMessages(b.N)); err != nil {
		b.Fatal(err)
	}
	return sourceSettings(b, s, func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "D" }), js
}

func BenchmarkStreamSource(b *testing.B) {
	b.Run("loop", func(b *testing.B) {
		_, js := benchStream(b)
		c, err := js.CreateConsumer(b.Context(), "S",
			jetstream.ConsumerConfig{Durable: "D", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		it, err := c.Messages(jetstream.PullMaxMessages(512))
		if err != nil {
			b.Fatal(err)
		}
		defer it.Stop()
		for range b.N {
			m, err := it.Next()
			if err != nil {
				b.Fatal(err)
			}
			if err := m.Ack(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		settings, _ := benchStream(b)
		source := openSource(b, settings, bridgetest.Env(b, "bench-from"))
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; {
			batch, ack, err := source.Read(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n += len(batch)
			if err := ack(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
