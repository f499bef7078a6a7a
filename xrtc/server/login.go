package server

import (
	"container/list"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readStrange(w, r)
	if err != nil {
		return inGroup(err, groupLogin, codeArguments)
	}
	values, err := wire.DecodeTexts(body, 2, "accountid", "apikey")
	if err != nil {
		return &refusal{group: groupLogin, code: codeArguments, text: err.Error()}
	}
	k, err := s.checkLogin(r, values[0], values[1])
	if err != nil {
		return err
	}
	if err := k.loggedIn(s); err != nil {
		return err
	}
	s.connLimit.serving(r, true)
	timestamp := k.account.time()
	c := http.Cookie{
		Name: cookieName, Value: s.sessions.add(k), Path: "/",
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
	h := w.Header()
	h.Add("Set-Cookie", c.String())
	h.Set(wire.LimitsHeader, s.announced)
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
	k.mu.Lock()
	defer k.mu.Unlock()
	now := s.mono()
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

// checkLogin returns the key of a right login. After a wrong one it waits, the longer the more
// logins of that address or account were refused. When too many wait, logins to an account that
// was guessed at from the same address are refused unseen: a refusal that says whether the key was
// right, and makes nobody wait, would let guesses pass as fast as they come.
func (s *Server) checkLogin(r *http.Request, account, key string) (*key, error) {
	from := origin(r.RemoteAddr)
	suspect := s.strikes.suspect(s.mono(), from, account)
	waits := suspect && s.strikes.enter()
	defer func() {
		if waits {
			s.strikes.leave()
		}
	}()
	if suspect && !waits {
		return nil, errManyLogins
	}
	if k := s.accounts.match(account, key); k != nil {
		return k, nil
	}
	delay, count := s.strikes.add(s.mono(), from, account)
	if count&(count-1) == 0 { // the first, second, fourth, … so that an attack does not fill the log
		s.log.WarnContext(r.Context(), "login refused", "address", host(r.RemoteAddr), "refused", count)
	}
	if delay > 0 {
		if waits = waits || s.strikes.enter(); !waits {
			return nil, errManyLogins
		}
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return nil, errGone
		case <-s.done:
		}
	}
	return nil, &refusal{
		group: groupLogin, code: codeCredentials,
		text: "unknown account or key, or a key that is disabled",
	}
}

var errManyLogins = &refusal{
	status: http.StatusTooManyRequests, group: groupLogin, code: codeRate, retryAfter: strikeDelayMax,
	text: "too many logins with wrong keys at a time",
}

// origin returns what has an address of its own in the network: an IPv4 address, or the network of
// 64 bits of an IPv6 address, whose hosts have as many addresses as they want.
func origin(address string) string {
	ip, err := netip.ParseAddr(host(address))
	if err != nil {
		return host(address)
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() || ip.IsLoopback() {
		return ip.String()
	}
	network, _ := ip.Prefix(64)
	return network.String()
}

func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}

// Refused logins are forgiven after a minute without another one. The first few are answered at
// once, and no more than some wait at a time: then there is no answer but 429.
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

	mu  sync.Mutex // guards what follows
	by  map[string]*list.Element
	all *list.List // of *strike, those without one for the longest time first
}

type strike struct {
	name  string
	count int
	last  time.Duration
}

func newStrikes() *strikes {
	return &strikes{waiting: make(chan struct{}, strikesWaiting), by: make(map[string]*list.Element), all: list.New()}
}

// add counts a refused login and returns how long its answer should wait, and how many
// there were.
func (s *strikes) add(now time.Duration, address, account string) (time.Duration, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byAddress, byAccount := names(address, account)
	count := s.count(now, byAddress)
	if byAccount != "" {
		count = max(count, s.count(now, byAccount))
	}
	if count <= strikesFree {
		return 0, count
	}
	return min(strikeDelayMax, strikeDelay<<min(count-strikesFree-1, 10)), count
}

// names are what refused logins are counted by. What can be no account is not remembered: it may be
// long. Those of this machine are counted apart: nobody elsewhere can slow them down.
func names(address, account string) (byAddress, byAccount string) {
	byAddress = "address " + address
	switch ip, err := netip.ParseAddr(address); {
	case wire.CheckAccountID(account) != "":
	case err == nil && ip.IsLoopback():
		byAccount = "here " + account
	default:
		byAccount = "account " + account
	}
	return byAddress, byAccount
}

// suspect reports whether a login is one of many to that account, or to what can be none, from that
// address.
func (s *strikes) suspect(now time.Duration, address, account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	byAddress, byAccount := names(address, account)
	return s.many(now, byAddress) && (byAccount == "" || s.many(now, byAccount))
}

func (s *strikes) many(now time.Duration, name string) bool {
	e := s.by[name]
	if e == nil {
		return false
	}
	k := e.Value.(*strike)
	return k.count >= strikesFree && now-k.last <= strikesForget
}

func (s *strikes) count(now time.Duration, name string) int {
	e := s.by[name]
	if e == nil {
		if len(s.by) >= strikesMost { // an attack from many addresses, or at many accounts
			s.forget(s.all.Front())
		}
		e = s.all.PushBack(&strike{name: name})
		s.by[name] = e
	}
	k := e.Value.(*strike)
	if now-k.last > strikesForget {
		k.count = 0
	}
	k.count++
	k.last = now
	s.all.MoveToBack(e)
	return k.count
}

func (s *strikes) forget(e *list.Element) { delete(s.by, s.all.Remove(e).(*strike).name) }

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
	for e := s.all.Front(); e != nil && now-e.Value.(*strike).last > strikesForget; e = s.all.Front() {
		s.forget(e)
	}
}
