package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func openWriter(t *testing.T) (*buffer, *writer) {
	t.Helper()
	s := New(Settings{Dir: t.TempDir()}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b := s.Buffer("p", bridge.BufferSettings{MaxBytes: 16 << 20}).(*buffer)
	return b, reopenWriter(t, b)
}

func reopenWriter(t *testing.T, b *buffer) *writer {
	t.Helper()
	sink, err := b.OpenSink(t.Context(), bridge.Env{NeedID: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	return sink.(*writer)
}

// send stores the record of a batch as an earlier try did whose answer never came.
func (w *writer) send(t *testing.T, text []byte) {
	t.Helper()
	if _, err := w.session.js.PublishMsg(t.Context(),
		&nats.Msg{Subject: w.store.names.bufferSubject("p"), Data: text}); err != nil {
		t.Fatal(err)
	}
}

func someBatch() bridge.Batch {
	h := map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}
	return bridge.Batch{
		{ID: "a", Payload: []byte("1"), Header: h},
		{ID: "b", Payload: []byte("2"), Header: h},
		{ID: "c", Payload: []byte("3"), Header: h},
	}
}

// The server says that it could not store a record that it has stored.
func TestStoredThoughItFailed(t *testing.T) {
	b, w := openWriter(t)
	batch := someBatch()
	text := appendRecord(nil, 1, batch)
	b.pending = &pending{last: 3, ids: []string{"a", "b", "c"}, sum: recordSum(text)}
	w.send(t, text)
	w.unclear(t.Context(), &jetstream.APIError{Code: 503, ErrorCode: codeStoreFailed, Description: "input/output error"})
	_ = w.Close()
	w = reopenWriter(t, b)
	if r, err := w.Write(t.Context(), batch); r.Settled != 3 || err != nil {
		t.Fatal(r, err)
	}
	if now := b.Held().Now; now != 3 {
		t.Errorf("holds %d, want 3", now)
	}
}

// An earlier try arrives after the buffer was opened anew: the next one finds it, and is the same
// to the byte.
func TestLateRecordIsKnown(t *testing.T) {
	b, w := openWriter(t)
	batch := someBatch()
	text := appendRecord(nil, 1, batch)
	b.pending = &pending{last: 3, ids: []string{"a", "b", "c"}, sum: recordSum(text)}
	w.session.end()
	_ = w.Close()
	w = reopenWriter(t, b)
	w.send(t, text)
	if r, err := w.Write(t.Context(), batch); r.Settled != 0 || err == nil || bridge.IsPermanent(err) {
		t.Fatal(r, err)
	}
	_ = w.Close()
	w = reopenWriter(t, b)
	if r, err := w.Write(t.Context(), batch); r.Settled != 3 || err != nil {
		t.Fatal(r, err)
	}
	if now := b.Held().Now; now != 3 {
		t.Errorf("holds %d, want 3", now)
	}
	for range 20 {
		if !bytes.Equal(text, appendRecord(nil, 1, batch)) {
			t.Fatal("a record differs from the same one")
		}
	}
}

// The rest of a record that is stored is stored, too.
func TestRestOfAStoredRecord(t *testing.T) {
	b, w := openWriter(t)
	batch := someBatch()
	text := appendRecord(nil, 1, batch)
	b.pending = &pending{last: 3, ids: []string{"a", "b", "c"}, sum: recordSum(text)}
	w.send(t, text)
	w.session.end()
	_ = w.Close()
	w = reopenWriter(t, b)
	if r, err := w.Write(t.Context(), batch[1:]); r.Settled != 2 || err != nil {
		t.Fatal(r, err)
	}
	if now := b.Held().Now; now != 3 {
		t.Errorf("holds %d, want 3", now)
	}
}

// What comes after a record that is stored is not taken for it, though the memory is the same: a
// source that was opened again has other batches.
func TestE6OtherMessagesAreNotKnown(t *testing.T) {
	b, w := openWriter(t)
	batch := someBatch()
	text := appendRecord(nil, 1, batch)
	b.pending = &pending{last: 3, ids: []string{"a", "b", "c"}, sum: recordSum(text)}
	w.send(t, text)
	w.session.end()
	_ = w.Close()
	w = reopenWriter(t, b)
	batch = append(batch[2:], bridge.Message{ID: "d", Payload: []byte("4")}, bridge.Message{ID: "e", Payload: []byte("5")})
	if r, err := w.Write(t.Context(), batch); r.Settled != 3 || err != nil {
		t.Fatal(r, err)
	}
	if now := b.Held().Now; now != 5 {
		t.Errorf("holds %d, want 5", now)
	}
}

// What the source has settled may be newer than what the sink has been told of.
func TestHeldIsNeverNegative(t *testing.T) {
	b, w := openWriter(t)
	b.mu.Lock()
	b.settled = mark{Number: 3, Seq: 1}
	b.mu.Unlock()
	if now := b.Held().Now; now != 0 {
		t.Errorf("holds %d", now)
	}
	if err := b.keeper.keep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	p, err := w.session.position(t.Context(), b.store.names.positionSubject("p"))
	if err != nil || p.Last.Number != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}

// A stop is no server that is late.
func TestStopIsNoLateAnswer(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	n := &session{where: "here"}
	for _, c := range []struct {
		stopped bool
		err     error
		want    string
	}{
		{true, context.Canceled, "save: here: context canceled"},
		{true, nats.ErrTimeout, "save: here: context canceled"},
		{false, context.Canceled, "save: here: no answer in time"}, // by the patience of the session
		{false, context.DeadlineExceeded, "save: here: no answer in time"},
		{false, nats.ErrTimeout, "save: here: no answer in time"},
		{false, nats.ErrConnectionClosed, "save: here: nats: connection closed"},
	} {
		ctx := t.Context()
		if c.stopped {
			ctx = stopped
		}
		if got := n.failed(ctx, "save", c.err); got.Error() != c.want {
			t.Errorf("%v: got %v, want %s", c.err, got, c.want)
		}
	}
	s := New(Settings{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = s.Close() })
	b := s.Buffer("p", bridge.BufferSettings{MaxBytes: 16 << 20})
	for range 2 { // the state is open the second time
		for what, err := range map[string]error{
			"a checkpoint": func() error { _, err := s.Checkpoint("p", "p-from").Load(stopped); return err }(),
			"a buffer":     func() error { _, err := b.OpenSink(stopped, bridge.Env{NeedID: func() {}}); return err }(),
			"dead letters": func() error { _, err := s.DeadLetters("p").Open(stopped, bridge.Env{}); return err }(),
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v, want a canceled context", what, err)
			}
		}
		if _, err := s.Checkpoint("p", "p-from").Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
