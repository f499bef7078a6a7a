package xrtc_test

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func roundTripJSON(t testing.TB, c xrtc.Cursor) xrtc.Cursor {
	t.Helper()
	text, err := json.Marshal(struct{ C xrtc.Cursor }{c})
	if err != nil {
		t.Fatal(err)
	}
	var back struct{ C xrtc.Cursor }
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back.C
}

func TestCursorJSON(t *testing.T) {
	var c xrtc.Cursor
	if got := roundTripJSON(t, c); !got.Since("a").IsZero() {
		t.Errorf("got %v of a zero cursor", got.Since("a"))
	}
	at := time.UnixMilli(1795327834812)
	c.Add(&xrtc.Item{PortalID: "a", Payload: "1", Time: at})
	c.Add(&xrtc.Item{PortalID: "b", Payload: "2", Time: at.Add(time.Second)})
	c.Add(&xrtc.Item{PortalID: "a", Payload: "0", Time: at.Add(-time.Second)}) // LIFO
	back := roundTripJSON(t, c)
	for portal, want := range map[string]time.Time{"a": at, "b": at.Add(time.Second), "c": {}} {
		if got := back.Since(portal); !got.Equal(want) {
			t.Errorf("portal %s: got %v, want %v", portal, got, want)
		}
	}
	for _, text := range []string{`[]`, `{"a":1}`, `{"a":{"time":"x"}}`} {
		if err := json.Unmarshal([]byte(text), new(xrtc.Cursor)); err == nil {
			t.Errorf("%s is no cursor", text)
		}
	}
	if err := json.Unmarshal([]byte(`{"a":null}`), &back); err != nil || !back.Since("a").IsZero() {
		t.Errorf("got %v, %v", back.Since("a"), err)
	}
}

func TestCursorClone(t *testing.T) {
	var none *xrtc.Cursor
	none.Clone().Add(&xrtc.Item{PortalID: "a"})
	var c xrtc.Cursor
	c.Add(&xrtc.Item{PortalID: "a", Time: time.UnixMilli(1)})
	d := c.Clone()
	d.Add(&xrtc.Item{PortalID: "a", Time: time.UnixMilli(2)})
	if got := c.Since("a"); !got.Equal(time.UnixMilli(1)) {
		t.Errorf("the clone changed it to %v", got)
	}
}

// However a reader is interrupted, it gets everything once and in order.
func TestCursorResumesAnywhere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		for round := range 30 {
			portal := "p" + strconv.Itoa(round)
			var want []string
			for range 20 {
				some := make([]string, 1+random.IntN(4))
				for i := range some {
					some[i] = strconv.Itoa(random.IntN(3))
				}
				want = append(want, some...)
				set(t, c, portal, some...)
				if random.IntN(2) == 0 {
					<-time.After(time.Millisecond)
				}
			}
			var cursor xrtc.Cursor
			var got []string
			for len(got) < len(want) {
				<-time.After(xrtc.LoginTimeout)
				reader := open(t, config)
				stop := 1 + random.IntN(len(want)-len(got))
				for it, err := range reader.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals(portal), After: &cursor}) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, it.Payload)
					cursor.Add(&it)
					if stop--; stop == 0 {
						break
					}
				}
				cursor = roundTripJSON(t, cursor)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal("(-want +got)\n" + diff)
			}
		}
	})
}

// A server whose clock is behind what the reader had: it is another one, and everything is new.
func TestStreamAfterClockWentBack(t *testing.T) {
	var clock time.Duration
	limits := quick()
	c := clockedClient(t, limits, &clock)
	set(t, c, "a", "0", "1")
	request := xrtc.GetRequest{Portals: xrtc.Portals("a"), After: new(xrtc.Cursor)}
	for it, err := range c.Stream(t.Context(), request) {
		if err != nil {
			t.Fatal(err)
		}
		request.After.Add(&it)
		if it.Payload == "1" {
			break
		}
	}
	clock = -10 * time.Minute
	c = clockedClient(t, limits, &clock)
	set(t, c, "a", "2", "3")
	got, errs := take(t, c, 2, request)
	if diff := cmp.Diff([]string{"2", "3"}, got); diff != "" || errs != nil {
		t.Error(errs, "(-want +got)\n"+diff)
	}
}

// clockedClient is a client of a new server whose clock is off.
func clockedClient(t *testing.T, limits server.Limits, off *time.Duration) *xrtc.Client {
	t.Helper()
	return xrtctest.Start(t,
		server.Config{Limits: limits, Now: func() time.Time { return time.Now().Add(*off) }}).Client(t)
}
