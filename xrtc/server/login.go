package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) error {
	body, free, err := s.readBody(w, r, mostPayload)
	if err != nil {
		return inGroup(err, groupLogin, codeArguments)
	}
	values, err := wire.DecodeTexts(body, 2, "accountid", "apikey")
	free()
	if err != nil {
		return &refusal{group: groupLogin, code: codeArguments, text: err.Error()}
	}
	k := s.accounts.match(values[0], values[1])
	if k == nil {
		return s.refuseLogin(r, values[0])
	}
	if err := k.loggedIn(s); err != nil {
		return err
	}
	timestamp := k.account.time()
	c := http.Cookie{
		Name: cookieName, Value: s.sessions.add(k), Path: "/",
		HttpOnly: true, Secure: r.TLS != nil,
	}
	h := w.Header()
	h.Add("Set-Cookie", c.String())
	h.Set(wire.LimitsHeader, s.announced)
	h.Set("Cache-Control", "no-store")
	s.log.DebugContext(r.Context(), "login", "account", k.account.id, "address", host(r.RemoteAddr))
	answer(w, http.StatusOK, wire.AppendTimestamp(nil, timestamp))
	return nil
}

// inGroup moves a refusal to the group and code of another call.
func inGroup(err error, group, code int) error {
	if r, ok := err.(*refusal); ok { //nolint:errorlint // it is made by readBody
		return &refusal{group: group, code: code, text: r.text}
	}
	return err
}

// loggedIn notes a login, or refuses it since the last one is not long enough ago.
func (k *key) loggedIn(s *Server) error {
	now := s.mono()
	k.mu.Lock()
	defer k.mu.Unlock()
	if wait := k.login + s.limits.LoginTimeout - now; k.logins && wait > 0 {
		return &refusal{
			group: groupLogin, code: codeFrequentLogin, retryAfter: wait,
			text: fmt.Sprintf("this key logged in less than %v ago", s.limits.LoginTimeout),
		}
	}
	k.login, k.logins = now, true
	k.used.Store(int64(now))
	return nil
}

// refuseLogin waits, the longer the more logins of that address or account were refused, and
// returns the refusal.
func (s *Server) refuseLogin(r *http.Request, account string) error {
	address := host(r.RemoteAddr)
	delay, count := s.strikes.add(s.mono(), address, account)
	if count&(count-1) == 0 { // the first, second, fourth, … so that an attack does not fill the log
		s.log.WarnContext(r.Context(), "login refused", "address", address, "refused", count)
	}
	if delay > 0 && s.strikes.enter() {
		defer s.strikes.leave()
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return errGone
		case <-s.done:
		}
	}
	return &refusal{group: groupLogin, code: codeCredentials, text: "unknown account or key, or a key that is disabled"}
}

func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}

// Refused logins are forgiven after a minute without another one. The first few are answered at once,
// and no more than some wait at a time.
const (
	strikesFree    = 4
	strikesForget  = time.Minute
	strikesMost    = 10_000 // addresses and accounts that are remembered
	strikesWaiting = 256
	strikeDelay    = 50 * time.Millisecond
	strikeDelayMax = 3 * time.Second
)

// strikes counts refused logins by address and by account.
type strikes struct {
	waiting chan struct{}

	mu sync.Mutex // guards by
	by map[string]strike
}

type strike struct {
	count int
	last  time.Duration
}

func newStrikes() *strikes {
	return &strikes{waiting: make(chan struct{}, strikesWaiting), by: make(map[string]strike)}
}

// add counts a refused login and returns how long its answer should wait, and how many
// there were.
func (s *strikes) add(now time.Duration, address, account string) (time.Duration, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.count(now, "address "+address)
	ip, err := netip.ParseAddr(address)
	// What can be no account is not remembered: it may be 64 kB long.
	if (err != nil || !ip.IsLoopback()) && accountID.MatchString(account) {
		count = max(count, s.count(now, "account "+account))
	}
	if count <= strikesFree {
		return 0, count
	}
	return min(strikeDelayMax, strikeDelay<<min(count-strikesFree-1, 10)), count
}

func (s *strikes) count(now time.Duration, name string) int {
	k := s.by[name]
	if now-k.last > strikesForget {
		k.count = 0
	}
	if k.count == 0 && len(s.by) >= strikesMost {
		clear(s.by) // an attack from many addresses; their delay begins anew
	}
	k.count++
	k.last = now
	s.by[name] = k
	return k.count
}

func (s *strikes) enter() bool {
	select {
	case s.waiting <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *strikes) leave() { <-s.waiting }

func (s *strikes) sweep(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, k := range s.by {
		if now-k.last > strikesForget {
			delete(s.by, name)
		}
	}
}
