package nats_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// A message that takes longer than pings and time limits have is delivered once: bytes that move
// are life, in both directions.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	payload := bytes.Repeat([]byte("x"), 2<<20) // 35 s
	for name, run := range map[string]func(t *testing.T, s *server.Server, slow []bridge.URL){
		"core sink": func(t *testing.T, s *server.Server, slow []bridge.URL) {
			arrived := make(chan *natsgo.Msg, 10)
			nc := client(t, s).Conn()
			if _, err := nc.ChanSubscribe("core", arrived); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.URL, s.Subject = slow, bridge.Text("core") }))
			deliverAll(t, sink, bridge.Batch{{ID: "1", Payload: payload}})
			if m := <-arrived; len(m.Data) != len(payload) || len(arrived) > 0 {
				t.Errorf("%d bytes arrived, and %d copies", len(m.Data), len(arrived))
			}
		},
		"jetstream sink": func(t *testing.T, s *server.Server, slow []bridge.URL) {
			stream := createStream(t, client(t, s),
				jetstream.StreamConfig{Name: "SINK", Subjects: []string{"sink"}, Duplicates: time.Second})
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
				s.URL, s.Subject, s.JetStream = slow,
					bridge.Text("sink"), true
			}))
			deliverAll(t, sink, bridge.Batch{{ID: "1", Payload: payload}})
			if got := stored(t, stream, 1); len(got) != 1 {
				t.Errorf("the stream has %d messages", len(got))
			}
		},
		"jetstream source": func(t *testing.T, s *server.Server, slow []bridge.URL) {
			js := client(t, s)
			createStream(t, js, jetstream.StreamConfig{Name: "SOURCE", Subjects: []string{"source"}})
			if _, err := js.Publish(t.Context(), "source", payload); err != nil {
				t.Fatal(err)
			}
			source := openSource(t, sourceSettings(t, s,
				func(s *nats.SourceSettings) {
					s.URL, s.Stream, s.AckWait = slow, "SOURCE",
						2*time.Minute
				}), bridgetest.Env(t, "test-from"))
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			batch, ack, err := source.Read(ctx)
			if err != nil || len(batch) != 1 || len(batch[0].Payload) != len(payload) {
				t.Fatalf("read %d messages, err = %v", len(batch), err)
			}
			settle(t, []bridge.Ack{ack}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, func(o *server.Options) { o.MaxPayload = 4 << 20 })
			proxy := faulttest.NewProxy(t, s.Addr().String())
			proxy.Set(faulttest.Fault{Rate: 60_000})
			run(t, s, url(t, "nats://"+proxy.Addr()))
		})
	}
}
