package nats_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
)

// Messages that a consumer has given up, or ended, are read of their stream and refused; what is
// gone there is counted, and what is no advisory of that is refused itself.
func TestGivenUp(t *testing.T) {
	const of = "$JS.EVENT.ADVISORY.CONSUMER."
	subjects := "[" + of + "MAX_DELIVERIES.S.C, " + of + "MSG_TERMINATED.S.C, " + of + "OTHER.S.C]"
	for name, settings := range map[string]string{
		"Core":   "{subjects: " + subjects + ", given_up: true}",
		"Stream": "{stream: ADVISORIES, streams: {ADVISORIES: " + subjects + "}, given_up: true}",
	} {
		t.Run(name, func(t *testing.T) { testGivenUp(t, settings) })
	}
}

func testGivenUp(t *testing.T, settings string) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"orders.>"}})
	dropped := 0
	source := openSource(t, sourceYAML(t, s, settings), counted(t, &dropped))
	var ids []string
	for i := range 3 {
		m := natsgo.NewMsg(fmt.Sprint("orders.", i))
		m.Data, m.Header = fmt.Append(nil, i), natsgo.Header{"Unit": {"C"}}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		raw, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fmt.Sprintf("S:%d.%d", i+1, raw.Time.UnixNano()))
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "C", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 1, AckWait: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	fetched, err := consumer.Fetch(3)
	if err != nil {
		t.Fatal(err)
	}
	for m := range fetched.Messages() { // the first is not acknowledged
		switch m.Subject() {
		case "orders.1":
			err = m.TermWithReason("no such unit")
		case "orders.2":
			err = errors.Join(m.Term(), stream.DeleteMsg(t.Context(), 3))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pulling, err := consumer.Consume(func(jetstream.Msg) {}) // so that it would be delivered again
	if err != nil {
		t.Fatal(err)
	}
	defer pulling.Stop()
	if _, err := js.Conn().Request("$JS.EVENT.ADVISORY.CONSUMER.OTHER.S.C", []byte("{}"), time.Second); err != nil &&
		!errors.Is(err, natsgo.ErrTimeout) && !errors.Is(err, natsgo.ErrNoResponders) {
		t.Fatal(err)
	}
	got := make(map[string]bridge.Message)
	reasons := make(map[string]string)
	for len(got) < 3 {
		batch, ack, err := source.Read(t.Context())
		said, is := errors.AsType[bridge.Refusals](err)
		if !is || len(said) != len(batch) {
			t.Fatalf("read %v, err = %v, want that all are refused", batch, err)
		}
		for i, m := range batch {
			got[m.Topic], reasons[m.Topic] = m, said[i].Err.Error()
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	for topic, want := range map[string]string{
		"orders.0":                              `not processed in 1 deliveries by consumer "C" of stream "S"`,
		"orders.1":                              `ended by consumer "C" of stream "S": "no such unit"`,
		"$JS.EVENT.ADVISORY.CONSUMER.OTHER.S.C": "no advisory",
	} {
		if !strings.Contains(reasons[topic], want) {
			t.Errorf("%s: refused for %q, want %s", topic, reasons[topic], want)
		}
	}
	for i := range 2 {
		m := got[fmt.Sprint("orders.", i)]
		if string(m.Payload) != fmt.Sprint(i) || m.Header["Unit"] != "C" || m.ID != ids[i] {
			t.Errorf("read %+v, want payload %d, Unit: C and the id %s", m, i, ids[i])
		}
	}
	if dropped < 1 { // the server may speak of its deletion, too
		t.Errorf("%d dropped, want the one that is gone", dropped)
	}
}

// What is given back of the messages is given back of the advisories.
func TestGivenUpIsGivenBack(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"orders"}})
	createStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"advisories.>"}})
	for i := range 3 {
		if _, err := js.Publish(t.Context(), "orders", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, sequence := range []int{7, 1, 8, 2, 3} { // two of these never were
		if _, err := js.Publish(t.Context(), "advisories.S.C", fmt.Appendf(nil, `{"type":
			"io.nats.jetstream.advisory.v1.max_deliver", "stream": "S", "consumer": "C", "stream_seq": %d}`,
			sequence)); err != nil {
			t.Fatal(err)
		}
	}
	open := func() bridge.Source {
		return openSource(t, sourceYAML(t, s, `{stream: A, given_up: true, durable: D}`), counted(t, new(int)))
	}
	read := func(source bridge.Source, n int) (text string, ack bridge.Ack) {
		t.Helper()
		for len(text) < n {
			batch, one, err := source.Read(t.Context())
			if _, is := errors.AsType[bridge.Refusals](err); !is {
				t.Fatal(err)
			}
			for _, m := range batch {
				text += string(m.Payload)
			}
			ack = one
		}
		return text, ack
	}
	source := open()
	if text, ack := read(source, 3); text != "012" {
		t.Errorf("read %s", text)
	} else if err := ack(t.Context(), bridge.GiveBack(1, errors.New("the disk is full"))); err != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	if text, _ := read(open(), 2); text != "12" {
		t.Errorf("read %s, want what was not settled", text)
	}
}

// Advisories are about the stream that their subject names, or they are none, and about the stream
// that there was then.
func TestGivenUpIsOfTheSubjectsStream(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	for _, name := range []string{"S", "SECRET"} {
		createStream(t, js, jetstream.StreamConfig{Name: name, Subjects: []string{"of." + name}})
		if _, err := js.Publish(t.Context(), "of."+name, []byte("of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	createStream(t, js, jetstream.StreamConfig{Name: "A", Subjects: []string{"advisories.>"}})
	say := func(subject, stream string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), subject, fmt.Appendf(nil, `{"type":
			"io.nats.jetstream.advisory.v1.max_deliver", "stream": %q, "consumer": "C", "stream_seq": 1}`,
			stream)); err != nil {
			t.Fatal(err)
		}
	}
	say("advisories.OLD.C", "OLD")
	createStream(t, js, jetstream.StreamConfig{Name: "OLD", Subjects: []string{"of.OLD"}})
	if _, err := js.Publish(t.Context(), "of.OLD", []byte("another")); err != nil {
		t.Fatal(err)
	}
	say("advisories.S.C", "SECRET")
	say("advisories.S.C.C", "S.C")
	say("advisories.a", "a b")
	say("advisories.S.C", "S")
	dropped := 0
	source := openSource(t, sourceYAML(t, s, `{stream: A, given_up: true, durable: D}`), counted(t, &dropped))
	var got []string
	for len(got) < 4 {
		batch, ack, err := source.Read(t.Context())
		said, is := errors.AsType[bridge.Refusals](err)
		if !is {
			t.Fatal(err)
		}
		for i, m := range batch {
			got = append(got, m.Topic)
			if no := strings.Contains(said[i].Err.Error(), "no advisory"); no != (m.Topic != "of.S") {
				t.Errorf("%s: %s is refused for %v", m.Topic, m.Payload, said[i].Err)
			}
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := "advisories.S.C advisories.S.C.C advisories.a of.S"; strings.Join(got, " ") != want || dropped != 1 {
		t.Errorf("read %q, dropped %d, want %s, and 1", got, dropped, want)
	}
}
