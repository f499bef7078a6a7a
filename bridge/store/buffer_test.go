package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func TestBufferIsASource(t *testing.T) {
	bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
		b := open(t, t.TempDir()).Buffer(pipeline, bridge.BufferSettings{})
		sink, err := b.OpenSink(t.Context(), bridgetest.Env(t, "to"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sink.Close() })
		sent := 0
		return bridgetest.SourceTest{
			Open: b.OpenSource,
			Send: func(t *testing.T, messages ...bridge.Message) {
				for i := range messages {
					sent++
					messages[i].ID = fmt.Sprint("id-", sent) // as the engine does
				}
				if r, err := sink.Write(t.Context(), messages); r.Settled != len(messages) || err != nil {
					t.Fatalf("wrote %d of %d messages: %v", r.Settled, len(messages), err)
				}
			},
			Finish:   func(*testing.T) { b.Finish(true) },
			Features: bridgetest.Features{Redelivers: true, Headers: true, Topics: true, Binary: true, IDs: true},
		}
	})
}

// TestBufferOutlivesTheProcess, with what a message is made of, its id too.
func TestBufferOutlivesTheProcess(t *testing.T) {
	for _, durability := range []string{"power", "process"} {
		t.Run(durability, func(t *testing.T) {
			dir := t.TempDir()
			set := func(s *store.Settings) { s.Durability = durability }
			first := open(t, dir, set)
			e := openEnds(t, first, bridge.BufferSettings{})
			want := numbered(1, 1000, 20)
			want[3].ID = "of the source"
			e.write(t, want...)
			e.read(t, 256, true)
			unread := e.read(t, 256, false)
			shut(t, first)

			e = openEnds(t, open(t, dir, set), bridge.BufferSettings{})
			if h := e.buffer.Held(); h.Before != 744 || h.Now != 744 {
				t.Errorf("holds %+v, want 744", h)
			}
			got := e.rest(t)
			if d := cmp.Diff(unread, got[:256]); d != "" {
				t.Errorf("what was read and not acknowledged came otherwise (-before +after):\n%s", d)
			}
			if d := cmp.Diff(payloads(want[256:]), payloads(got)); d != "" {
				t.Error(d)
			}
			for i, m := range got {
				if m.ID != want[256+i].ID {
					t.Errorf("message %d has the id %q, want %q", i, m.ID, want[256+i].ID)
				}
			}
			if e.held() != 0 {
				t.Errorf("holds %d at the end", e.held())
			}
		})
	}
}

func TestBufferSplitsLargeBatches(t *testing.T) {
	e := openEnds(t, open(t, t.TempDir()), bridge.BufferSettings{MaxBytes: 64 << 20})
	want := numbered(1, 100, 100_000)
	e.write(t, want...)
	if d := cmp.Diff(payloads(want), payloads(e.rest(t))); d != "" {
		t.Error(d)
	}
	huge := bridge.Message{Payload: make([]byte, 9<<20)}
	r, err := e.sink.Write(t.Context(), bridge.Batch{want[0], huge, want[1], huge})
	if r.Settled != 4 || len(r.Refused) != 2 || r.Refused[0].Index != 1 || r.Refused[1].Index != 3 || err != nil {
		t.Errorf("wrote %d, %v, %v, want that the two large ones are refused", r.Settled, r.Refused, err)
	}
	e.reopen(t)
	if d := cmp.Diff(payloads(want[:2]), payloads(e.rest(t))); d != "" {
		t.Errorf("beside what is refused: %s", d)
	}
}

// TestBufferIsUsedAgain by a pipeline that is started again after its input had ended.
func TestBufferIsUsedAgain(t *testing.T) {
	e := openEnds(t, open(t, t.TempDir()), bridge.BufferSettings{})
	for i := range 3 {
		want := numbered(10*i+1, 10*i+10, 20)
		e.write(t, want...)
		if d := cmp.Diff(payloads(want), payloads(e.rest(t))); d != "" {
			t.Errorf("time %d: %s", i, d)
		}
		e.reopen(t)
	}
}

// A pipeline that takes the place of another one, as at a reload, goes on where that was, and what
// that knew at its end is not what is saved at last. One that was never run changes nothing.
func TestF26BufferOfTheNextPipeline(t *testing.T) {
	const left = 3 // that a pipeline leaves
	dir, n := t.TempDir(), 0
	s := open(t, dir)
	begins := func(s *store.Store) *ends {
		t.Helper()
		s.Buffer(pipeline, bridge.BufferSettings{}) // of one that is never run
		e := openEnds(t, s, bridge.BufferSettings{})
		if e.held() != uint64(min(n, left)) || e.dropped() != 0 {
			t.Errorf("it begins with %d messages, and %d are lost, behind %d", e.held(), e.dropped(), n)
		}
		return e
	}
	for range 5 {
		e := begins(s)
		e.write(t, numbered(n+1, n+7, 50)...)
		want := payloads(numbered(max(1, n-left+1), n+7, 50))
		if diff := cmp.Diff(want, payloads(e.read(t, len(want), true))); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		e.write(t, numbered(n+8, n+7+left, 50)...)
		n += 7 + left
		e.close()
	}
	s.Buffer(pipeline, bridge.BufferSettings{})
	shut(t, s)
	e := begins(open(t, dir))
	want := payloads(numbered(n-left+1, n, 50))
	if diff := cmp.Diff(want, payloads(e.rest(t))); diff != "" || e.dropped() != 0 {
		t.Errorf("%d are lost (-want +got):\n%s", e.dropped(), diff)
	}
}

// TestF12BufferFullBlocks: nothing is lost, and the sink of the buffer waits.
func TestF12BufferFullBlocks(t *testing.T) {
	e := openEnds(t, open(t, t.TempDir()), bridge.BufferSettings{MaxBytes: 4 << 20})
	const total = 200
	written := make(chan error, 1)
	go func() {
		for _, m := range numbered(1, total, 100_000) {
			if r, err := e.sink.Write(t.Context(), bridge.Batch{m}); err != nil || r.Settled != 1 {
				written <- err
				return
			}
		}
		written <- nil
	}()
	bridgetest.Eventually(t, "the buffer is full", func() bool { return e.held() >= 30 })
	if n := e.held(); n > 45 {
		t.Errorf("4 MiB hold %d messages of 100 kB", n)
	}
	select {
	case err := <-written:
		t.Fatalf("wrote more than fits: %v", err)
	default:
	}
	got := e.read(t, total, true)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(payloads(numbered(1, total, 100_000)), payloads(got)); d != "" {
		t.Error("messages differ")
	}
}

func TestF12BufferFullRejects(t *testing.T) {
	e := openEnds(t, open(t, t.TempDir()), bridge.BufferSettings{MaxBytes: 4 << 20, WhenFull: bridge.OverflowReject})
	var want []string
	all := numbered(1, 200, 100_000)
	all[150].Payload = []byte("small enough for what is left")
	for i, most := 0, 1; i < len(all); most = most%7 + 1 {
		batch := all[i:min(i+most, len(all))]
		r, err := e.sink.Write(t.Context(), batch)
		if r.Settled != len(batch) || err != nil {
			t.Fatalf("Write = %d of %d, %v", r.Settled, len(batch), err)
		}
		for _, m := range r.Refused {
			if !strings.Contains(m.Err.Error(), "full") {
				t.Fatal(m.Err)
			}
		}
		for k, m := range batch {
			if !slices.ContainsFunc(r.Refused, func(r bridge.Refusal) bool { return r.Index == k }) {
				want = append(want, string(m.Payload))
			}
		}
		i += len(batch)
	}
	if len(want) < 30 || len(want) > 45 || want[len(want)-1] != string(all[150].Payload) {
		t.Errorf("%d messages were taken", len(want))
	}
	if d := cmp.Diff(want, payloads(e.rest(t))); d != "" {
		t.Error("what came is not what was taken")
	}
}

// TestF12BufferFullDropsOldest, and every dropped message is counted.
func TestF12BufferFullDropsOldest(t *testing.T) {
	e := openEnds(t, open(t, t.TempDir()), bridge.BufferSettings{MaxBytes: 4 << 20, WhenFull: bridge.OverflowDropOldest})
	const total = 300
	e.write(t, numbered(1, 10, 100_000)...)
	e.read(t, 10, true)
	e.write(t, numbered(11, total, 100_000)...)
	got := e.rest(t)
	if n := e.dropped(); n != total-10-len(got) || len(got) < 30 {
		t.Errorf("%d of %d messages came, and %d were counted as dropped", len(got), total-10, n)
	}
	want := payloads(numbered(total+1-len(got), total, 100_000))
	if d := cmp.Diff(want, payloads(got)); d != "" {
		t.Error("it did not keep the newest ones")
	}
	if e.held() != 0 {
		t.Errorf("holds %d at the end", e.held())
	}
}

func TestE8StateInUse(t *testing.T) {
	dir := t.TempDir()
	openEnds(t, open(t, dir), bridge.BufferSettings{})
	_, err := open(t, dir).Buffer(pipeline, bridge.BufferSettings{}).OpenSink(t.Context(), bridgetest.Env(t, "to"))
	if err == nil || !strings.Contains(err.Error(), "is used by process") ||
		!strings.HasSuffix(err.Error(), "as in state: {dir: data/other}") || !bridge.IsPermanent(err) {
		t.Errorf("second process got %v", err)
	}
}

// A bridge that starts while a command looks into its state waits, and does not give up.
func TestStateIsVisited(t *testing.T) {
	dir := t.TempDir()
	before := open(t, dir)
	openEnds(t, before, bridge.BufferSettings{})
	shut(t, before)
	look := store.Look(store.Settings{Dir: dir}, nil, nil)
	if _, err := look.Entries(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	_, err := s.Buffer(pipeline, bridge.BufferSettings{}).OpenSink(t.Context(), bridgetest.Env(t, "to"))
	if err == nil || !strings.Contains(err.Error(), "is looking into") || bridge.IsPermanent(err) {
		t.Errorf("beside a visitor: %v", err)
	}
	shut(t, look)
	openEnds(t, s, bridge.BufferSettings{})
}

func TestNoRoomForTheBuffer(t *testing.T) {
	small := func(s *store.Settings) { s.MaxSize = 16 << 20 }
	_, err := open(t, t.TempDir(), small).Buffer(pipeline,
		bridge.BufferSettings{MaxBytes: 32 << 20}).OpenSink(t.Context(), bridgetest.Env(t, "to"))
	if err == nil || !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "max_size") {
		t.Error(err)
	}
	openEnds(t, open(t, t.TempDir(), small), bridge.BufferSettings{}) // takes less if nobody said how much
}

// TestNothingStartsUnused: a state that nobody uses makes no folder.
func TestNothingStartsUnused(t *testing.T) {
	dir := t.TempDir() + "/state"
	s := open(t, dir)
	s.Buffer(pipeline, bridge.BufferSettings{})
	s.Checkpoint(pipeline, "from")
	shut(t, s)
	if _, err := s.Checkpoint(pipeline, "from").Load(t.Context()); err == nil {
		t.Error("a closed state can be used")
	}
	if exists(dir) {
		t.Error("there is a folder")
	}
}

func TestWriteHeedsItsContext(t *testing.T) {
	e := openEnds(t, open(t, t.TempDir()), bridge.BufferSettings{MaxBytes: 4 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		bridgetest.Eventually(t, "the buffer is full", func() bool { return e.held() >= 30 })
		cancel()
	}()
	if _, err := e.sink.Write(ctx, numbered(1, 100, 100_000)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := e.rest(t); len(got) < 30 {
		t.Errorf("%d messages", len(got))
	}
}

// F25: the times of messages jump by an hour and by ten years, and step back a second each: the
// buffer keeps them and their order.
func TestF25TimesOfMessagesJump(t *testing.T) {
	s := open(t, t.TempDir())
	e := openEnds(t, s, bridge.BufferSettings{})
	now := time.Now()
	year := 365 * 24 * time.Hour
	var want []bridge.Message
	for i, at := range []time.Time{
		now, now.Add(time.Hour), now.Add(-time.Hour), now.Add(10 * year),
		now.Add(-10 * year), now.Add(-60 * year),
		{},
	} {
		for back := range 50 {
			m := bridge.Message{Topic: "t", Payload: fmt.Appendf(nil, "%d %d", i, back)}
			if !at.IsZero() {
				m.Time = at.Add(-time.Duration(back) * time.Second).Round(0)
			}
			want = append(want, m)
		}
	}
	for i := 0; i < len(want); i += 50 {
		e.write(t, want[i:i+50]...)
	}
	for i, got := range e.read(t, len(want), true) {
		if string(got.Payload) != string(want[i].Payload) || !got.Time.Equal(want[i].Time) ||
			got.Time.IsZero() != want[i].Time.IsZero() {
			t.Fatalf("message %d is %s of %s, want %s of %s", i, got.Payload, got.Time, want[i].Payload, want[i].Time)
		}
	}
}
