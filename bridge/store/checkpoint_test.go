package store_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func TestCheckpointOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		s := open(t, dir)
		c := s.Checkpoint(pipeline, "sensors-from")
		got, err := c.Load(t.Context())
		want := []byte(fmt.Sprint("place ", i))
		if i == 0 {
			want = nil
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("loaded %q, %v, want %q", got, err, want)
		}
		for _, text := range []string{"somewhere", fmt.Sprint("place ", i+1)} {
			if err := c.Save(t.Context(), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if other, err := s.Checkpoint(pipeline, "sensors-from-2").Load(t.Context()); other != nil || err != nil {
			t.Errorf("another source has %q, %v", other, err)
		}
		shut(t, s)
	}
}

// TestF16BadCheckpoint damages generations in every way.
func TestF16BadCheckpoint(t *testing.T) {
	server, js := startServer(t)
	external := func(s *store.Settings) { *s = store.Settings{NATS: external(t, server)} }
	const subject = "$XRTCBRIDGE.xrtcbridge.state.checkpoint.sensors.from"
	c := open(t, "", external).Checkpoint(pipeline, "from")
	if err := c.Save(t.Context(), []byte("older")); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(t.Context(), []byte("newer")); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "xrtcbridge-state")
	if err != nil {
		t.Fatal(err)
	}
	newest, err := stream.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	older, err := stream.GetMsg(t.Context(), 1, jetstream.WithGetMsgSubject(subject))
	if err != nil {
		t.Fatal(err)
	}
	whole := newest.Data
	var bad [][]byte
	for n := range whole {
		bad = append(bad, whole[:n])
	}
	for bit := range 8 * len(whole) {
		flipped := bytes.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		bad = append(bad, flipped)
	}
	bad = append(bad, append(bytes.Clone(whole), 0), []byte("{}"))
	for i, data := range bad {
		for _, generation := range [][]byte{older.Data, data} {
			if _, err := js.Publish(t.Context(), subject, generation); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.Load(t.Context()); string(got) != "older" || err != nil {
			t.Fatalf("%d: %q: loaded %q, %v", i, data, got, err)
		}
	}
	// With both generations damaged nobody guesses.
	for range 2 {
		if _, err := js.Publish(t.Context(), subject, bad[3]); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.Load(t.Context())
	if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "xrtcbridge state reset sensors") {
		t.Errorf("both damaged: %v", err)
	}
	if err := c.Save(t.Context(), []byte("anew")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Load(t.Context()); string(got) != "anew" || err != nil {
		t.Errorf("loaded %q, %v", got, err)
	}
}

// startServer starts a server that stands for an external one.
func startServer(t testing.TB) (*embedded.Server, jetstream.JetStream) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Settings{NATS: &embedded.NATS{
		Listen: "127.0.0.1:0",
		Open:   true, Store: t.TempDir(),
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	nc, err := nats.Connect(server.NATSURL(), nats.Timeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	return server, js
}

func external(t testing.TB, server *embedded.Server) *store.NATS {
	t.Helper()
	u, err := bridge.ParseURL(server.NATSURL())
	if err != nil {
		t.Fatal(err)
	}
	return &store.NATS{Settings: natsclient.Settings{URL: []bridge.URL{u}}}
}

// TestExternalState does what the folder does, on a server that others use, too.
func TestExternalState(t *testing.T) {
	server, _ := startServer(t)
	set := func(s *store.Settings) { *s = store.Settings{NATS: external(t, server)} }
	first := open(t, "", set)
	e := openEnds(t, first, bridge.BufferSettings{MaxBytes: 8 << 20})
	e.write(t, numbered(1, 100, 20)...)
	e.read(t, 100, false)
	shut(t, first)
	e = openEnds(t, open(t, "", set), bridge.BufferSettings{MaxBytes: 8 << 20})
	e.read(t, 100, false)

	// A second bridge with the same buffer is found out, and nothing that was confirmed is lost.
	other := openEnds(t, open(t, "", set), bridge.BufferSettings{MaxBytes: 8 << 20})
	other.write(t, numbered(101, 110, 20)...)
	_, err := e.sink.Write(t.Context(), numbered(201, 210, 20))
	if err == nil {
		t.Fatal("wrote beside another bridge")
	}
	_, err = e.buffer.OpenSink(context.WithoutCancel(t.Context()), e.env(t))
	if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "another bridge") {
		t.Error(err)
	}
	other.read(t, 110, true) // the first 100 are not acknowledged
}

// The stream of checkpoints may be gone, as after a restore of the buffer alone.
func TestResetWithoutTheStreamOfCheckpoints(t *testing.T) {
	server, js := startServer(t)
	set := store.Settings{NATS: external(t, server)}
	s := open(t, "", func(s *store.Settings) { *s = set })
	openEnds(t, s, bridge.BufferSettings{}).write(t, numbered(1, 10, 20)...)
	shut(t, s)
	if err := js.DeleteStream(t.Context(), "xrtcbridge-state"); err != nil {
		t.Fatal(err)
	}
	look := store.Look(set, nil, nil)
	t.Cleanup(func() { shut(t, look) })
	checkpoints, messages, err := look.Reset(t.Context(), pipeline, true)
	if checkpoints != 0 || messages != 10 || err != nil {
		t.Errorf("forgot %d checkpoints and %d messages, err = %v", checkpoints, messages, err)
	}
}
