package store_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// Somebody deletes the stream of a buffer on an external server while the bridge runs. What is
// confirmed after that is delivered.
func TestStreamMadeAnew(t *testing.T) {
	server, js := startServer(t)
	s := store.New(store.Settings{NATS: external(t, server)}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() { shut(t, s) })
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
	for i := range 100 {
		e.write(t, numbered(i+1, i+1, 20)...)
	}
	e.read(t, 100, true)
	if err := js.DeleteStream(t.Context(), "xrtcbridge-buffer-"+pipeline); err != nil {
		t.Fatal(err)
	}
	bridgetest.Eventually(t, "the buffer takes messages again", func() bool {
		r, err := e.sink.Write(t.Context(), numbered(101, 101, 20))
		if r.Settled == 1 && err == nil {
			return true
		}
		e.close()
		e.sink = nil
		sink, err := e.buffer.OpenSink(t.Context(), e.env(t))
		if err != nil {
			return false
		}
		source, err := e.buffer.OpenSource(t.Context(), e.env(t))
		if err != nil {
			_ = sink.Close()
			return false
		}
		e.sink, e.source = sink, source
		return false
	})
	for i := 102; i <= 110; i++ {
		e.write(t, numbered(i, i, 20)...)
	}
	if d := cmp.Diff(payloads(numbered(101, 110, 20)), payloads(e.rest(t))); d != "" || e.dropped() != 0 || e.held() != 0 {
		t.Errorf("%d are said to be lost, %d held; %s", e.dropped(), e.held(), d)
	}
	e.close()
}

// The same, while messages of before are being delivered: that they are settled takes none of the
// new ones out.
func TestSettledAfterStreamWasMadeAnew(t *testing.T) {
	server, js := startServer(t)
	s := store.New(store.Settings{NATS: external(t, server)}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() { shut(t, s) })
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 32 << 20})
	for i := range 20 {
		e.write(t, numbered(i+1, i+1, 20)...)
	}
	var acks []bridge.Ack
	for got := 0; got < 20; {
		batch, ack, err := e.source.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got += len(batch)
		acks = append(acks, ack)
	}
	name := "xrtcbridge-buffer-" + pipeline
	stream, err := js.Stream(t.Context(), name)
	if err == nil {
		err = js.DeleteStream(t.Context(), name)
	}
	if err == nil {
		_, err = js.CreateStream(t.Context(), stream.CachedInfo().Config) // as it was before the 20
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := 21; i <= 30; {
		if r, _ := e.sink.Write(t.Context(), numbered(i, i, 20)); r.Settled == 1 {
			i++
			continue
		}
		_ = e.sink.Close()
		if e.sink, err = e.buffer.OpenSink(t.Context(), e.env(t)); err != nil {
			t.Fatal(err)
		}
	}
	for _, ack := range acks {
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, s) // which saves, and takes out what is settled
	e.close()
	e.sink = nil
	next := store.New(store.Settings{NATS: external(t, server)}, nil)
	t.Cleanup(func() { shut(t, next) })
	e.buffer = next.Buffer(pipeline, bridge.BufferSettings{MaxBytes: 32 << 20})
	e.reopen(t)
	if d := cmp.Diff(payloads(numbered(21, 30, 20)), payloads(e.rest(t))); d != "" {
		t.Error(d)
	}
	e.close()
}

// A damaged dead letter can be thrown away by its number.
func TestDamagedLetter(t *testing.T) {
	server, js := startServer(t)
	s := store.New(store.Settings{NATS: external(t, server)}, nil)
	t.Cleanup(func() { shut(t, s) })
	if _, err := s.DeadLetters("p").Open(t.Context(), bridgetest.Env(t, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "$XRTCBRIDGE.xrtcbridge.dead.p", []byte("{damaged")); err != nil {
		t.Fatal(err)
	}
	err := s.Letters(t.Context(), "p", func(store.Letter) bool { return true })
	if err == nil || !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "xrtcbridge dead purge p 1") {
		t.Error(err)
	}
	if n, err := s.Purge(t.Context(), "p", 1); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// one is a source of one message.
type one struct{ payload []byte }

func (o *one) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	return bridge.Batch{{Payload: o.payload}}, func(context.Context, error) error { return nil }, io.EOF
}

func (*one) Close() error { return nil }

type refusing struct{}

func (refusing) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b), Refused: bridge.Refusals{{Err: errors.New("never")}}}, nil
}
func (refusing) Close() error { return nil }

// A dead letter that the state cannot take stops its pipeline, says why, and harms no other one.
func TestLargeDeadLetters(t *testing.T) {
	for _, c := range []struct {
		name     string
		size     int // of a message of zero bytes
		buffered bool
		external bool
		dead     uint64
		err      string
	}{
		{name: "2 MiB", size: 2 << 20, dead: 1},
		{name: "too large for the buffer", size: 3 << 20, buffered: true, dead: 1},
		{name: "too large for the state", size: 20 << 20, err: "the dead letter has"},
		{name: "too large for the state elsewhere", size: 9 << 20, external: true, err: "the dead letter has"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := store.Settings{Dir: t.TempDir()}
			if c.external {
				server, _ := startServer(t)
				settings = store.Settings{NATS: external(t, server)}
			}
			state := store.New(settings, slog.New(slog.NewTextHandler(t.Output(), nil)))
			t.Cleanup(func() { shut(t, state) })
			p := &engine.Pipeline{
				Name: "p", State: state, OnError: bridge.OnError{Then: bridge.FateDeadLetter}, DrainTimeout: time.Second,
				From: []bridge.Endpoint[bridge.Source]{{
					Type: "one",
					Open: func(context.Context, bridge.Env) (bridge.Source, error) {
						return &one{make([]byte, c.size)}, nil
					},
				}},
				To: engine.To(bridge.Endpoint[bridge.Sink]{
					Type: "no",
					Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return refusing{}, nil },
				}),
			}
			if c.buffered {
				p.Buffer = &bridge.BufferSettings{MaxBytes: 4 << 20}
			}
			other := state.Checkpoint("other", "from")
			if err := other.Save(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			err := p.Run(t.Context(), bridgetest.Env(t, ""), nil)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if got := p.Ledger(); got.DeadLettered != c.dead || !got.Balanced() {
				t.Errorf("the ledger is %+v", got)
			}
			if err := other.Save(t.Context(), []byte("y")); err != nil {
				t.Error(err)
			}
			n := uint64(0)
			err = state.Letters(t.Context(), "p", func(l store.Letter) bool {
				n++
				if len(l.Payload) != c.size {
					t.Errorf("the letter has %d bytes", len(l.Payload))
				}
				return true
			})
			if err != nil || n != c.dead {
				t.Errorf("%d letters, %v", n, err)
			}
		})
	}
}
