package xrtc_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func get(t testing.TB, c *xrtc.Client, r xrtc.GetRequest) []string {
	t.Helper()
	got, err := c.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return payloads(got)
}

func TestSetAndGet(t *testing.T) {
	c := xrtctest.New(t)
	texts := []string{
		"", "plain", "\"\\/\b\f\n\r\t\x00\x7f", "a+b%20c&d=1;<>", "héllo 😀", `{"json":[1]}`,
		strings.Repeat("x", 60000),
	}
	began := time.Now().Truncate(time.Millisecond)
	for i, text := range texts {
		at, err := c.Set(t.Context(), xrtc.Item{PortalID: "Room7", Payload: text, Time: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if at.Before(began) || at.After(time.Now()) {
			t.Errorf("set at %v", at)
		}
		got, err := c.Get(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("Room7")})
		if err != nil {
			t.Fatal(err)
		}
		want := []xrtc.Item{{PortalID: "Room7", Payload: text, Time: at, Place: xrtc.Place{Number: int64(i) + 1}}}
		if len(got) > 0 {
			want[0].Place.Life = got[0].Place.Life
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
	}
	if got := get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("Room7", "nobody")}); got != nil {
		t.Errorf("got %q, want nothing new", got)
	}
}

func TestGetSchedules(t *testing.T) {
	for _, test := range []struct {
		schedule xrtc.Schedule
		mode     xrtc.Mode
		want     []string
	}{
		{"", "", []string{"4", "3", "2", "1"}},
		{xrtc.LIFO, xrtc.Probe, []string{"4", "3", "2", "1"}},
		{xrtc.FIFO, xrtc.Probe, []string{"1", "2", "3", "4"}},
		{xrtc.LIFO, xrtc.Watch, []string{"4", "3", "2", "1"}},
		{xrtc.FIFO, xrtc.Watch, []string{"1", "2", "3", "4"}},
		{"", xrtc.Stream, []string{"4", "3", "2", "1"}},
		{xrtc.LIFO, xrtc.Stream, []string{"4", "3", "2", "1"}},
		{xrtc.FIFO, xrtc.Stream, []string{"1", "2", "3", "4"}},
	} {
		t.Run(fmt.Sprintf("%s %s", test.mode, test.schedule), func(t *testing.T) {
			c := xrtctest.Start(t, server.Config{Limits: quick()}).Client(t)
			set(t, c, "a", "1")
			set(t, c, "b", "2")
			set(t, c, "a", "3")
			set(t, c, "b", "4")
			got := get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a", "b"), Mode: test.mode, Schedule: test.schedule})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func TestGetWatchWaits(t *testing.T) {
	l := server.Open()
	l.GetItemTimeout = bridgetest.Timeout
	c := xrtctest.Start(t, server.Config{Limits: l}).Client(t)
	got := make(chan []string, 1)
	// The watch moves on only with what is set after it began, or what was there.
	go func() { got <- get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a"), Mode: xrtc.Watch}) }()
	set(t, c, "other", "no")
	set(t, c, "a", "yes")
	if diff := cmp.Diff([]string{"yes"}, <-got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func TestGetWatchEndsEmpty(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, _ *gate, config xrtc.Config) {
		c := open(t, config)
		began := time.Now()
		if got := get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a"), Mode: xrtc.Watch}); got != nil {
			t.Errorf("got %q", got)
		}
		if took := time.Since(began); took != xrtc.GetItemTimeout {
			t.Errorf("it took %v, want %v", took, xrtc.GetItemTimeout)
		}
	})
}

func TestGetLatestOfEveryPortal(t *testing.T) {
	c := xrtctest.New(t)
	set(t, c, "a", "1", "2")
	set(t, c, "b", "3")
	want := []string{"3", "2"}
	for _, mode := range []xrtc.Mode{"", xrtc.Watch, xrtc.Stream, xrtc.Probe} { // the same again and again
		if diff := cmp.Diff(want, get(t, c, xrtc.GetRequest{Mode: mode})); diff != "" {
			t.Errorf("mode %q (-want +got)\n%s", mode, diff)
		}
	}
	if diff := cmp.Diff([]string{"2", "1"}, get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a")})); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

// A server that announces limits and knows nothing of except is not asked for ever.
func TestGetLatestWithoutExcept(t *testing.T) {
	g := newGate(t, quick())
	g.hook = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == getPath {
			r.Body = io.NopCloser(strings.NewReader(`{"portals":[]}`))
		}
		return false
	}
	c := open(t, g.listen(t))
	set(t, c, "a", "1", "2")
	if diff := cmp.Diff([]string{"2"}, get(t, c, xrtc.GetRequest{})); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func TestGetMaxAge(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, _ *gate, config xrtc.Config) {
		c := open(t, config)
		set(t, c, "a", "old")
		timer := time.NewTimer(time.Second)
		<-timer.C
		set(t, c, "a", "new")
		if diff := cmp.Diff([]string{"new"},
			get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a"), MaxAge: 999 * time.Millisecond})); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
		set(t, c, "a", "now")
		// Less than a millisecond is one, not none.
		if diff := cmp.Diff([]string{"now"},
			get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a"), MaxAge: time.Nanosecond})); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
	})
}

func TestGetSince(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, _ *gate, config xrtc.Config) {
		c := open(t, config)
		set(t, c, "a", "old")
		<-time.After(time.Millisecond)
		at := set(t, c, "a", "new")
		if diff := cmp.Diff([]string{"new"},
			get(t, c, xrtc.GetRequest{Portals: []xrtc.Portal{{ID: "a", Since: at}}})); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
	})
}

func TestInvalidRequests(t *testing.T) {
	sent := 0
	config := account("http://portal.test")
	config.Transport = agreeable(func(*http.Request, string) { sent++ })
	c := open(t, config)
	sent = 0
	check := func(name string, err error, want string) {
		t.Run(name, func(t *testing.T) {
			if err == nil || !strings.Contains(err.Error(), want) || xrtc.IsTemporary(err) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	_, err := c.Set(t.Context())
	check("no items", err, "no items")
	for name, portal := range map[string]string{
		"empty": "", "33 characters": strings.Repeat("x", 33), "dash": "a-b", "blank": "a b",
		"letter outside ASCII": "é", "line end": "a\n", "quote": `a"`,
	} {
		_, err := c.Set(t.Context(), xrtc.Item{PortalID: "ok"}, xrtc.Item{PortalID: portal})
		check("set "+name, err, fmt.Sprintf("portal id %q", portal))
		_, err = c.Get(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("ok", portal)})
		check("get "+name, err, fmt.Sprintf("portal id %q", portal))
		check("check "+name, xrtc.CheckItem(portal, nil), "portal id")
	}
	_, err = c.Set(t.Context(), xrtc.Item{PortalID: "a", Payload: "\xff"})
	check("payload", err, "not UTF-8")
	check("check payload", xrtc.CheckItem("a", []byte("\xff")), "not UTF-8")
	_, err = c.Get(t.Context(), xrtc.GetRequest{Mode: "wait"})
	check("mode", err, `mode "wait"`)
	_, err = c.Get(t.Context(), xrtc.GetRequest{Schedule: "fifo"})
	check("schedule", err, `schedule "fifo"`)
	_, err = c.Get(t.Context(), xrtc.GetRequest{MaxAge: -1})
	check("max age", err, "max age")
	for _, err := range c.Stream(t.Context(), xrtc.GetRequest{}) {
		check("stream of no portals", err, "name its portals")
	}
	if sent > 0 {
		t.Error("something was sent")
	}
}

func TestLimits(t *testing.T) {
	l := server.Open()
	l.PayloadSizeMax, l.GetItemTimeout, l.PortalsCountMax, l.RequestsPerSecond = 300, 3*time.Second, 7, 40
	got := xrtctest.Start(t, server.Config{Limits: l}).Client(t).Limits()
	want := xrtc.Limits{
		PayloadSizeMax: 300, PortalsCountMax: 7, RequestsPerSecond: 40, ItemAgeMax: l.ItemAgeMax,
		GetItemTimeout: 3 * time.Second, LoginTimeout: l.LoginTimeout, Announced: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
	config := account("http://portal.test")
	config.Transport = agreeable(func(*http.Request, string) {})
	want = xrtc.Limits{
		PayloadSizeMax: xrtc.PayloadSizeMax, PortalsCountMax: xrtc.PortalsCountMax, RequestsPerSecond: xrtc.RequestsPerSecond,
		ItemAgeMax: xrtc.ItemAgeMax, GetItemTimeout: xrtc.GetItemTimeout, LoginTimeout: xrtc.LoginTimeout,
	}
	if diff := cmp.Diff(want, open(t, config).Limits()); diff != "" {
		t.Error("not announced (-want +got)\n" + diff)
	}
}

func TestPack(t *testing.T) {
	c := xrtctest.New(t)
	var p xrtc.Pack
	for range 2 { // the second time after Reset
		size := xrtc.SizeOf("a", []byte("1\n")) + len(`{"portalid":"a","payload":"2"},`)
		if !p.Add("a", []byte("1\n"), size) || !p.Add("a", []byte("2"), size) || p.Add("a", nil, size) {
			t.Fatal("two items fit, and no more")
		}
		if got := p.Len(); got != 2 {
			t.Errorf("got %d items, want 2", got)
		}
		if got := len(p.Body()); got != size {
			t.Errorf("got %d bytes, want %d", got, size)
		}
		for range 2 { // once more, as after an error
			if _, err := c.SetEncoded(t.Context(), p.Body()); err != nil {
				t.Fatal(err)
			}
		}
		if !p.Add("a", []byte("3"), 1000) {
			t.Fatal("there is room")
		}
		if _, err := c.SetEncoded(t.Context(), p.Body()); err != nil {
			t.Fatal(err)
		}
		got := get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a"), Schedule: xrtc.FIFO})
		if diff := cmp.Diff([]string{"1\n", "2", "1\n", "2", "1\n", "2", "3"}, got); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
		p.Reset()
	}
	if p.Add("a", []byte("too large"), 20) || p.Len() != 0 {
		t.Error("an item fits that does not")
	}
	if _, err := c.SetEncoded(t.Context(), p.Body()); !errors.Is(err, xrtc.ErrInvalidArguments) {
		t.Errorf("an empty pack: got %v, want %v", err, xrtc.ErrInvalidArguments)
	}
}

func TestTwoKeysAndTwoClients(t *testing.T) {
	first, firstKey := server.NewKey()
	second, secondKey := server.NewKey()
	s := xrtctest.Start(t, server.Config{Accounts: []server.Account{{
		ID:   xrtctest.AccountID,
		Keys: []server.Key{firstKey, secondKey},
	}}})
	config := s.Config()
	config.APIKey = first
	a := open(t, config)
	config.APIKey = second
	b := open(t, config) // at once: each key has its own LOGIN_TIMEOUT
	set(t, a, "x", "1")
	set(t, b, "x", "2")
	for _, c := range []*xrtc.Client{a, b} { // sessions do not take from each other
		if diff := cmp.Diff([]string{"1", "2"},
			get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("x"), Schedule: xrtc.FIFO})); diff != "" {
			t.Error("(-want +got)\n" + diff)
		}
	}
	if a.LoginTime().IsZero() || b.LoginTime().Before(a.LoginTime()) {
		t.Errorf("logins at %v and %v", a.LoginTime(), b.LoginTime())
	}
}

// Every portal has its latest item in a get without portals, also if they do not fit into one
// answer.
func TestGetOfAllPortals(t *testing.T) {
	l := server.Open()
	l.PayloadSizeMax = 256
	s := xrtctest.Start(t, server.Config{Limits: l})
	c := s.Client(t)
	var want []string
	for i := range 100 {
		text := strconv.Itoa(i) + strings.Repeat("x", 100)
		want = append([]string{text}, want...)
		set(t, c, "p"+strconv.Itoa(i), "old")
		set(t, c, "p"+strconv.Itoa(i), text)
	}
	if diff := cmp.Diff(want, get(t, c, xrtc.GetRequest{})); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}
