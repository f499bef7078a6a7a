// Package server is the portal API as an [http.Handler]: log in, set items, get them in probe,
// watch or stream mode. It holds everything in memory.
//
// # Protocol
//
// It serves what the public API documentation describes, to the Python SDK and to curl as that
// documentation shows them. Beyond it, a login is answered with the header Xrtc-Limits, from which
// the Go SDK learns the limits. A get that asks for it by Prefer: xrtc-places is told in the field
// places which item of its portal the first one of each portal is:
// {"places":{"kitchen":{"life":5,"number":91}}}. Items of a portal are numbered from 1 without
// gaps, over the portal's going and coming again, as long as the server runs and remembers the
// portal; then another life begins. With "after":{"life":5,"number":90} a portal of a get has a
// fresh session begin there, and with "except":["kitchen"] a get without portals leaves some out.
//
// # Order and loss
//
// The items of an account have one order, and timestamps that never go back, even if the clock
// does. A portal is a ring: when it is full, or an item is older than allowed, the oldest goes,
// read or not. Ages, sessions and time-outs go by the monotonic clock.
//
// # Safety
//
// Keys are kept as SHA-256 hashes, which is enough since they are random and 190 bits long, and
// compared in constant time. Session ids have 256 bits and are kept hashed, too. A refused login is
// answered later each time, per address (IPv6: network of 64 bits) and account, while a right one
// is answered at once, so that nobody can lock an owner out. Only while 256 wrong ones wait, logins
// to an account that was guessed at from the same address are answered 429, unseen. Codes of
// registrations have 50 bits and a few tries, and no address or network can have many of them at a
// time. What an account takes in memory is bounded, see [Limits]. Web pages of other origins, and
// requests over loopback for a name that is not in [Config] as Hosts, are refused with 403.
//
// [Server.Serve] bounds headers, bodies, times and connections, in all and from one address;
// connections without session or whole request go first. Who mounts the handler in an [http.Server]
// of his own should set its timeouts above GetItemTimeout and its IdleTimeout above SessionIdle.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Config says what a server serves. The zero value serves nobody.
type Config struct {
	Accounts []Account

	// Limits are in force for every account. The zero value means [Open].
	Limits Limits

	// Mailer sends the codes of registrations. nil switches registration off.
	Mailer Mailer

	// Registered, if not nil, is called with each account that registration is about to make or to
	// give a key to, for whoever wants to keep it: the server itself forgets it when it ends. After
	// an error nothing is given.
	Registered func(Account) error

	// Logger is told about logins and faults; nil discards.
	Logger *slog.Logger

	// Hosts are names by which this machine may be asked for the server over loopback, by a proxy
	// that passes Host on for example. localhost and addresses of loopback need not be among them.
	Hosts []string

	// Now is the clock of the timestamps; nil is time.Now. It may step back.
	Now func() time.Time
}

// Server is the portal API. Its methods are safe for use by several goroutines.
type Server struct {
	limits      Limits
	log         *slog.Logger
	now         func() time.Time
	start       time.Time // has a monotonic reading
	accounts    *accounts
	sessions    *sessions
	strikes     *strikes
	hosts       map[string]bool
	registrar   *registrar // nil: registration is off
	http        *http.Server
	connLimit   connLimit
	crossOrigin http.CrossOriginProtection
	announced   string
	done        chan struct{} // closed when streams are to end
	closeDone   func()
	sweepTimer  *time.Timer
}

var _ http.Handler = (*Server)(nil)

// New returns a server. An error names the account or limit that is wrong. Close or Shutdown frees
// it.
func New(c Config) (*Server, error) {
	if c.Limits == (Limits{}) {
		c.Limits = Open()
	}
	if err := c.Limits.Check(); err != nil {
		return nil, err
	}
	s := &Server{
		limits:    c.Limits,
		log:       c.Logger,
		now:       c.Now,
		start:     time.Now(),
		strikes:   newStrikes(),
		announced: c.Limits.announce(),
		hosts:     make(map[string]bool),
		done:      make(chan struct{}),
	}
	s.closeDone = sync.OnceFunc(func() { close(s.done) })
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, name := range c.Hosts {
		s.hosts[strings.ToLower(name)] = true
	}
	s.accounts = newAccounts(s)
	s.sessions = newSessions(s)
	for _, a := range c.Accounts {
		if err := s.accounts.add(a); err != nil {
			return nil, err
		}
	}
	if c.Mailer != nil {
		s.registrar = newRegistrar(s, c.Mailer, c.Registered)
	}
	s.http = s.newHTTPServer()
	s.sweepTimer = time.AfterFunc(math.MaxInt64, s.sweep) // sweep reads the field, so it must not begin before that is set
	s.sweepTimer.Reset(sweepEvery)
	return s, nil
}

// sweepEvery is how often what has expired is thrown away. It does not decide what has.
const sweepEvery = time.Minute

func (s *Server) sweep() {
	now := s.mono()
	s.sessions.sweep(now)
	s.accounts.sweep(now)
	s.strikes.sweep(now)
	s.registrar.sweep(now)
	select {
	case <-s.done:
	default:
		s.sweepTimer.Reset(sweepEvery)
	}
}

// mono is the monotonic time since the start.
func (s *Server) mono() time.Duration { return time.Since(s.start) }

// endWaits ends open watches and streams as their time-out would.
func (s *Server) endWaits() {
	s.closeDone()
	s.sweepTimer.Stop()
}

// ServeHTTP answers one call of the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recovered(w, r)
	h := w.Header()
	h["X-Content-Type-Options"], h["Cache-Control"] = noSniff, noStore
	if len(r.TransferEncoding) > 0 {
		// It may have had a Content-Length beside it, of which net/http tells nothing, and by which
		// a proxy may have found another end of this request.
		h.Set("Connection", "close")
	}
	if err := s.checkBrowser(r); err != nil {
		s.fail(w, err)
		return
	}
	switch r.URL.Path {
	case "/v1/item/set":
		s.withSession(w, r, s.serveSet)
	case "/v1/item/get":
		s.withSession(w, r, s.serveGet)
	case "/v1/auth/login":
		s.post(w, r, s.serveLogin)
	case "/v1/auth/registrationstart", "/v1/auth/registrationcode":
		switch {
		case s.registrar == nil:
			refuse(w, &refusal{
				status: http.StatusNotFound, group: groupSystem, code: codeArguments,
				text: "registration is switched off on this server",
			})
		case r.URL.Path == "/v1/auth/registrationstart":
			s.post(w, r, s.registrar.serveStart)
		default:
			s.post(w, r, s.registrar.serveCode)
		}
	default:
		refuse(w, &refusal{
			status: http.StatusNotFound, group: groupSystem, code: codeArguments,
			text: "unknown path; the API is below /v1/auth/ and /v1/item/",
		})
	}
}

// post calls serve if the method is right.
func (s *Server) post(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request) error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, &refusal{
			status: http.StatusMethodNotAllowed, group: groupSystem, code: codeArguments,
			text: "every call of this API is a POST",
		})
		return
	}
	if err := serve(w, r); err != nil {
		s.fail(w, err)
	}
}

// withSession calls serve with the session that the request names. Nothing else of a request
// without one is looked at.
func (s *Server) withSession(w http.ResponseWriter, r *http.Request,
	serve func(http.ResponseWriter, *http.Request, *session) error,
) {
	s.post(w, r, func(w http.ResponseWriter, r *http.Request) error {
		sess := s.sessions.find(r)
		if sess == nil {
			return errNoSession
		}
		defer sess.release()
		s.connLimit.serving(r, true)
		size := workSize(r)
		if err := sess.account.take(size); err != nil {
			return err
		}
		defer sess.account.giveBack(size)
		if err := sess.key.allow(s); err != nil {
			return err
		}
		return serve(w, r, sess)
	})
}

// fail answers with the error.
func (s *Server) fail(w http.ResponseWriter, err error) {
	var r *refusal
	switch {
	case errors.Is(err, errGone):
		panic(http.ErrAbortHandler) // or net/http would complete an answer that says nothing and looks like success
	case errors.As(err, &r):
		refuse(w, r)
	default:
		panic(err)
	}
}

// recovered answers a panic without telling what it was.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http means this very value
		panic(p)
	}
	id := randomText(8)
	s.log.Error("panic in the portal server", "id", id, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack",
		string(debug.Stack()))
	refuse(w, &refusal{
		status: http.StatusInternalServerError, group: groupSystem, code: codeInternal,
		text: "internal error " + id,
	})
}
