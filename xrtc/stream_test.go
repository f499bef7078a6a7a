package xrtc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// take returns the payloads of the first n items, and the errors on the way.
func take(t testing.TB, c *xrtc.Client, n int, r xrtc.GetRequest) (got []string, errs []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	for it, err := range c.Stream(ctx, r) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if got = append(got, it.Payload); len(got) == n {
			return got, errs
		}
	}
	t.Errorf("the stream ended after %d of %d items: %v", len(got), n, errs)
	return got, errs
}

// count returns the numbers from 0 to n-1.
func count(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all
}

func TestStreamGoesOnOverTheTimeout(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		defer c.Close()
		var setting sync.WaitGroup
		setting.Go(func() {
			for _, p := range count(50) {
				<-time.After(700 * time.Millisecond) // 35 s: seven answers
				_, _ = c.Set(t.Context(), items("a", p)...)
			}
		})
		got, errs := take(t, c, 50, xrtc.GetRequest{Portals: xrtc.Portals("a")})
		setting.Wait()
		if diff := cmp.Diff(count(50), got); diff != "" || errs != nil {
			t.Error(errs, "(-want +got)\n"+diff)
		}
		if gets := g.gets.Load(); gets < 7 || gets > 8 {
			t.Errorf("%d gets, want one for 5 s", gets)
		}
		if logins := g.logins.Load(); logins != 1 {
			t.Errorf("%d logins, want 1", logins)
		}
	})
}

func TestStreamOverLostSessions(t *testing.T) {
	for _, mode := range []xrtc.Mode{xrtc.Stream, xrtc.Watch, xrtc.Probe} {
		t.Run(string(mode), func(t *testing.T) {
			l := server.Open()
			l.LoginTimeout = time.Second
			bubble(t, l, func(t *testing.T, g *gate, config xrtc.Config) {
				c := open(t, config)
				defer c.Close()
				const n = 200
				setter := config
				setter.APIKey = secondKey
				s := open(t, setter)
				defer s.Close()
				want := make([]string, 0, 3*n)
				for i := range n {
					want = append(want, strconv.Itoa(i), "equal", "equal")
				}
				var setting sync.WaitGroup
				setting.Go(func() {
					<-time.After(50 * time.Millisecond)
					for i := range n { // several in a millisecond, equal ones among them
						if i%20 == 10 {
							g.forget()
						}
						<-time.After(100 * time.Millisecond)
						if _, err := s.Set(t.Context(), items("a", want[3*i:3*i+2]...)...); err != nil {
							t.Error(err)
						}
						if _, err := s.Set(t.Context(), items("a", want[3*i+2])...); err != nil {
							t.Error(err)
						}
					}
				})
				got, errs := take(t, c, 3*n, xrtc.GetRequest{Portals: xrtc.Portals("a"), Mode: mode})
				setting.Wait()
				if diff := cmp.Diff(want, got); diff != "" || errs != nil {
					t.Error(errs, "(-want +got)\n"+diff)
				}
				if logins := g.logins.Load(); logins < 12 || logins > 2+2*n/20 {
					t.Errorf("%d logins of two clients, whose sessions were forgotten %d times", logins, n/20)
				}
			})
		})
	}
}

// A server whose sessions end in the middle, by themselves.
func TestStreamOverIdleSession(t *testing.T) {
	l := server.Open()
	l.SessionIdle, l.GetItemTimeout, l.LoginTimeout = 200*time.Millisecond, time.Second, 0
	bubble(t, l, func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		set(t, c, "a", "0")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []string
		for it, err := range c.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, it.Payload); len(got) == 4 {
				break
			}
			<-time.After(1300 * time.Millisecond) // a slow caller: the stream is over, and so is the session
			set(t, c, "a", strconv.Itoa(len(got)))
		}
		if diff := cmp.Diff(count(4), got); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
		if g.logins.Load() < 2 {
			t.Error("no session has ended")
		}
	})
}

func TestStreamResumes(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprintf("same client %v", same), func(t *testing.T) {
			g := newGate(t, quick())
			config := g.listen(t)
			c := open(t, config)
			set(t, c, "a", "0", "1", "1", "1", "2")
			set(t, c, "b", "x")
			set(t, c, "a", "3")
			want := []string{"0", "1", "1", "1", "2", "x", "3"}
			var saved struct{ Cursor xrtc.Cursor }
			var got []string
			for len(got) < len(want) { // one item at a time
				if !same {
					c = open(t, config)
				}
				for it, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a", "b"), After: &saved.Cursor}) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, it.Payload)
					saved.Cursor.Add(&it)
					break
				}
				saved.Cursor = roundTripJSON(t, saved.Cursor)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func TestStreamWithoutCursorTakesWhatIsNew(t *testing.T) {
	g := newGate(t, quick())
	c := open(t, g.listen(t))
	for i := range 3 {
		set(t, c, "a", strconv.Itoa(i))
		var got []string
		for it, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a"), Once: true}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, it.Payload)
		}
		if diff := cmp.Diff([]string{strconv.Itoa(i)}, got); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
	}
	if logins := g.logins.Load(); logins != 1 {
		t.Errorf("%d logins, want 1", logins)
	}
}

func TestStreamYieldsErrorsAndGoesOn(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
		failures := 3
		g.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != getPath || failures == 0 {
				return false
			}
			failures--
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		c := open(t, config)
		set(t, c, "a", count(5)...)
		got, errs := take(t, c, 5, xrtc.GetRequest{Portals: xrtc.Portals("a")})
		if diff := cmp.Diff(count(5), got); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
		if len(errs) != 3 {
			t.Fatalf("got errors %v, want 3", errs)
		}
		var e *xrtc.Error
		if !errors.As(errs[0], &e) || e.Status != http.StatusBadGateway || !xrtc.IsTemporary(errs[0]) {
			t.Errorf("got %v", errs[0])
		}
	})
}

func TestStreamEndsAfterAnErrorThatStays(t *testing.T) {
	g := newGate(t, quick())
	g.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == getPath {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":{"errorgroup":6,"errorcode":30,"errormessage":"no"}}`))
		}
		return r.URL.Path == getPath
	}
	c := open(t, g.listen(t))
	n := 0
	for _, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
		if n++; !errors.Is(err, xrtc.ErrInvalidArguments) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("got %d errors, want 1", n)
	}
}

func TestStreamOverServerRestart(t *testing.T) {
	key, err := server.ParseKey(xrtctest.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	address := bridgetest.FreeAddr(t)
	start := func() (*server.Server, chan error) {
		s, err := server.New(server.Config{
			Limits:   quick(),
			Accounts: []server.Account{{ID: xrtctest.AccountID, Keys: []server.Key{key}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		return s, served
	}
	s, served := start()
	c := open(t, account("http://"+address))
	set(t, c, "a", count(3)...)
	var got []string
	failed := false
	for it, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
		switch {
		case err != nil && !failed: // it noticed, so the next one may come
			failed = true
			s, served = start()
			set(t, open(t, account("http://"+address)), "a", "3", "4")
		case err != nil:
		default:
			got = append(got, it.Payload)
		}
		if len(got) == 3 && !failed {
			if err := errors.Join(s.Close(), <-served); err != nil { // cuts what is open
				t.Fatal(err)
			}
		}
		if len(got) == 5 {
			break
		}
	}
	if err := errors.Join(s.Close(), <-served); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(count(5), got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	c := xrtctest.New(t)
	set(t, c, "a", count(3)...)
	for _, where := range []string{"before", "within"} {
		t.Run(where, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if where == "before" {
				cancel()
			}
			for _, err := range c.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
				if err != nil {
					t.Errorf("got %v", err)
				}
				cancel()
			}
			cancel()
		})
	}
}

func TestStreamOfClosedClient(t *testing.T) {
	c := xrtctest.New(t)
	set(t, c, "a", "1")
	var errs []error
	for _, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
		if err != nil {
			errs = append(errs, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(errs) != 1 || !errors.Is(errs[0], xrtc.ErrClosed) {
		t.Errorf("got %v, want %v once", errs, xrtc.ErrClosed)
	}
	if _, err := c.Set(t.Context(), xrtc.Item{PortalID: "a"}); !errors.Is(err, xrtc.ErrClosed) || xrtc.IsTemporary(err) {
		t.Errorf("set: got %v, want %v", err, xrtc.ErrClosed)
	}
}

// A cursor counts what the ring lost between two streams, in the same session or another one, and
// what LIFO and MaxAge leave out.
func TestCursorCountsWhatWasMissed(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*server.Limits)
		request xrtc.GetRequest
		again   bool // the second stream has a client of its own
		want    []string
		missed  int64
	}{
		{"same session", nil, xrtc.GetRequest{}, false, append(count(3), count(35)[25:]...), 25},
		{"other session", nil, xrtc.GetRequest{}, true, append(count(3), count(35)[25:]...), 25},
		{
			"LIFO", func(l *server.Limits) { l.ItemCountMax = 4 },
			xrtc.GetRequest{Schedule: xrtc.LIFO},
			true,
			[]string{"2", "1", "0", "34", "33", "32", "31"},
			31,
		},
		{"MaxAge", nil, xrtc.GetRequest{MaxAge: 10 * time.Second}, true, append(count(3), "last"), 35},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := quick()
			l.RingCapacity = 10
			if test.change != nil {
				test.change(&l)
			}
			bubble(t, l, func(t *testing.T, _ *gate, config xrtc.Config) {
				c := open(t, config)
				cursor := new(xrtc.Cursor)
				missed := int64(0)
				read := func(c *xrtc.Client) (got []string) {
					r := test.request
					r.Portals, r.Once, r.After = xrtc.Portals("a"), true, cursor
					for items, err := range c.StreamBatches(t.Context(), r) {
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, payloads(items)...)
						if r.Schedule == xrtc.LIFO {
							slices.Reverse(items)
						}
						for i := range items {
							missed += cursor.Add(&items[i])
						}
					}
					return got
				}
				set(t, c, "a", count(3)...)
				got := read(c)
				set(t, c, "a", count(35)...)
				if test.request.MaxAge > 0 {
					<-time.After(time.Minute)
					set(t, c, "a", "last")
				}
				if test.again {
					saved := roundTripJSON(t, *cursor)
					cursor, c = &saved, open(t, config)
				}
				got = append(got, read(c)...)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error("(-want +got)\n" + diff)
				}
				if missed != test.missed {
					t.Errorf("%d missed, want %d", missed, test.missed)
				}
			})
		})
	}
}

// A stream of all portals finds those that come into being while it runs, and survives that many
// come and go.
func TestStreamOfAllPortals(t *testing.T) {
	l := server.Open()
	l.PortalsCountMax, l.PayloadSizeMax = 20, 150 // which is less than it takes to name them
	bubble(t, l, func(t *testing.T, _ *gate, config xrtc.Config) {
		c := open(t, config)
		var setting sync.WaitGroup
		setting.Go(func() {
			for i := range 60 { // three times as many as can be there
				<-time.After(500 * time.Millisecond)
				_, _ = c.Set(t.Context(), items("portal"+strconv.Itoa(i), strconv.Itoa(i))...)
			}
		})
		got, errs := take(t, c, 60, xrtc.GetRequest{All: true})
		setting.Wait()
		want := count(60)
		slices.Sort(want)
		slices.Sort(got) // a portal's items come when it is found
		if diff := cmp.Diff(want, got); diff != "" || errs != nil {
			t.Error(errs, "(-want +got)\n"+diff)
		}
	})
}

func TestStreamLIFO(t *testing.T) {
	g := newGate(t, quick())
	config := g.listen(t)
	c := open(t, config)
	set(t, c, "a", "1", "2", "3")
	request := xrtc.GetRequest{Portals: xrtc.Portals("a"), Schedule: xrtc.LIFO, After: new(xrtc.Cursor)}
	var got []string
	for items, err := range c.StreamBatches(t.Context(), request) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, payloads(items)...)
		slices.Reverse(items)
		for i := range items {
			request.After.Add(&items[i])
		}
		break
	}
	c = open(t, config)
	set(t, c, "a", "4", "5")
	more, _ := take(t, c, 2, request)
	if diff := cmp.Diff([]string{"3", "2", "1", "5", "4"}, append(got, more...)); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func TestStreamBatches(t *testing.T) {
	c := xrtctest.New(t)
	set(t, c, "a", count(3)...)
	for batch, err := range c.StreamBatches(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
		if err != nil || len(batch) != 3 {
			t.Errorf("got %v, %v, want 3 items", batch, err)
		}
		break
	}
}

// Who reads items may take longer than an answer may: that says nothing of the server.
func TestStreamWaitsForTheCaller(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, _ *gate, config xrtc.Config) {
		c := open(t, config)
		defer c.Close()
		want := make([]string, 100)
		for i := range want { // more than is on the way
			want[i] = strconv.Itoa(i) + strings.Repeat("x", 5000)
			set(t, c, "a", want[i])
		}
		var got []string
		for it, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, it.Payload)
			if len(got) == len(want) {
				break
			}
			if len(got) == 1 {
				<-time.After(5 * time.Minute)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
	})
}
