package server

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newTestServer makes a server with that many accounts of one key each.
func newTestServer(t *testing.T, accounts int) (*Server, []*key) {
	t.Helper()
	var c Config
	for i := range accounts {
		_, k := NewKey()
		c.Accounts = append(c.Accounts, Account{ID: fmt.Sprintf("AC%04d", i), Keys: []Key{k}})
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var keys []*key
	for _, a := range c.Accounts {
		keys = append(keys, s.accounts.find(a.ID).keys[0])
	}
	return s, keys
}

// S15: session ids never repeat, have 256 bits, and only their hashes are kept.
func TestSessionIDs(t *testing.T) {
	const n = 100_000
	s, keys := newTestServer(t, n/maxSessions)
	form := regexp.MustCompile(`^[A-Za-z0-9]{43}$`)
	seen := make(map[string]bool, n)
	letters := make(map[rune]int)
	for i := range n {
		id := s.sessions.add(keys[i%len(keys)])
		if seen[id] || !form.MatchString(id) {
			t.Fatalf("id %d: got %q", i, id)
		}
		seen[id] = true
		for _, c := range id {
			letters[c]++
		}
	}
	if got := len(s.sessions.byID); got != n {
		t.Errorf("got %d sessions, want %d", got, n)
	}
	for id := range seen {
		if s.sessions.byID[sha256.Sum256([]byte(id))] == nil {
			t.Fatal("a session is not kept by the hash of its id")
		}
	}
	for c, got := range letters { // within 2 %, of which one in a million trials is outside
		if want := n * 43 / 62; got < want*98/100 || got > want*102/100 || len(letters) != 62 {
			t.Errorf("%c came %d times, want about %d", c, got, want)
		}
	}
}

// An account has so many sessions; then those used least recently go, and those of others stay.
func TestSessionsMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := newTestServer(t, 2)
		alive := func(id string) bool {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
			r.AddCookie(&http.Cookie{Name: cookieName, Value: id})
			found := s.sessions.find(r)
			if found == nil {
				return false
			}
			found.release()
			return true
		}
		other, first := s.sessions.add(keys[1]), s.sessions.add(keys[0])
		<-time.After(time.Second)
		second := s.sessions.add(keys[0])
		<-time.After(time.Second)
		for range maxSessions - 2 {
			s.sessions.add(keys[0])
		}
		<-time.After(time.Second) // of what was used at one moment, any goes
		s.sessions.byID[sha256.Sum256([]byte(first))].touch()
		last := s.sessions.add(keys[0])
		if !alive(other) || !alive(first) || alive(second) || !alive(last) {
			t.Errorf("got other %t, first %t, second %t, last %t", alive(other), alive(first), alive(second), alive(last))
		}
		if got, want := len(s.sessions.of[keys[0].account]), maxSessions-maxSessions/8; got < want {
			t.Errorf("got %d sessions, want %d", got, want)
		}
	})
}

// What has expired is thrown away without anybody asking for it.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, keys := newTestServer(t, 1)
		s.registrar = newRegistrar(s, nil, nil)
		id := s.sessions.add(keys[0])
		post := func(path, body string) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
			r.AddCookie(&http.Cookie{Name: cookieName, Value: id})
			s.ServeHTTP(httptest.NewRecorder(), r)
		}
		post("/v1/item/set", `{"items":[{"portalid":"a","payload":"1"}]}`)
		post("/v1/auth/login", `{"accountid":"AC9999","apikey":"x"}`)
		if _, _, _, err := s.registrar.begin("a@b.c", "", "here"); err != nil {
			t.Fatal(err)
		}
		a := keys[0].account
		count := func() string {
			for _, l := range []sync.Locker{&s.sessions.mu, &a.mu, &s.strikes.mu, &s.registrar.mu} {
				l.Lock()
				defer l.Unlock()
			}
			return fmt.Sprint(len(s.sessions.byID), len(s.sessions.of), len(a.portals), a.bytes.Load() > goneSize,
				len(s.strikes.by), len(s.registrar.open))
		}
		for _, step := range []struct {
			after time.Duration
			want  string // sessions, accounts with some, portals, bytes, strikes, registrations
		}{
			{0, "1 1 1 true 2 1"},
			{2*time.Minute + time.Second, "0 0 1 true 0 1"},
			{9 * time.Minute, "0 0 1 true 0 0"},
			{50 * time.Minute, "0 0 0 false 0 0"},
		} {
			<-time.After(step.after)
			synctest.Wait()
			if got := count(); got != step.want {
				t.Errorf("after %v more: got %s, want %s", step.after, got, step.want)
			}
		}
	})
}
