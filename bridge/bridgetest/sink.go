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

func sinkWritesSideBySide(t *testing.T, s SinkTest) {
	sink := s.open(t)
	all := Numbered(400)
	var writers sync.WaitGroup
	for b := range slices.Chunk(all, 100) {
		writers.Go(func() {
			for part := range slices.Chunk(b, 10) {
				if n, err := sink.Write(t.Context(), part); n != len(part) || err != nil {
					t.Errorf("wrote %d of %d: %v", n, len(part), err)
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
	n, err := sink.Write(ctx, want)
	if n < 0 || n > len(want) || n < len(want) && err == nil {
		t.Fatalf("wrote %d of %d with error %v", n, len(want), err)
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
	if n, err := sink.Write(t.Context(), Numbered(1)); n != 0 || err == nil || bridge.IsPermanent(err) {
		t.Errorf("wrote %d with error %v to a closed sink, want 0 and an error that is not permanent", n, err)
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
	if n, err := sink.Write(ctx, b); n != len(b) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(b), err)
	}
}
