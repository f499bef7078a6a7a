package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// deliverAll writes the batch and fails the test unless all of it was delivered.
func deliverAll(t testing.TB, sink bridge.Sink, batch bridge.Batch) {
	t.Helper()
	if r, err := sink.Write(t.Context(), batch); r.Settled != len(batch) || len(r.Refused) > 0 || err != nil {
		t.Fatalf("wrote %d messages: %+v, %v", len(batch), r, err)
	}
}

// refuses writes the batch and fails the test unless just one message was refused, with the texts
// in the reason.
func refuses(t testing.TB, sink bridge.Sink, batch bridge.Batch, index int, texts ...string) {
	t.Helper()
	r, err := sink.Write(t.Context(), batch)
	if r.Settled != len(batch) || len(r.Refused) != 1 || r.Refused[0].Index != index || err != nil {
		t.Fatalf("wrote %d messages: %+v, %v, want message %d refused and the others delivered", len(batch), r, err, index)
	}
	for _, text := range texts {
		if !strings.Contains(r.Refused.Error(), text) {
			t.Errorf("refused for %q, which does not say %s", r.Refused.Error(), text)
		}
	}
	if len(r.Refused.Error()) > 300 {
		t.Errorf("refused for %q, which is long", r.Refused.Error())
	}
}

// bothSinks runs a test with a core and a JetStream sink, whose subject is the
// topic. received returns what has arrived on subjects a and a.>, n at least.
func bothSinks(t *testing.T, run func(t *testing.T, sink bridge.Sink, received func(n int) []bridge.Message)) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("jetstream=%t", stream), func(t *testing.T) {
			s := natstest.Start(t, func(o *server.Options) { o.MaxPayload = 1000 })
			arrived := createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a", "a.>"}})
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.Subject, s.JetStream = topic{}, stream }))
			run(t, sink, func(n int) []bridge.Message { return stored(t, arrived, n) })
		})
	}
}

func TestN11PayloadTooLarge(t *testing.T) {
	bothSinks(t, func(t *testing.T, sink bridge.Sink, received func(int) []bridge.Message) {
		batch := bridge.Batch{
			{ID: "1", Topic: "a", Payload: []byte("fits")},
			{ID: "2", Topic: "a", Payload: make([]byte, 1001)},
			{ID: "3", Topic: "a", Payload: []byte("goes on")},
		}
		refuses(t, sink, batch, 1, `"a"`, " bytes with headers", "1000 at most")
		if got := received(2); len(got) != 2 || string(got[0].Payload) != "fits" || string(got[1].Payload) != "goes on" {
			t.Errorf("received %v", got)
		}
	})
}

func TestS5SubjectsFromMessages(t *testing.T) {
	bothSinks(t, func(t *testing.T, sink bridge.Sink, received func(int) []bridge.Message) {
		bad := []string{
			"", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x 1\r\n", "a\x00b", "a.*", "a.>", "*", ">",
			"$SYS.REQ.SERVER.PING", "$JS.API.STREAM.DELETE.S", "$KV.a",
		}
		for i, subject := range bad {
			refuses(t, sink, bridge.Batch{{ID: "bad", Topic: subject}, {ID: strconv.Itoa(i), Topic: "a"}}, 0,
				strconv.Quote(subject))
		}
		if got := len(received(len(bad))); got != len(bad) {
			t.Errorf("%d messages arrived, want %d", got, len(bad))
		}
	})
}

func TestS5HeadersFromMessages(t *testing.T) {
	bothSinks(t, func(t *testing.T, sink bridge.Sink, received func(int) []bridge.Message) {
		deliverAll(t, sink, bridge.Batch{{ID: "id", Topic: "a", Header: map[string]string{
			"Nats-Rollup":                 "all",
			"Nats-Expected-Last-Sequence": "17",
			"nats-ttl":                    "1s",
			"":                            "nameless",
			"plain":                       "kept",
			"in:ject\r\nX":                "v",
			"value":                       "v\r\nNats-Rollup: all\x00",
			"outer":                       " v\t",
		}}})
		got := received(1)[0].Header
		delete(got, jetstream.MsgIDHeader)
		want := map[string]string{
			"plain":            "kept",
			"in%3Aject%0D%0AX": "v",
			"value":            "v%0D%0ANats-Rollup: all%00",
			"outer":            "%20v%09",
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("header %q = %q, want %q", k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("headers %q, want %q", got, want)
		}
	})
}

func TestRefusedPublishing(t *testing.T) {
	for _, stream := range []bool{false, true} {
		s := natstest.Start(t, func(o *server.Options) {
			o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{"a"}},
			}}}
		})
		sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
			s.JetStream, s.Username, s.Password = stream, "u", bridge.NewSecret("p")
		}))
		r, err := sink.Write(t.Context(), bridge.Batch{{ID: "1"}})
		if r.Settled != 0 || !bridge.IsPermanent(err) || !errors.Is(err, natsgo.ErrPermissionViolation) ||
			!strings.Contains(err.Error(), `"a"`) {
			t.Errorf("jetstream %t: wrote %d with %v, want a permanent error about the subject", stream, r.Settled, err)
		}
	}
}

func TestSubjectWithoutStream(t *testing.T) {
	s := natstest.Start(t, nil)
	for stream, want := range map[string]string{
		"":     `"a": no stream takes that subject: create one`,
		"NOPE": `"a": no stream takes that subject, "NOPE" mirrors another, does not either or does not exist`,
	} {
		sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.JetStream, s.Stream = true, stream }))
		r, err := sink.Write(t.Context(), bridge.Batch{{ID: "1"}, {ID: "2"}})
		if n := r.Settled; n != 0 || err == nil || bridge.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("wrote %d with %v, want the hint that there is no stream", r.Settled, err)
		}
	}
}

func TestOtherStreamThanExpected(t *testing.T) {
	s := natstest.Start(t, nil)
	createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.Stream = "T" }))
	refuses(t, sink, bridge.Batch{{ID: "1"}}, 0, `not the stream that the setting stream names, "T"`)
}

// A stream that refuses some for good and others for now: what is refused is told with its index,
// up to the first that may go another time.
func TestRefusedAmongWhatMayPass(t *testing.T) {
	s := natstest.Start(t, nil)
	stream := createStream(t, client(t, s), jetstream.StreamConfig{
		Name: "S", Subjects: []string{"a"}, MaxMsgSize: 200, MaxMsgs: 5, Discard: jetstream.DiscardNew,
	})
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.JetStream = true }))
	batch := numbered(0, 12)
	for _, i := range []int{0, 3, 7, 10} {
		batch[i].Payload = make([]byte, 300)
	}
	r, err := sink.Write(t.Context(), batch)
	var refused []int
	for _, f := range r.Refused {
		refused = append(refused, f.Index)
	}
	if r.Settled != 8 || fmt.Sprint(refused) != "[0 3 7]" || err == nil || bridge.IsPermanent(err) {
		t.Errorf("settled %d, refused %v, %v, want 8, [0 3 7] and an error that is not permanent", r.Settled, refused, err)
	}
	if got := len(stored(t, stream, 5)); got != 5 {
		t.Errorf("%d messages are stored, want 5", got)
	}
}

func TestStreamSinkNeedsIDs(t *testing.T) {
	s := natstest.Start(t, nil)
	for _, jetStream := range []bool{false, true} {
		needed := false
		env := bridgetest.Env(t, "test-to")
		env.NeedID = func() { needed = true }
		sink, err := nats.Connector().Sink.Open(t.Context(),
			sinkSettings(t, s, func(s *nats.SinkSettings) { s.JetStream = jetStream }), env)
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
		if needed != jetStream {
			t.Errorf("JetStream %t: needs ids: %t", jetStream, needed)
		}
	}
}

func TestN10FullStreamMakesThePipelineWait(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
		s.JetStream = true
		s.Streams = map[string]nats.Stream{"S": {Subjects: []string{"a"}, Discard: "new", MaxMsgs: 5}}
	}))
	batch := numbered(0, 10)
	r, err := sink.Write(t.Context(), batch)
	if r.Settled != 5 || len(r.Refused) > 0 || err == nil || bridge.IsPermanent(err) {
		t.Fatalf("wrote %+v with %v, want 5 and an error that is not permanent", r, err)
	}
	stream, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	deliverAll(t, sink, batch[5:])
}

func TestStreamsAreCreatedAndNeverChanged(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	set := func(stream nats.Stream) *nats.SinkSettings {
		return sinkSettings(t, s, func(s *nats.SinkSettings) { s.Streams = map[string]nats.Stream{"S": stream} })
	}
	openSink(t, set(nats.Stream{
		Subjects: []string{"a.*", "b.>"}, Storage: "memory", MaxBytes: 1 << 20,
		MaxAge: time.Hour, Duplicates: time.Minute,
	}))
	stream, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	if c.Storage != jetstream.MemoryStorage || c.MaxBytes != 1<<20 || c.MaxAge != time.Hour ||
		c.Duplicates != time.Minute || c.MaxMsgs != -1 {
		t.Errorf("created %+v", c)
	}
	for subject, covered := range map[string]bool{
		"a.*": true, "a.x": true, "b.>": true, "b.x.y": true, "b.*": true, "b.*.>": true,
		"a": false, "a.>": false, "a.x.y": false, "b": false, ">": false, "*.x": false,
	} {
		sink, err := nats.Connector().Sink.Open(t.Context(), set(nats.Stream{Subjects: []string{subject}}),
			bridgetest.Env(t, "test-to"))
		if covered != (err == nil) || covered == bridge.IsPermanent(err) {
			t.Errorf("stream of a.* and b.> asked for %q: err = %v (permanent: %t)", subject, err, bridge.IsPermanent(err))
		}
		if err == nil {
			_ = sink.Close()
		}
	}
}

func numbered(from, to int) bridge.Batch {
	var b bridge.Batch
	for i := from; i < to; i++ {
		b = append(b, bridge.Message{ID: fmt.Sprint("id-", i), Topic: "a", Payload: fmt.Append(nil, i)})
	}
	return b
}

func TestN4WindowIsKept(t *testing.T) {
	s := natstest.Start(t, nil)
	stream := createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.JetStream = true }))
	const total = 20_000 // five times what the client library lets wait
	deliverAll(t, sink, numbered(0, total))
	for i, m := range stored(t, stream, total) {
		if string(m.Payload) != strconv.Itoa(i) {
			t.Fatalf("message %d of the stream is %s", i, m.Payload)
		}
	}
}

func TestSinksOfOneStreamDoNotTakeEachOthersMessagesForDuplicates(t *testing.T) {
	s := natstest.Start(t, nil)
	stream := createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}})
	batch := numbered(0, 100)
	for range 2 { // the second time as after a write of which nobody knows how it went
		for _, instance := range []string{"p-to", "p-to-2"} {
			sink := openSinkAt(t, instance, sinkSettings(t, s, func(s *nats.SinkSettings) {
				s.Subject, s.JetStream = bridge.Text("a."+instance), true
			}))
			deliverAll(t, sink, batch)
		}
	}
	count := map[string]int{}
	for _, m := range stored(t, stream, 2*len(batch)) {
		count[m.Topic]++
	}
	if count["a.p-to"] != len(batch) || count["a.p-to-2"] != len(batch) {
		t.Errorf("the stream has %v, want %d of each", count, len(batch))
	}
}

// A late confirmation must not count for a message of a later batch.
func TestN4ConfirmationOfAnEarlierBatch(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.JetStream, s.AckTimeout = true, 8*time.Second }))
	seen := make(chan string, 2) // reply subjects
	if _, err := js.Conn().Subscribe("a", func(m *natsgo.Msg) {
		if seen <- m.Reply; len(seen) == 2 {
			_ = js.Conn().Publish(<-seen, []byte(`{"stream":"S","seq":1}`))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	deliverAll(t, sink, numbered(0, 1))
	if err := js.DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	if r, err := sink.Write(t.Context(), numbered(1, 2)); r.Settled != 0 || err == nil {
		t.Errorf("wrote %d with %v, though no stream has the message", r.Settled, err)
	}
}

func TestLongSubjects(t *testing.T) {
	bothSinks(t, func(t *testing.T, sink bridge.Sink, received func(int) []bridge.Message) {
		long := "a." + strings.Repeat("x", 3998)
		refuses(t, sink, bridge.Batch{{ID: "1", Topic: long}, {ID: "2", Topic: long + "x"}}, 1, "4001 bytes")
		if got := received(1); got[0].Topic != long {
			t.Errorf("received %.20q… of %d bytes", got[0].Topic, len(got[0].Topic))
		}
	})
}

func TestEveryTopicOfMQTTCanBePublished(t *testing.T) {
	bothSinks(t, func(t *testing.T, sink bridge.Sink, received func(int) []bridge.Message) {
		topics := []string{"a/\x01\x1b/\v", "a/room 1/\x7f\t", "a//", "a/wärme"}
		var batch bridge.Batch
		for _, topic := range topics {
			batch = append(batch, bridge.Message{ID: topic, Topic: bridge.SubjectFromTopic(topic)})
		}
		deliverAll(t, sink, batch)
		for i, m := range received(len(topics)) {
			if got := bridge.TopicFromSubject(m.Topic); got != topics[i] {
				t.Errorf("topic %q came as %q", topics[i], got)
			}
		}
	})
}

func FuzzConstantSubject(f *testing.F) {
	for _, s := range []string{"a.b", "a..b", "*", "a.>", "a b", "ä", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		s := nats.Connector().Sink.Settings().(*nats.SinkSettings)
		s.Subject = bridge.Text(subject)
		valid := server.IsValidSubject(subject) && server.IsValidLiteralSubject(subject)
		if err := s.Validate(); err == nil && !valid {
			t.Errorf("%q is accepted, and the server would refuse it", subject)
		}
	})
}

// A Write that is canceled says so, though what it then meets is a connection that it has cut
// itself.
func TestCanceledWriteSaysSo(t *testing.T) {
	s := natstest.Start(t, nil)
	createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	for _, stream := range []string{"", "S"} {
		for range 200 {
			sink := openSink(t, sinkSettings(t, s, func(set *nats.SinkSettings) {
				set.Subject, set.Stream = bridge.Text("a"), stream
			}))
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			if _, err := sink.Write(ctx, bridgetest.Numbered(50)); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("stream %q: %v", stream, err)
			}
			if err := sink.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
