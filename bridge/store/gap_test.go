package store_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// The front of a batch is settled exactly, though a record is missing in the middle of it.
func TestFrontOfABatchWithAGap(t *testing.T) {
	server, js := startServer(t)
	s := store.New(store.Settings{NATS: external(t, server)}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { shut(t, s) })
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
	for i := 0; i < 40; i += 10 {
		e.write(t, numbered(i+1, i+10, 20)...)
	}
	stream, err := js.Stream(t.Context(), "xrtcbridge-buffer-"+pipeline)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), info.State.FirstSeq+1); err != nil {
		t.Fatal(err)
	}
	batch, ack, err := e.source.Read(t.Context())
	if err != nil || len(batch) != 30 {
		t.Fatal(len(batch), err)
	}
	if err := ack(t.Context(), bridge.GiveBack(15, errors.New("stop"))); err != nil {
		t.Fatal(err)
	}
	e.reopen(t)
	if rest := e.rest(t); len(rest) != 15 {
		t.Errorf("%d messages come again, want 15", len(rest))
	}
	e.close()
}
