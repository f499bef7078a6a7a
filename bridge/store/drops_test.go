package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

var dropOldest = bridge.BufferSettings{MaxBytes: 4 << 20, WhenFull: bridge.OverflowDropOldest}

// TestDropsAreCountedAtOnce fills a buffer that nobody reads, in one life of the process after the
// other: what is dropped is counted while nobody reads, and once over all of them; what is in the
// buffer at the end of one, the next one has carried.
func TestDropsAreCountedAtOnce(t *testing.T) {
	t.Parallel()
	const lives, each, size = 3, 120, 100_000
	dir := t.TempDir()
	var lost, held uint64
	for life := range lives {
		s := open(t, dir)
		b := s.Buffer(pipeline, dropOldest)
		sink, err := b.OpenSink(t.Context(), bridgetest.Env(t, pipeline+"-from"))
		if err != nil {
			t.Fatal(err)
		}
		if h := b.Held(); h.Before != held || h.Now+h.Lost != held {
			t.Errorf("life %d begins with %+v, the one before ended with %d", life, h, held)
		}
		before := held
		e := &ends{buffer: b, sink: sink}
		for i := range each {
			e.write(t, numbered(life*each+i+1, life*each+i+1, size)...)
			if h := b.Held(); h.Before+uint64(i)+1 != h.Now+h.Lost {
				t.Errorf("life %d, message %d: %+v", life, i, h)
			}
		}
		// What fits into 4 MiB is less than 42 of these.
		bridgetest.Eventually(t, "what was dropped is counted", func() bool { return b.Held().Now <= 42 })
		h := b.Held()
		if h.Lost < before+each-42 || h.Oldest.IsZero() {
			t.Errorf("life %d: %+v", life, h)
		}
		lost, held = lost+h.Lost, h.Now
		_ = sink.Close()
		shut(t, s)
	}
	e := openEnds(t, open(t, dir), dropOldest)
	got := e.rest(t)
	if h := e.buffer.Held(); h.Now != 0 || h.Before != held || lost+h.Lost+uint64(len(got)) != lives*each {
		t.Errorf("%d were lost before, %d come now: %+v", lost, len(got), h)
	}
}

// TestDropsOfWhatIsRead counts what is dropped behind messages that somebody has read: these are
// delivered, or lost if they are given back.
func TestDropsOfWhatIsRead(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		t.Run(fmt.Sprint("delivered ", delivered), func(t *testing.T) {
			const total, size = 200, 100_000
			e := openEnds(t, open(t, t.TempDir()), dropOldest)
			e.write(t, numbered(1, 1, size)...)
			batch, ack, err := e.source.Read(t.Context())
			if err != nil || len(batch) != 1 {
				t.Fatal(len(batch), err)
			}
			for i := 2; i <= total; i++ {
				e.write(t, numbered(i, i, size)...)
			}
			bridgetest.Eventually(t, "what was dropped is counted", func() bool { return e.dropped() >= total-42 })
			delivered := delivered
			n := 0
			if delivered {
				if err := ack(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				n = 1
			} else {
				e.reopen(t)
			}
			n += len(e.rest(t))
			if h := e.buffer.Held(); int(h.Lost)+n != total || h.Now != 0 {
				t.Errorf("%d came: %+v", n, h)
			}
		})
	}
}

// TestOldest is the time at which the oldest message was stored that is owed, be it read or not.
func TestOldest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	e := openEnds(t, s, bridge.BufferSettings{})
	if h := e.buffer.Held(); !h.Oldest.IsZero() {
		t.Errorf("%+v", h)
	}
	began := time.Now()
	e.write(t, numbered(1, 1, 10)...)
	first := e.buffer.Held().Oldest
	e.write(t, numbered(2, 2, 10)...)
	within := func(what string, got, from, to time.Time) {
		t.Helper()
		if got.Before(from.Add(-time.Millisecond)) || got.After(to.Add(time.Millisecond)) {
			t.Errorf("%s: %v is not from %v to %v", what, got, from, to)
		}
	}
	within("nothing is read", first, began, time.Now())
	if got := e.buffer.Held().Oldest; !got.Equal(first) {
		t.Errorf("%v, want %v", got, first)
	}
	var acks []bridge.Ack
	for n := 0; n < 2; {
		b, ack, err := e.source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += len(b)
		acks = append(acks, ack)
	}
	within("all is read", e.buffer.Held().Oldest, began, first)
	for _, ack := range acks {
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if h := e.buffer.Held(); !h.Oldest.IsZero() || h.Now != 0 {
		t.Errorf("all is settled: %+v", h)
	}
	third := time.Now()
	e.write(t, numbered(3, 3, 10)...)
	within("another one", e.buffer.Held().Oldest, third, time.Now())
	stored := time.Now()
	e.close()
	shut(t, s)
	e = openEnds(t, open(t, dir), bridge.BufferSettings{})
	within("after a restart", e.buffer.Held().Oldest, began, stored)
	e.read(t, 1, false)
	within("after a restart, read", e.buffer.Held().Oldest, third, stored)
}
