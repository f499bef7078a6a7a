package store_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// letters returns dead letters of an instance as the engine writes them.
func letters(t testing.TB, instance, place string, n int) bridge.Batch {
	t.Helper()
	var batch bridge.Batch
	for i := range n {
		d := bridge.DeadLetter{
			Reason: "no", Pipeline: pipeline, Place: place, Connector: "c", Instance: instance, Attempts: 2,
			First: time.Unix(1, 0).UTC(), Last: time.Unix(2, 0).UTC(),
			ID: fmt.Sprint("id-", i), Topic: "t\xff", Payload: fmt.Appendf(nil, "%d \x00\xfe", i),
		}
		text, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, bridge.Message{Payload: text})
	}
	return batch
}

func openSink(t testing.TB, e bridge.Endpoint[bridge.Sink]) bridge.Sink {
	t.Helper()
	s, err := e.Open(t.Context(), bridgetest.Env(t, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestE5EveryLetterIsKept, in order, also those about the same message.
func TestE5EveryLetterIsKept(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	sink := openSink(t, s.DeadLetters(pipeline))
	batch := append(letters(t, "sensors-to", "sink", 600), letters(t, "sensors-to-2", "sink", 600)...)
	if r, err := sink.Write(t.Context(), batch); r.Settled != len(batch) || r.Refused != nil || err != nil {
		t.Fatal(r, err)
	}
	var got []string
	err := s.Letters(t.Context(), pipeline, func(l store.Letter) bool {
		got = append(got, l.Instance+" "+l.ID)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, to := range []string{"sensors-to", "sensors-to-2"} {
		for i := range 600 {
			want = append(want, fmt.Sprint(to, " id-", i))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A letter that is too large is refused, and those behind it are stored.
func TestLetterTooLarge(t *testing.T) {
	s := open(t, t.TempDir())
	batch := letters(t, "sensors-to", "sink", 4)
	batch[0].Payload, batch[2].Payload = make([]byte, 25<<20), make([]byte, 25<<20)
	r, err := openSink(t, s.DeadLetters(pipeline)).Write(t.Context(), batch)
	if r.Settled != 4 || len(r.Refused) != 2 || r.Refused[0].Index != 0 || r.Refused[1].Index != 2 || err != nil {
		t.Fatal(r, err)
	}
	if text := r.Refused.Error(); !strings.Contains(text, "on_error.dead_letter") {
		t.Error(text)
	}
	n := 0
	if err := s.Letters(t.Context(), pipeline, func(store.Letter) bool { n++; return true }); n != 2 || err != nil {
		t.Errorf("%d letters, %v", n, err)
	}
}

// TestReplay of letters of every place, one of which fails again and has another id then.
func TestReplay(t *testing.T) {
	for place, instance := range map[string]string{
		"source": "sensors-from", "step": "sensors-step-2",
		"sink": "sensors-to-1_2",
	} {
		s := open(t, t.TempDir())
		for _, i := range []string{instance, "sensors-other"} {
			if _, err := openSink(t, s.DeadLetters(pipeline)).Write(t.Context(), letters(t, i, place, 3)); err != nil {
				t.Fatal(err)
			}
		}
		from, failed := s.Replay(store.Replay{Pipeline: pipeline, Instance: instance})
		source, err := from.Open(t.Context(), bridgetest.Env(t, "replay-from"))
		if err != nil {
			t.Fatal(err)
		}
		batch, ack, err := source.Read(t.Context())
		if err != nil || len(batch) != 3 || batch[1].ID != "id-1" || batch[1].Topic != "t\xff" ||
			string(batch[1].Payload) != "1 \x00\xfe" {
			t.Fatalf("%s: replayed %+v, %v", place, batch, err)
		}
		again := bridge.DeadLetter{
			Reason: "no again", Pipeline: "replay", Place: "sink", Connector: "c", Instance: "replay-to", Attempts: 1,
			First: time.Unix(3, 0).UTC(), Last: time.Unix(3, 0).UTC(),
			ID: batch[1].ID, Topic: batch[1].Topic, Payload: batch[1].Payload,
		}
		text, err := again.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if r, err := openSink(t, failed(instance)).Write(t.Context(),
			bridge.Batch{{Payload: text}}); r.Settled != 1 || err != nil {
			t.Fatal(r, err)
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := source.Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", place, err)
		}
		var left []store.Letter
		err = s.Letters(t.Context(), pipeline, func(l store.Letter) bool {
			if l.Instance == instance {
				left = append(left, l)
			}
			return true
		})
		if err != nil || len(left) != 1 || left[0].ID != "id-1" || left[0].Attempts != 3 ||
			!left[0].First.Equal(time.Unix(1, 0)) || left[0].Reason != "no again" || left[0].Pipeline != pipeline {
			t.Errorf("%s: left are %+v, %v", place, left, err)
		}
		_ = source.Close()
	}
}
