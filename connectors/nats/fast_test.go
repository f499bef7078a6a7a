package nats_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// createFast creates a stream S that takes fast ingest, which the client library does not know.
func createFast(t testing.TB, js jetstream.JetStream, change map[string]any) jetstream.Stream {
	t.Helper()
	config := map[string]any{
		"name": "S", "subjects": []string{"a.>"}, "storage": "file", "allow_batched": true,
		"max_msgs": -1, "max_bytes": -1, "max_msg_size": -1, "num_replicas": 1,
	}
	maps.Copy(config, change)
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := js.Conn().RequestWithContext(t.Context(), "$JS.API.STREAM.CREATE.S", body)
	if err != nil || strings.Contains(string(answer.Data), `"error"`) {
		t.Fatalf("%v: %s", err, answer.Data)
	}
	stream, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// A stream that allows it gets batches, and whatever is in them: each message is stored once, in
// order, or refused.
func TestFastIngest(t *testing.T) {
	all := func(change func(bridge.Batch)) bridge.Batch {
		batch := numbered(0, 3000)
		for i := range batch {
			batch[i].Topic = "a.b"
		}
		change(batch)
		return batch
	}
	for name, c := range map[string]struct {
		stream  map[string]any
		batch   bridge.Batch
		refused []int
		plain   bool // it is not to be fast
	}{
		"all is well": {batch: all(func(bridge.Batch) {})},
		"too large for the stream": {
			stream: map[string]any{"max_msg_size": 500}, refused: []int{0, 7, 1500, 2999},
			batch: all(func(b bridge.Batch) {
				for _, i := range []int{0, 7, 1500, 2999} {
					b[i].Payload = make([]byte, 600)
				}
			}),
		},
		"too large for the server": {
			refused: []int{0, 7, 2999}, batch: all(func(b bridge.Batch) {
				b[0].Payload, b[7].Payload, b[2999].Payload = make([]byte, 2<<20), make([]byte, 2<<20), make([]byte, 2<<20)
			}),
		},
		"no subject": {
			refused: []int{1, 2, 2998},
			batch:   all(func(b bridge.Batch) { b[1].Topic, b[2].Topic, b[2998].Topic = "a..b", "", "*" }),
		},
		"known already": {batch: all(func(b bridge.Batch) {
			b[10].ID, b[11].ID, b[2999].ID = b[9].ID, b[9].ID,
				b[9].ID
		})},
		"not allowed": {
			stream: map[string]any{"allow_batched": false}, batch: all(func(bridge.Batch) {}),
			plain: true,
		},
		"limit of the messages": {stream: map[string]any{"max_msgs": 5}, batch: all(func(bridge.Batch) {})},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, nil)
			js := client(t, s)
			stream := createFast(t, js, c.stream)
			replies := make(chan *natsgo.Msg, 10_000)
			if _, err := js.Conn().ChanSubscribe("a.>", replies); err != nil {
				t.Fatal(err)
			}
			if err := js.Conn().Flush(); err != nil {
				t.Fatal(err)
			}
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.Subject, s.Stream = topic{}, "S" }))
			want := map[string]bool{}
			var order []string
			for range 2 { // the second time everything is known
				r, err := sink.Write(t.Context(), c.batch)
				var refused []int
				for _, no := range r.Refused {
					refused = append(refused, no.Index)
				}
				if err != nil || r.Settled != len(c.batch) || fmt.Sprint(refused) != fmt.Sprint(c.refused) {
					t.Fatalf("wrote %d with %v, refused %v, want %v", r.Settled, err, refused, c.refused)
				}
				for i, m := range c.batch {
					if !want[m.ID] && !slices.Contains(c.refused, i) {
						want[m.ID] = true
						order = append(order, string(m.Payload))
					}
				}
			}
			if most, ok := c.stream["max_msgs"].(int); ok {
				order = order[len(order)-most:]
			}
			got := stored(t, stream, len(order))
			if len(got) != len(order) {
				t.Fatalf("the stream has %d messages, want %d", len(got), len(order))
			}
			for i, m := range got {
				if string(m.Payload) != order[i] {
					t.Fatalf("message %d is %s, want %s", i, m.Payload, order[i])
				}
			}
			if m := <-replies; strings.HasSuffix(m.Reply, ".$FI") == c.plain {
				t.Errorf("the first message was sent with %s", m.Reply)
			}
		})
	}
}

// Several batches at once are kept apart, and one that the server has no room for is sent
// otherwise.
func TestFastIngestSideBySide(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.JetStreamLimits.MaxBatchInflightPerStream = 2 })
	js := client(t, s)
	stream := createFast(t, js, nil)
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.Subject, s.Stream = bridge.Text("a.b"), "S" }))
	var writing sync.WaitGroup
	for k := range 8 {
		writing.Go(func() {
			for i := range 20 {
				deliverAll(t, sink, numbered(k*10_000+i*100, k*10_000+(i+1)*100))
			}
		})
	}
	writing.Wait()
	if n := len(stored(t, stream, 16_000)); n != 16_000 {
		t.Errorf("the stream has %d messages", n)
	}
}
