package server_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// setOf makes a set request of that many bytes.
func setOf(size int) string {
	const head, tail = `{"items":[{"portalid":"a","payload":"`, `"}]}`
	return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
}

// The bytes of a body count as sent, white space and escapes included.
func TestPayloadSizeMax(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.PayloadSizeMax, l.PortalsCountMax = 1024, 10 }))
	cookie := login(t, s)
	for _, tt := range []struct {
		name, path, body string
		code             int
	}{
		{"set, just fits", pathSet, setOf(1024), 0},
		{"set, one more", pathSet, setOf(1025), 20},
		{"set, white space", pathSet, setBody(t, "a:1") + strings.Repeat(" ", 1024), 20},
		{"set, escapes", pathSet, `{"items":[{"portalid":"a","payload":"` + strings.Repeat(`\u0041`, 170) + `"}]}`, 20},
		{"get, just fits", pathGet, probeA + strings.Repeat(" ", 1024-len(probeA)), 0},
		{"get, one more", pathGet, probeA + strings.Repeat(" ", 1025-len(probeA)), 20},
		{"not JSON and too large", pathSet, strings.Repeat("x", 5000), 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, s, tt.path, cookie, tt.body)
			if tt.code != 0 {
				refused(t, w, http.StatusBadRequest, 6, tt.code)
			} else if w.Code != http.StatusOK {
				t.Errorf("got status %d and %s", w.Code, w.Body)
			}
		})
	}
}

// What is accepted fits into a line of 65536 bytes, escaped as it is sent, and what would not is
// refused.
func TestLargestItem(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.GetItemTimeout = time.Millisecond }))
	cookie := login(t, s)
	taken := 0
	for size := 65536 - 70; size <= 65536; size++ {
		w := post(t, s, pathSet, cookie, setOf(size))
		if w.Code != http.StatusOK {
			refused(t, w, http.StatusBadRequest, 6, 20)
			continue
		}
		taken = size
		if got := post(t, s, pathGet, cookie, streamA).Body.Len(); got > 65536 {
			t.Fatalf("a set of %d bytes makes a line of %d", size, got)
		}
	}
	if taken < 65536-45 || taken == 65536 {
		t.Errorf("sets of %d bytes are taken", taken)
	}
	control := `{"items":[{"portalid":"a","payload":"` + strings.Repeat(`\b`, 20_000) + `"}]}` // six bytes each in answers
	refused(t, post(t, s, pathSet, cookie, control), http.StatusBadRequest, 6, 20)
	if got := get(t, s, cookie, probeA); got != "" {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestRingOverrun(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.RingCapacity = 3 }))
	cookie := login(t, s)
	set(t, s, cookie, "a:1", "a:2")
	if got, want := get(t, s, cookie, probeAFIFO), "a:1 a:2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := 3; i < 10; i++ {
		set(t, s, cookie, fmt.Sprintf("a:%d", i))
	}
	if got, want := get(t, s, cookie, probeAFIFO), "a:7 a:8 a:9"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	set(t, s, cookie, "a:10", "a:11", "a:12", "a:13")
	if got, want := get(t, s, cookie, probeA), "a:13 a:12 a:11"; got != want {
		t.Errorf("within one set: got %q, want %q", got, want)
	}
}

// One portal too many, and the one written to least recently goes; those without items do not
// count.
func TestPortalsCountMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, func(l *server.Limits) { l.PortalsCountMax, l.SessionIdle = 3, 24*time.Hour }))
		cookie := login(t, s)
		view := func(want string) {
			t.Helper()
			if got := get(t, s, cookie, `{"portals":[]}`); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		set(t, s, cookie, "a:1", "b:1", "c:1")
		set(t, s, cookie, "a:2")
		get(t, s, cookie, `{"portals":[{"portalid":"b"}]}`) // reading does not count
		set(t, s, cookie, "d:1")
		view("d:1 a:2 c:1")
		set(t, s, cookie, "b:2")
		view("b:2 d:1 a:2")
		if got, want := get(t, s, cookie, `{"portals":[{"portalid":"b"},{"portalid":"c"}]}`), "b:2"; got != want {
			t.Errorf("a portal that came again: got %q, want %q", got, want)
		}
		set(t, s, cookie, "e:1", "f:1", "g:1", "h:1")
		view("h:1 g:1 f:1")

		pass(30 * time.Minute)
		set(t, s, cookie, "f:2")
		pass(31 * time.Minute) // g and h are empty now
		set(t, s, cookie, "i:1", "j:1")
		view("j:1 i:1 f:2")
	})
}

// The rate is of each key, refused requests do not count, and a steady 20 a second passes.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, func(l *server.Limits) { l.RequestsPerSecond = 20 }))
		cookie, sibling := login(t, s), login(t, s)
		second := loginAs(t, s, xrtctest.AccountID, secondKey)
		for i := range 20 {
			if w := post(t, s, pathGet, []string{cookie, sibling}[i%2], probeA); w.Code != http.StatusOK {
				t.Fatalf("request %d: %s", i, w.Body)
			}
		}
		for range 50 {
			w := post(t, s, pathSet, cookie, setBody(t, "a:1"))
			refused(t, w, http.StatusBadRequest, 2, 46)
			if got, want := w.Header().Get("Retry-After"), "1"; got != want {
				t.Errorf("got Retry-After %q, want %q", got, want)
			}
		}
		refused(t, post(t, s, pathGet, sibling, "not even JSON"), http.StatusBadRequest, 2, 46)
		refused(t, post(t, s, pathGet, "", probeA), http.StatusUnauthorized, 2, 10011)
		if got := get(t, s, second, probeA); got != "" {
			t.Errorf("got %q", got)
		}
		login(t, s) // logins do not count
		for i := range 200 {
			pass(50 * time.Millisecond)
			if w := post(t, s, pathGet, cookie, probeA); w.Code != http.StatusOK {
				t.Fatalf("steady request %d: %s", i, w.Body)
			}
		}
		refused(t, post(t, s, pathGet, cookie, probeA), http.StatusBadRequest, 2, 46)
	})
}

// The quota is of each account and calendar month.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t, func(l *server.Limits) { l.RequestsPerMonth, l.RequestsPerSecond = 5, 20 })
		now := newClock(time.Date(2026, time.November, 30, 23, 59, 0, 0, time.UTC).UnixMilli())
		c.Now = now.Now
		s := start(t, c)
		first, second := login(t, s), loginAs(t, s, xrtctest.AccountID, secondKey)
		other := loginAs(t, s, otherAccount, otherKey)
		for range 5 {
			get(t, s, first, probeA)
		}
		for range 30 { // more than the rate: what is refused does not count there, either
			w := post(t, s, pathGet, second, probeA)
			refused(t, w, http.StatusBadRequest, 2, 47)
			if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || seconds != 60 {
				t.Errorf("got Retry-After %q, want 60", w.Header().Get("Retry-After"))
			}
		}
		get(t, s, other, probeA)
		now.ms.Add(-31 * 24 * time.Hour.Milliseconds())
		// a clock that steps back gives no second quota
		refused(t, post(t, s, pathGet, first, probeA), http.StatusBadRequest, 2, 47)
		now.ms.Add(31*24*time.Hour.Milliseconds() + 60_000)
		get(t, s, first, probeA)
	})
}

func TestLimitsOff(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) {
		l.LoginTimeout, l.RequestsPerSecond, l.RequestsPerMonth, l.APIKeyAgeMax = 0, 0, 0, 0
	}))
	cookie := ""
	for range 50 {
		cookie = login(t, s)
	}
	for range 200 {
		get(t, s, cookie, probeA)
	}
}

// What items take in memory is bounded: the oldest of all portals go.
func TestAccountMemory(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.AccountMemory, l.ItemCountMax = 1<<20, 1 }))
	cookie := login(t, s)
	payload := strings.Repeat("x", 60_000)
	for i := range 40 {
		set(t, s, cookie, fmt.Sprintf("p%d:%s", i, payload), fmt.Sprintf("q%d:%d", i, i))
	}
	for portal, want := range map[string]bool{
		"p0": false, "q0": false, "q20": false, "p39": true, "q39": true,
		"q30": true,
	} {
		if got := get(t, s, cookie, `{"portals":[{"portalid":"`+portal+`"}]}`) != ""; got != want {
			t.Errorf("%s: got %t, want %t", portal, got, want)
		}
	}
}

// A portal that went so long ago that the account has forgotten it has all of its items for a
// session that knew it.
func TestForgottenPortalComesAgain(t *testing.T) {
	s := start(t, config(t, func(l *server.Limits) { l.PortalsCountMax = 10 }))
	cookie := login(t, s)
	fifo := `{"portals":[{"portalid":"a"}],"schedule":"FIFO"}`
	many := func(n int) (items []string) {
		for i := range n {
			items = append(items, fmt.Sprintf("a:%d", i))
		}
		return items
	}
	set(t, s, cookie, many(500)...)
	if got := len(strings.Fields(get(t, s, cookie, fifo))); got != 500 {
		t.Fatalf("got %d items, want 500", got)
	}
	for batch := range 101 {
		var items []string
		for i := range 100 {
			items = append(items, fmt.Sprintf("other%d:x", 100*batch+i))
		}
		set(t, s, cookie, items...)
	}
	set(t, s, cookie, many(600)...)
	if got := len(strings.Fields(get(t, s, cookie, fifo))); got != 600 {
		t.Errorf("got %d items, want 600", got)
	}
}
