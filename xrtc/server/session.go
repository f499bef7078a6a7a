package server

import (
	"cmp"
	"crypto/sha256"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	cookieName = "JSESSIONID"

	// maxSessions bounds the live sessions of an account; then the one that was used least recently goes.
	maxSessions = 10_000
)

// session is one login.
type session struct {
	account *account
	key     *key
	open    atomic.Int32 // requests at work
	used    atomic.Int64 // when it was, as a time.Duration

	id [sha256.Size]byte // the hash of its id

	positions map[string]*count // how far it has read each portal; guarded by account.mu
	ended     bool              // guarded by account.mu; nothing more is charged
}

// sessions are the live sessions by the hash of their ids.
type sessions struct {
	server *Server

	mu   sync.RWMutex // guards what follows
	byID map[[sha256.Size]byte]*session
	of   map[*account]map[*session]struct{}
}

func newSessions(s *Server) *sessions {
	return &sessions{server: s, byID: make(map[[sha256.Size]byte]*session), of: make(map[*account]map[*session]struct{})}
}

// add makes a session and returns its id.
func (ss *sessions) add(k *key) string {
	id := randomText(43) // 256 bits
	s := &session{account: k.account, key: k, id: sha256.Sum256([]byte(id)), positions: make(map[string]*count)}
	s.used.Store(int64(ss.server.mono()))
	k.account.reading.Add(sessionSize)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.trim(k.account)
	ss.byID[s.id] = s
	of := ss.of[k.account]
	if of == nil {
		of = make(map[*session]struct{})
		ss.of[k.account] = of
	}
	of[s] = struct{}{}
	return id
}

// shrink ends sessions of an account that take too much memory.
func (ss *sessions) shrink(a *account) {
	if a.readsTooMuch() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		ss.trim(a)
	}
}

func (a *account) readsTooMuch() bool {
	return a.reading.Load() > int64(a.server.limits.AccountMemory/4)
}

// trim ends the sessions of the account that were used least recently, an eighth of them at a time,
// while there are too many or they take too much memory. It leaves one.
func (ss *sessions) trim(a *account) {
	of := ss.of[a]
	for len(of) > 1 && (len(of) >= maxSessions || a.readsTooMuch()) {
		all := make([]lastUse, 0, len(of))
		for s := range of {
			all = append(all, lastUse{s, s.used.Load()})
		}
		slices.SortFunc(all, func(x, y lastUse) int { return cmp.Compare(x.used, y.used) })
		for _, old := range all[:max(1, len(all)/8)] {
			ss.remove(old.session)
		}
	}
}

// lastUse is when a session was used, at one moment.
type lastUse struct {
	*session
	used int64
}

func (ss *sessions) remove(s *session) {
	delete(ss.byID, s.id)
	delete(ss.of[s.account], s)
	if len(ss.of[s.account]) == 0 {
		delete(ss.of, s.account)
	}
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	s.account.reading.Add(-int64(sessionSize + len(s.positions)*positionSize))
	s.ended = true
}

// find returns the live session that the request names, held until its release is called. There may be cookies of
// that name that other servers on the host have set.
func (ss *sessions) find(r *http.Request) *session {
	for _, c := range r.CookiesNamed(cookieName) {
		if s := ss.hold(sha256.Sum256([]byte(c.Value))); s != nil {
			return s
		}
	}
	return nil
}

// hold returns the live session of that hash, which does not end before its release.
func (ss *sessions) hold(id [sha256.Size]byte) *session {
	ss.mu.RLock()
	defer ss.mu.RUnlock()
	s := ss.byID[id]
	if s == nil || s.expired(ss.server.mono()) {
		return nil
	}
	s.open.Add(1)
	return s
}

func (s *session) expired(now time.Duration) bool {
	return s.open.Load() == 0 && now-time.Duration(s.used.Load()) > s.account.server.limits.SessionIdle
}

// touch counts as use of the session and its key. A request that is refused does not.
func (s *session) touch() {
	now := int64(s.account.server.mono())
	s.used.Store(now)
	s.key.used.Store(now)
}

func (s *session) release() { s.open.Add(-1) }

func (ss *sessions) sweep(now time.Duration) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.byID {
		if s.expired(now) {
			ss.remove(s)
		}
	}
}

// position returns how far the session has read a portal; in no life of it if it never did. That of
// a portal that went need not be kept: all that it has when it comes again is new.
func (s *session) position(p *portal) *count {
	pos := s.positions[p.id]
	if pos != nil {
		return pos
	}
	if len(s.positions) >= 2*s.account.server.limits.PortalsCountMax {
		for name := range s.positions {
			if s.account.portals[name] == nil {
				delete(s.positions, name)
				s.chargePositions(-1)
			}
		}
	}
	pos = new(count)
	s.positions[p.id] = pos // the name of the portal: that of the request is larger than it looks
	s.chargePositions(1)
	return pos
}

// chargePositions charges the account for so many positions.
func (s *session) chargePositions(positions int64) {
	if !s.ended {
		s.account.reading.Add(positions * positionSize)
	}
}
