package server

import (
	"crypto/sha256"
	"net/http"
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

	positions map[string]*uint64 // how far it has read each portal: the ord of the next item; guarded by account.mu
}

// sessions are the live sessions by the hash of their ids.
type sessions struct {
	server *Server

	mu   sync.RWMutex // guards what follows
	byID map[[sha256.Size]byte]*session
	of   map[*account]int
}

func newSessions(s *Server) *sessions {
	return &sessions{server: s, byID: make(map[[sha256.Size]byte]*session), of: make(map[*account]int)}
}

// add makes a session and returns its id.
func (ss *sessions) add(k *key) string {
	id := randomText(43) // 256 bits
	s := &session{account: k.account, key: k, positions: make(map[string]*uint64)}
	s.used.Store(int64(ss.server.mono()))
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.of[k.account] >= maxSessions {
		ss.dropOldest(k.account)
	}
	ss.byID[sha256.Sum256([]byte(id))] = s
	ss.of[k.account]++
	return id
}

func (ss *sessions) dropOldest(a *account) {
	var oldest [sha256.Size]byte
	var found *session
	for id, s := range ss.byID {
		if s.account == a && (found == nil || s.used.Load() < found.used.Load()) {
			oldest, found = id, s
		}
	}
	if found != nil {
		ss.remove(oldest, found)
	}
}

func (ss *sessions) remove(id [sha256.Size]byte, s *session) {
	delete(ss.byID, id)
	if ss.of[s.account]--; ss.of[s.account] == 0 {
		delete(ss.of, s.account)
	}
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
	for id, s := range ss.byID {
		if s.expired(now) {
			ss.remove(id, s)
		}
	}
}

// position returns how far the session has read a portal, nil if it never did.
func (s *session) position(id string) *uint64 {
	if pos := s.positions[id]; pos != nil {
		return pos
	}
	// A client that makes names up must not fill the memory.
	if most := 1000 + 2*s.account.server.limits.PortalsCountMax; len(s.positions) >= most {
		for name := range s.positions {
			if s.account.portals[name] == nil {
				delete(s.positions, name)
			}
		}
	}
	return nil
}
