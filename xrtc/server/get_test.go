package server_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

func TestGetArguments(t *testing.T) {
	s := start(t, config(t, nil))
	cookie := login(t, s)
	set(t, s, cookie, "a:1")
	for _, tt := range []struct {
		name, body string
		code       int
	}{
		{"nothing", ``, 20},
		{"not JSON", `portals=a`, 20},
		{"list", `[]`, 20},
		{"null", `null`, 20},
		{"no portals", `{}`, 20},
		{"no portals but a mode", `{"mode":"probe"}`, 20},
		{"portals is a text", `{"portals":"a"}`, 20},
		{"portals is an object", `{"portals":{}}`, 20},
		{"portal is a text", `{"portals":["a"]}`, 20},
		{"portal without id", `{"portals":[{}]}`, 20},
		{"portal id is a number", `{"portals":[{"portalid":1}]}`, 20},
		{"portal with further name", `{"portals":[{"portalid":"a","payload":"1"}]}`, 20},
		{"portal with a text as timestamp", `{"portals":[{"portalid":"a","servertimestamp":"1"}]}`, 20},
		{"mode is a number", `{"portals":[{"portalid":"a"}],"mode":1}`, 20},
		{"mode is null", `{"portals":[{"portalid":"a"}],"mode":null}`, 20},
		{"schedule is a list", `{"portals":[{"portalid":"a"}],"schedule":[]}`, 20},
		{"cutoff is a text", `{"portals":[{"portalid":"a"}],"cutoff":"1"}`, 20},
		{"cutoff is a fraction", `{"portals":[{"portalid":"a"}],"cutoff":1.5}`, 20},
		{"cutoff is huge", `{"portals":[{"portalid":"a"}],"cutoff":9223372036854775808}`, 20},
		{"misnamed schedule", `{"portals":[{"portalid":"a"}],"shedule":"FIFO"}`, 20},
		{"other case", `{"Portals":[{"portalid":"a"}]}`, 20},
		{"twice", `{"portals":[],"portals":[{"portalid":"a"}]}`, 20},
		{"something behind", probeA + "{}", 20},
		{"deep", `{"portals":` + strings.Repeat("[", 60000), 20},
		{"not UTF-8", "{\"portals\":[{\"portalid\":\"\xff\"}]}", 20},
		{"unknown mode", `{"portals":[{"portalid":"a"}],"mode":"peek"}`, 30},
		{"mode in capitals", `{"portals":[{"portalid":"a"}],"mode":"PROBE"}`, 30},
		{"unknown schedule", `{"portals":[{"portalid":"a"}],"schedule":"LILO"}`, 30},
		{"schedule in small letters", `{"portals":[{"portalid":"a"}],"schedule":"fifo"}`, 30},
		{"empty portal", `{"portals":[{"portalid":""}]}`, 30},
		{"33 characters", `{"portals":[{"portalid":"` + strings.Repeat("a", 33) + `"}]}`, 30},
		{"minus", `{"portals":[{"portalid":"a-b"}]}`, 30},
		{"trailing line end", `{"portals":[{"portalid":"a\n"}]}`, 30},
		{"letter outside ASCII", `{"portals":[{"portalid":"ä"}]}`, 30},
		{"second portal", `{"portals":[{"portalid":"a"},{"portalid":"a b"}],"mode":"stream"}`, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, post(t, s, pathGet, cookie, tt.body), http.StatusBadRequest, 6, tt.code)
		})
	}
	if got, want := get(t, s, cookie, probeA), "a:1"; got != want {
		t.Errorf("after refused gets: got %q, want %q", got, want)
	}
}

// Each case has fresh sessions on a fresh server; its steps are sets (portal:payload …), gets by session
// (a body that begins with a brace, and what it brings) and logins.
func TestGet(t *testing.T) {
	const (
		ab     = `{"portals":[{"portalid":"a"},{"portalid":"b"}]}`
		abFIFO = `{"portals":[{"portalid":"a"},{"portalid":"b"}],"schedule":"FIFO"}`
		b      = `{portals:[{portalid:b}]}`
	)
	type step struct {
		session int
		do      string
		want    string
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"nothing there", []step{{0, probeA, ""}, {0, probeA, ""}}},
		{"LIFO is the default", []step{{0, "a:1 a:2", ""}, {0, "a:3", ""}, {0, probeA, "a:3 a:2 a:1"}, {0, probeA, ""}}},
		{"FIFO", []step{{0, "a:1 a:2", ""}, {0, "a:3", ""}, {0, probeAFIFO, "a:1 a:2 a:3"}, {0, probeAFIFO, ""}}},
		{"all spelt out", []step{
			{0, "a:1", ""},
			{0, `{"portals":[{"portalid":"a","servertimestamp":0}],"mode":"probe","schedule":"LIFO","cutoff":-1}`, "a:1"},
		}},
		{"any negative cutoff is none", []step{{0, "a:1", ""}, {0, `{"portals":[{"portalid":"a"}],"cutoff":-77}`, "a:1"}}},
		{
			"portals differ in case",
			[]step{{0, "a:1 A:2", ""}, {0, probeA, "a:1"}, {0, `{"portals":[{"portalid":"A"}]}`, "A:2"}},
		},
		{"merged, LIFO", []step{{0, "a:1 b:2", ""}, {0, "b:3 a:4", ""}, {0, ab, "a:4 b:3 b:2 a:1"}}},
		{"merged, FIFO", []step{{0, "a:1 b:2", ""}, {0, "b:3 a:4", ""}, {0, abFIFO, "a:1 b:2 b:3 a:4"}}},
		{"named twice", []step{{0, "a:1", ""}, {0, `{"portals":[{"portalid":"a"},{"portalid":"a"}]}`, "a:1"}}},
		{"one that is not there", []step{{0, "a:1", ""}, {0, ab, "a:1"}, {0, "b:2", ""}, {0, ab, "b:2"}}},
		{"positions by portal", []step{{0, "a:1 b:2", ""}, {0, probeA, "a:1"}, {0, b, "b:2"}, {0, ab, ""}}},
		{
			"positions by session",
			[]step{
				{0, "a:1", ""},
				{0, probeA, "a:1"},
				{1, probeA, "a:1"},
				{0, probeA, ""},
				{0, "a:2", ""},
				{1, probeA, "a:2"},
				{0, probeA, "a:2"},
			},
		},
		{"a set moves nothing", []step{
			{0, "a:1", ""},
			{0, probeA, "a:1"},
			{0, "a:2", ""},
			{0, "a:3", ""},
			{0, probeA, "a:3 a:2"},
		}},
		{
			"modes share positions",
			[]step{
				{0, "a:1", ""},
				{0, watchA, "a:1"},
				{0, probeA, ""},
				{0, "a:2", ""},
				{0, probeA, "a:2"},
				{0, "a:3", ""},
				{0, watchA, "a:3"},
			},
		},
		{"null view", []step{
			{0, "a:1 b:2 a:3", ""},
			{0, `{"portals":[]}`, "a:3 b:2"},
			{0, "b:4", ""},
			{0, `{"portals":null}`, "b:4 a:3"},
			{0, `{"portals":[]}`, "b:4 a:3"},
		}},
		{
			"null view moves nothing",
			[]step{{0, "a:1 a:2", ""}, {0, `{"portals":[]}`, "a:2"}, {0, probeA, "a:2 a:1"}, {0, `{"portals":[]}`, "a:2"}},
		},
		{
			"null view of nothing",
			[]step{
				{0, `{"portals":[]}`, ""},
				{0, `{"portals":[],"mode":"watch"}`, ""},
				{0, `{"portals":[],"mode":"stream"}`, ""},
			},
		},
		{
			"null view ignores the rest",
			[]step{
				{0, "a:1 b:2", ""},
				{0, `{"portals":[],"mode":"stream","schedule":"FIFO","cutoff":0}`, "b:2 a:1"},
				{0, `{"portals":null,"mode":"watch"}`, "b:2 a:1"},
			},
		},
		{"a get creates nothing", []step{{0, probeA, ""}, {0, `{"portals":[]}`, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, config(t, nil))
			sessions := []string{login(t, s), login(t, s)}
			for i, step := range tt.steps {
				if !strings.HasPrefix(step.do, "{") {
					set(t, s, sessions[step.session], strings.Fields(step.do)...)
					continue
				}
				if got := get(t, s, sessions[step.session], step.do); got != step.want {
					t.Errorf("step %d, %s: got %q, want %q", i, step.do, got, step.want)
				}
			}
		})
	}
}

// servertimestamp in a portal is a lower bound that never brings back what was read.
func TestGetSince(t *testing.T) {
	c := config(t, nil)
	now := newClock(sampleTime)
	c.Now = now.Now
	s := start(t, c)
	writer := login(t, s)
	for i := range 4 {
		now.ms.Store(sampleTime + int64(i))
		set(t, s, writer, fmt.Sprintf("a:%d", i), fmt.Sprintf("b:%d", i))
	}
	since := func(n int64, schedule string) string {
		return fmt.Sprintf(`{"portals":[{"portalid":"a","servertimestamp":%d}],"schedule":%q}`, n, schedule)
	}
	for _, tt := range []struct {
		name string
		body string
		want string
	}{
		{"none", since(0, "FIFO"), "a:0 a:1 a:2 a:3"},
		{"negative", since(-1, "FIFO"), "a:0 a:1 a:2 a:3"},
		{"old", since(9, "FIFO"), "a:0 a:1 a:2 a:3"},
		{"the same millisecond", since(sampleTime+2, "FIFO"), "a:2 a:3"},
		{"LIFO", since(sampleTime+2, "LIFO"), "a:3 a:2"},
		{"later than all", since(sampleTime+4, "FIFO"), ""},
		{
			"of one portal", fmt.Sprintf(
				`{"portals":[{"portalid":"a","servertimestamp":%d},{"portalid":"b"}],"schedule":"FIFO"}`, sampleTime+3),
			"b:0 b:1 b:2 a:3 b:3",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cookie := login(t, s)
			if got := get(t, s, cookie, tt.body); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want == "" {
				return
			}
			if got := get(t, s, cookie, since(1, "FIFO")); got != "" {
				t.Errorf("and then got %q", got)
			}
		})
	}
}

// An answer too large is cut: LIFO drops the oldest for good, FIFO leaves the latest for the next get.
func TestGetCut(t *testing.T) {
	const payload = 200
	text := func(portal string, i int) string { return fmt.Sprintf("%s:%0*d", portal, payload, i) }
	for _, tt := range []struct {
		name     string
		change   func(*server.Limits)
		schedule string
		want     [][]int // of 8 items, by turns in a and b
	}{
		{"size, FIFO", func(l *server.Limits) { l.PayloadSizeMax = 1024 }, "FIFO", [][]int{{0, 1, 2}, {3, 4, 5}, {6, 7}, {}}},
		{"size, LIFO", func(l *server.Limits) { l.PayloadSizeMax = 1024 }, "LIFO", [][]int{{7, 6, 5}, {}}},
		{"count, FIFO", func(l *server.Limits) { l.ItemCountMax = 5 }, "FIFO", [][]int{{0, 1, 2, 3, 4}, {5, 6, 7}, {}}},
		{"count, LIFO", func(l *server.Limits) { l.ItemCountMax = 5 }, "LIFO", [][]int{{7, 6, 5, 4, 3}, {}}},
		{
			"one at a time", func(l *server.Limits) { l.ItemCountMax = 1 }, "FIFO",
			[][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {}},
		},
		{
			"at least one", func(l *server.Limits) { l.PayloadSizeMax = 255 }, "FIFO",
			[][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, tt.change)
			s := start(t, c)
			cookie := login(t, s)
			for i := range 8 {
				set(t, s, cookie, text(string("ab"[i%2]), i))
			}
			for n, want := range tt.want {
				w := post(t, s, pathGet, cookie, `{"portals":[{"portalid":"a"},{"portalid":"b"}],"schedule":"`+tt.schedule+`"}`)
				var all []string
				for _, i := range want {
					all = append(all, text(string("ab"[i%2]), i))
				}
				if diff := cmp.Diff(strings.Join(all, " "), show(t, w.Body.String())); diff != "" {
					t.Errorf("get %d (-want +got)\n%s", n, diff)
				}
				if size := w.Body.Len() + len("\n"); len(want) > 1 && size > c.Limits.PayloadSizeMax {
					t.Errorf("get %d: got %d bytes", n, size)
				}
			}
		})
	}
}

// The null view obeys the limits, too.
func TestNullViewCut(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.ItemCountMax = 2 }))
	cookie := login(t, s)
	set(t, s, cookie, "a:1", "b:2", "c:3")
	for range 2 {
		if got, want := get(t, s, cookie, `{"portals":[]}`), "c:3 b:2"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Gets of one session at the same time never bring an item twice, and together bring all.
func TestGetAtOnce(t *testing.T) { synctest.Test(t, getAtOnce) }

func getAtOnce(t *testing.T) {
	const readers, items = 8, 2000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := start(t, config(t, func(l *server.Limits) {
		l.RingCapacity = items
		l.ItemCountMax = 7
		l.GetItemTimeout = 250e6
	}))
	cookie := login(t, s)
	var mu sync.Mutex
	seen := make(map[string]int)
	var wait sync.WaitGroup
	for i := range readers {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for empty := false; !empty; {
				mode := []string{"watch", "stream"}[random.IntN(2)]
				w := post(t, s, pathGet, cookie,
					`{"portals":[{"portalid":"a"},{"portalid":"b"}],"schedule":"FIFO","mode":"`+mode+`"}`)
				empty = strings.TrimSpace(w.Body.String()) == "{}"
				for line := range strings.Lines(w.Body.String()) {
					mu.Lock()
					for _, item := range decode(t, line).Items {
						seen[item.Payload]++
					}
					mu.Unlock()
				}
			}
		})
	}
	for i := range items {
		set(t, s, cookie, fmt.Sprintf("%c:%d", "ab"[i%2], i))
	}
	wait.Wait()
	for i := range items {
		if got := seen[fmt.Sprint(i)]; got != 1 {
			t.Fatalf("item %d came %d times", i, got)
		}
	}
}

// Two accounts never see one another, on any call.
func TestAccountsIsolated(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) {
		l.PortalsCountMax = 2
		l.GetItemTimeout = 50e6
	}))
	one, other := login(t, s), loginAs(t, s, otherAccount, otherKey)
	var wait sync.WaitGroup
	for _, body := range []string{watchA, streamA} {
		wait.Go(func() {
			if got, want := strings.TrimSpace(post(t, s, pathGet, other, body).Body.String()), "{}"; got != want {
				t.Errorf("%s: got %s, want %s", body, got, want)
			}
		})
	}
	set(t, s, one, "a:secret")
	wait.Wait()
	for _, body := range []string{probeA, probeAFIFO, watchA, `{"portals":[]}`, `{"portals":null}`} {
		if got := get(t, s, other, body); got != "" {
			t.Errorf("%s: got %q of another account", body, got)
		}
	}
	set(t, s, other, "a:mine", "b:2", "c:3", "d:4")
	if got, want := get(t, s, other, `{"portals":[]}`), "d:4 c:3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := get(t, s, one, `{"portals":[]}`), "a:secret"; got != want {
		t.Errorf("one account pushed out the portals of another: got %q, want %q", got, want)
	}
	refused(t, post(t, s, pathLogin, other, loginBody(otherAccount, "543210ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
		http.StatusBadRequest, 4, 35)
}
