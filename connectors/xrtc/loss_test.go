package xrtc_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/xrtc"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// reader opens the same source again and again, as the engine and restarts do.
type reader struct {
	t       *testing.T
	env     bridge.Env
	set     *xrtc.SourceSettings
	dropped atomic.Int64
}

func newReader(t *testing.T, s *xrtctest.Server, portals ...string) *reader {
	r := &reader{t: t, env: bridgetest.Env(t, "from"), set: sourceSettings(t, s, portals...)}
	r.env.Checkpoint = new(bridge.MemoryCheckpoint)
	r.env.Dropped = func(n int) { r.dropped.Add(int64(n)) }
	return r
}

// read opens the source, reads and acknowledges until there are n messages at least, and closes it.
func (r *reader) read(n int) (got []string) {
	r.t.Helper()
	source, err := xrtc.Connector().Source.Open(r.t.Context(), r.set, r.env)
	if err != nil {
		r.t.Fatal(err)
	}
	defer source.Close()
	for len(got) < n {
		for _, m := range read(r.t, source) {
			got = append(got, string(m.Payload))
		}
	}
	return got
}

func put(t *testing.T, s *xrtctest.Server, portal string, payloads ...string) {
	t.Helper()
	var items []sdk.Item
	for _, p := range payloads {
		items = append(items, sdk.Item{PortalID: portal, Payload: p})
	}
	if _, err := s.Client(t).Set(t.Context(), items...); err != nil {
		t.Fatal(err)
	}
}

func numbers(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// With LIFO nothing that came is lost by a restart in its midst, what an answer had no room for is
// counted, and the guarantee does not promise more.
func TestLIFOLosesNothingByARestart(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) { l.ItemCountMax = 5 })})
	r := newReader(t, s, "p")
	r.set.Schedule, r.env.MaxBatch = "LIFO", 2
	put(t, s, "p", numbers(0, 5)...)
	first := r.read(2)
	rest := r.read(5)
	if diff := cmp.Diff([]string{"4", "3", "4", "3", "2", "1", "0"}, append(first, rest...)); diff != "" ||
		r.dropped.Load() != 0 {
		t.Errorf("%d dropped (-want +got)\n%s", r.dropped.Load(), diff)
	}
	put(t, s, "p", numbers(5, 12)...)
	if diff := cmp.Diff([]string{"11", "10", "9", "8", "7"}, r.read(5)); diff != "" || r.dropped.Load() != 2 {
		t.Errorf("%d dropped, want 2 (-want +got)\n%s", r.dropped.Load(), diff)
	}
	if g := r.set.Describe().Guarantee; g.Level != bridge.LevelAtMostOnce || !strings.Contains(g.Why, "LIFO") {
		t.Errorf("guarantee: %+v", g)
	}
}

// What a ring lost while the bridge was away, or while what it had read was not delivered, is
// counted once.
func TestRingLossIsCountedOverRestarts(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) { l.RingCapacity = 10 })})
	r := newReader(t, s, "p")
	put(t, s, "p", "first")
	got := r.read(1)
	put(t, s, "p", numbers(0, 100)...)
	source, err := xrtc.Connector().Source.Open(t.Context(), r.set, r.env)
	if err != nil {
		t.Fatal(err)
	}
	if batch, _, err := source.Read(t.Context()); err != nil || len(batch) == 0 { // and never acknowledged
		t.Fatal(batch, err)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	got = append(got, r.read(10)...)
	if diff := cmp.Diff(append([]string{"first"}, numbers(90, 100)...), got); diff != "" || r.dropped.Load() != 90 {
		t.Errorf("%d dropped, want 90 (-want +got)\n%s", r.dropped.Load(), diff)
	}
}

// A sink that stalls for longer than a session lives: what the ring lost meanwhile is counted.
func TestRingLossIsCountedOverSessions(t *testing.T) {
	const n = 3000
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) {
		l.RingCapacity, l.SessionIdle, l.GetItemTimeout = 10, 500*time.Millisecond, 100*time.Millisecond
	})})
	r := newReader(t, s, "p")
	r.set.Buffer = 64 << 10
	source, err := xrtc.Connector().Source.Open(t.Context(), r.set, r.env)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	put(t, s, "p", "first") // what went before it had read anything, nobody has lost
	if m := read(t, source); len(m) != 1 {
		t.Fatalf("%d messages, want the first", len(m))
	}
	payload := strings.Repeat("x", 5000)
	for range n / 10 { // nobody reads, and the buffer is full soon
		put(t, s, "p", slices.Repeat([]string{payload}, 10)...)
	}
	<-time.After(1500 * time.Millisecond) // for as long as no session lives
	put(t, s, "p", "last")
	for got, last := 0, ""; last != "last"; {
		for _, m := range read(t, source) {
			got++
			last = string(m.Payload)
		}
		if last == "last" && int64(got)+r.dropped.Load() != n+1 {
			t.Errorf("%d read and %d dropped, of %d", got, r.dropped.Load(), n+1)
		}
	}
	if r.dropped.Load() == 0 {
		t.Error("nothing was lost, so this has shown nothing")
	}
}

// A server in the place of another one whose clock was ahead: all that it holds is read, now and
// after its clock has come to the times of the other one.
func TestServerWhoseClockIsBehind(t *testing.T) {
	ahead := xrtctest.Start(t, server.Config{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	r := newReader(t, ahead, "p")
	put(t, ahead, "p", "a", "b")
	got := r.read(2)
	var clock atomic.Int64
	behind := xrtctest.Start(t,
		server.Config{Now: func() time.Time { return time.Now().Add(time.Duration(clock.Load())) }})
	r.set.ClientSettings = client(t, behind)
	put(t, behind, "p", "c")
	got = append(got, r.read(1)...)
	put(t, behind, "p", "d")
	clock.Store(int64(59 * time.Minute))
	put(t, behind, "p", "e")
	got = append(got, r.read(2)...)
	clock.Store(int64(61 * time.Minute))
	put(t, behind, "p", "f")
	got = append(got, r.read(1)...)
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "e", "f"}, got); diff != "" || r.dropped.Load() != 0 {
		t.Errorf("%d dropped (-want +got)\n%s", r.dropped.Load(), diff)
	}
}

// portals: all reads what is there, and what comes into being later.
func TestAllPortals(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(
		func(l *server.Limits) { l.GetItemTimeout = 200 * time.Millisecond })})
	r := newReader(t, s, "all")
	r.set.Interval = 50 * time.Millisecond
	put(t, s, "a", "1")
	put(t, s, "b", "2")
	source, err := xrtc.Connector().Source.Open(t.Context(), r.set, r.env)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var got []string
	more := func(n int) {
		for len(got) < n {
			for _, m := range read(t, source) {
				got = append(got, m.Topic+":"+string(m.Payload))
			}
		}
	}
	more(2)
	put(t, s, "late", "3", "4")
	more(4)
	if diff := cmp.Diff([]string{"a:1", "b:2", "late:3", "late:4"}, got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	if topics := r.set.Describe().Traffic.Topics; !slices.Equal(topics, []string{""}) {
		t.Errorf("topics %q", topics)
	}
}

// Sinks of one account, those before a restart among them, know of each other's portals.
func TestSinksShareThePortalsOfAnAccount(t *testing.T) {
	s := xrtctest.Start(t, server.Config{Limits: limits(func(l *server.Limits) { l.PortalsCountMax = 2 })})
	refused := func(connector bridge.Connector, portals ...string) (refused []string) {
		sink, err := connector.Sink.Open(t.Context(), sinkSettings(t, s, topicPortal{}), bridgetest.Env(t, "to"))
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		for _, p := range portals {
			r, err := sink.Write(t.Context(), bridge.Batch{{Topic: p, Payload: []byte("x")}})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Refused) > 0 {
				refused = append(refused, p)
			}
		}
		return refused
	}
	first, restarted := xrtc.Connector(), xrtc.Connector()
	var got []string
	got = append(got, refused(first, "a")...)
	got = append(got, refused(first, "b", "c")...)          // another instance
	got = append(got, refused(restarted, "d", "a", "b")...) // another process
	if diff := cmp.Diff([]string{"c", "d"}, got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	items, err := s.Client(t).Get(t.Context(), sdk.GetRequest{Portals: sdk.Portals("a", "b"), Schedule: sdk.FIFO})
	if err != nil || len(items) != 4 {
		t.Errorf("%d items are there, %v, want 4", len(items), err)
	}
}
