package bridgetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var sinkCases = []struct {
	name string
	run  func(t *testing.T, s SinkTest)
}{
	{"DeliversInOrder", sinkDeliversInOrder},
	{"LoneMessageIsNotHeldBack", sinkLoneMessageIsNotHeldBack},
	{"PayloadsSurvive", sinkPayloadsSurvive},
	{"HeadersSurvive", sinkHeadersSurvive},
	{"EmptyBatch", sinkEmptyBatch},
	{"KeepsNothingAfterWrite", sinkKeepsNothingAfterWrite},
	{"LeavesTheBatchAlone", sinkLeavesTheBatchAlone},
	{"RefusesAlone", sinkRefusesAlone},
	{"RefusesAll", sinkRefusesAll},
	{"WritesSideBySide", sinkWritesSideBySide},
	{"CanceledWrite", sinkCanceledWrite},
	{"CloseTwice", sinkCloseTwice},
	{"WriteAfterClose", sinkWriteAfterClose},
	{"Reopens", sinkReopens},
}

func sinkDeliversInOrder(t *testing.T, s SinkTest) {
	sink := s.open(t)
	want := Numbered(1000)
	for b := range slices.Chunk(want, 137) {
		write(t, sink, b)
	}
	s.compare(t, want, s.Receive(t, len(want)))
}

func sinkLoneMessageIsNotHeldBack(t *testing.T, s SinkTest) {
	sink := s.open(t)
	want := Numbered(3)
	for i := range want {
		write(t, sink, want[i:i+1])
		s.compare(t, want[:i+1], s.Receive(t, i+1))
	}
}

func sinkPayloadsSurvive(t *testing.T, s SinkTest) {
	sink := s.open(t)
	want := payloads(s.Features)
	write(t, sink, want)
	s.compare(t, want, s.Receive(t, len(want)))
}

func sinkHeadersSurvive(t *testing.T, s SinkTest) {
	if !s.Headers {
		t.Skip("this technology has no headers")
	}
	sink := s.open(t)
	want := Numbered(2)
	want[0].Header = map[string]string{"Unit": "celsius", "empty": "", "text": "ä ö: ü"}
	write(t, sink, want)
	got := s.Receive(t, 2)
	for k, v := range want[0].Header {
		if g, ok := got[0].Header[k]; !ok || g != v {
			t.Errorf("header %q: got %q (there: %t), want %q", k, g, ok, v)
		}
	}
}

func sinkEmptyBatch(t *testing.T, s SinkTest) {
	sink := s.open(t)
	write(t, sink, nil)
	want := Numbered(1)
	write(t, sink, want)
	s.compare(t, want, s.Receive(t, 1))
}

func sinkKeepsNothingAfterWrite(t *testing.T, s SinkTest) {
	sink := s.open(t)
	want := Numbered(100)
	batch := clone(want)
	write(t, sink, batch)
	for i := range batch {
		for k := range batch[i].Payload {
			batch[i].Payload[k] = '!'
		}
		batch[i] = bridge.Message{Topic: "reused"}
	}
	s.compare(t, want, s.Receive(t, len(want)))
}

func sinkLeavesTheBatchAlone(t *testing.T, s SinkTest) {
	sink := s.open(t)
	want := Numbered(10)
	batch := clone(want)
	write(t, sink, batch)
	s.compare(t, want, batch)
	s.Receive(t, len(want))
}

// sinkRefusesAlone has refused messages at the front, in the middle side by side, and at the end.
func sinkRefusesAlone(t *testing.T, s SinkTest) {
	if s.Refused == nil {
		t.Skip("this technology takes any message")
	}
	sink := s.open(t)
	want, refused := Numbered(20), []int{0, 4, 5, 12, 14}
	for half := range slices.Chunk(want, 10) { // the second one shows that the instance is as good as new
		batch := slices.Clone(half)
		for _, i := range refused {
			batch = slices.Insert(batch, i, s.Refused())
		}
		s.refuses(t, sink, batch, refused)
	}
	s.compare(t, want, s.Receive(t, len(want)))
}

func sinkRefusesAll(t *testing.T, s SinkTest) {
	if s.Refused == nil {
		t.Skip("this technology takes any message")
	}
	sink := s.open(t)
	s.refuses(t, sink, []bridge.Message{s.Refused()}, []int{0})
	s.refuses(t, sink, []bridge.Message{s.Refused(), s.Refused(), s.Refused()}, []int{0, 1, 2})
	want := Numbered(1)
	write(t, sink, want)
	s.compare(t, want, s.Receive(t, 1))
}

// refuses writes the batch and fails the test unless just the messages at these indices are
// refused.
func (s SinkTest) refuses(t *testing.T, sink bridge.Sink, b bridge.Batch, indices []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	r, err := sink.Write(ctx, b)
	var got []int
	for _, refusal := range r.Refused {
		if refusal.Err == nil {
			t.Errorf("message %d is refused without a reason", refusal.Index)
		}
		got = append(got, refusal.Index)
	}
	if err != nil || r.Settled != len(b) || len(r.Omitted) > 0 || !slices.Equal(got, indices) {
		t.Fatalf("wrote %d messages: %+v, %v, want these refused: %v", len(b), r, err, indices)
	}
}

func sinkWritesSideBySide(t *testing.T, s SinkTest) {
	sink := s.open(t)
	all := Numbered(400)
	var writers sync.WaitGroup
	for b := range slices.Chunk(all, 100) {
		writers.Go(func() {
			for part := range slices.Chunk(b, 10) {
				if r, err := sink.Write(t.Context(), part); !delivered(r, len(part)) || err != nil {
					t.Errorf("wrote %d messages: %+v, %v", len(part), r, err)
				}
			}
		})
	}
	writers.Wait()
	got := s.Receive(t, len(all))
	byPayload := func(a, b bridge.Message) int { return slices.Compare(a.Payload, b.Payload) }
	slices.SortFunc(got, byPayload)
	slices.SortFunc(all, byPayload)
	s.compare(t, all, got)
}

func sinkCanceledWrite(t *testing.T, s SinkTest) {
	sink := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want := Numbered(5)
	r, err := sink.Write(ctx, want)
	n := r.Settled
	if n < 0 || n > len(want) || n < len(want) && err == nil || !delivered(r, n) {
		t.Fatalf("wrote %d messages: %+v, %v", len(want), r, err)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if n > 0 {
		s.compare(t, want[:n], s.Receive(t, n)[:n])
	}
}

func sinkCloseTwice(t *testing.T, s SinkTest) {
	sink := s.open(t)
	for i := range 2 {
		if err := sink.Close(); err != nil {
			t.Errorf("Close number %d: %v", i+1, err)
		}
	}
}

func sinkWriteAfterClose(t *testing.T, s SinkTest) {
	sink := s.open(t)
	if err := sink.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	// The engine may close an instance while it is written to, and goes on with the next one.
	if r, err := sink.Write(t.Context(), Numbered(1)); !delivered(r, 0) || err == nil || bridge.IsPermanent(err) {
		t.Errorf("wrote to a closed sink: %+v, %v, want nothing and an error that is not permanent", r, err)
	}
}

func sinkReopens(t *testing.T, s SinkTest) {
	want := Numbered(20)
	for i := range 2 {
		sink := s.open(t)
		write(t, sink, want[i*10:i*10+10])
		if err := sink.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	s.compare(t, want, s.Receive(t, len(want)))
}

func (s SinkTest) open(t *testing.T) bridge.Sink {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	sink, err := s.Open(ctx, Env(t, "conformance-to"))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := sink.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return sink
}

// write writes the batch and fails the test unless all of it was delivered.
func write(t *testing.T, sink bridge.Sink, b bridge.Batch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	if r, err := sink.Write(ctx, b); !delivered(r, len(b)) || err != nil {
		t.Fatalf("wrote %d messages: %+v, %v", len(b), r, err)
	}
}

// delivered reports whether r says that n messages were delivered, and nothing of others.
func delivered(r bridge.Result, n int) bool {
	return r.Settled == n && len(r.Refused) == 0 && len(r.Omitted) == 0
}
