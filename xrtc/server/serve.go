package server

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Times that a client has, beside those of the protocol.
const (
	headerTimeout = 5 * time.Second
	slack         = 5 * time.Second // beyond the longest stream, for sending the body and for reading the answer
	idleTimeout   = 5 * time.Minute // well above the idle time of sessions: clients do not expect to be hung up on before
	maxHeader     = 16 << 10
)

func (s *Server) newHTTPServer() *http.Server {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       s.limits.GetItemTimeout + slack,
		WriteTimeout:      s.limits.GetItemTimeout + slack,
		IdleTimeout:       max(idleTimeout, 2*s.limits.SessionIdle),
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext:       s.connLimit.admit,
		ConnState:         s.connLimit.changed,
		Protocols:         new(http.Protocols),
	}
	h.Protocols.SetHTTP1(true)
	s.connLimit = connLimit{
		most: s.limits.Connections, each: s.limits.ConnectionsEach,
		all: make(map[net.Conn]*member), origins: make(map[string]int),
	}
	return h
}

// Serve serves the connections that l accepts, with HTTP/1.1, until Shutdown or Close; then it
// returns nil. It may be called for several listeners; wrap them by [crypto/tls.NewListener] for
// TLS. A client has 5 s for the headers of a request, 5 s for a body without session, and
// GetItemTimeout and 5 s more for any body and for taking the answer.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends watches and streams as their time-out would, and returns when every request is
// answered or ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endWaits()
	return s.http.Shutdown(ctx)
}

// Close ends everything at once. It may be called after Shutdown, and more than once.
func (s *Server) Close() error {
	s.endWaits()
	return s.http.Close()
}

// connLimit bounds the connections, in all and from one origin. When there are too many, the oldest
// stranger goes, which is what an attacker has many of, then the one that is idle longest; if all
// are at work, the new one goes.
type connLimit struct {
	most, each int // each 0: no limit

	mu      sync.Mutex // guards what follows
	all     map[net.Conn]*member
	origins map[string]int // how many there are of each

	// strangers are members that have shown neither a session nor, yet, a whole request; idle ones
	// had a session and wait for another request. Both are in order of arrival, or of their last
	// answer.
	strangers, idle list.List
}

// here is the origin of connections from this machine: a proxy on it brings those of everybody, and
// each is not about them.
const here = ""

// member is a connection among others.
type member struct {
	conn   net.Conn
	origin string
	known  bool          // its last request had a session, or made one
	in     *list.Element // of strangers or idle; nil: it is at work
}

// memberKey is the key of the member in the context of a connection.
type memberKey struct{}

// admit is the ConnContext hook of the HTTP server: it makes room for a connection, or closes it.
func (c *connLimit) admit(ctx context.Context, conn net.Conn) context.Context {
	from := origin(conn.RemoteAddr().String())
	if ip, err := netip.ParseAddr(from); err == nil && ip.IsLoopback() {
		from = here
	}
	m, victim := c.add(conn, from)
	if victim != nil {
		_ = victim.Close()
	}
	return context.WithValue(ctx, memberKey{}, m)
}

// add adds a connection and returns one that has to go, if there are too many.
func (c *connLimit) add(conn net.Conn, from string) (m *member, victim net.Conn) {
	m = &member{conn: conn, origin: from}
	c.mu.Lock()
	defer c.mu.Unlock()
	if over := c.each > 0 && from != here && c.origins[from] >= c.each; over || len(c.all) >= c.most {
		old := c.oldest(from, over)
		if old == nil {
			return m, conn
		}
		victim = old.conn
		c.forget(old)
	}
	c.all[conn] = m
	c.origins[from]++
	m.in = c.strangers.PushBack(m)
	return m, victim
}

// serving notes that a request is being answered: it has a session, which is known, or is there to
// its end. Until then a stranger may not keep others out.
func (c *connLimit) serving(r *http.Request, known bool) {
	if m, _ := r.Context().Value(memberKey{}).(*member); m != nil { // it came by Serve
		c.atWork(m, known)
	}
}

func (c *connLimit) atWork(m *member, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.known = known
	c.unlist(m)
}

// changed is the ConnState hook of the HTTP server.
func (c *connLimit) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateNew || state == http.StateActive {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.all[conn]
	switch {
	case m == nil: // it was a victim
	case state != http.StateIdle:
		c.forget(m)
	default:
		c.unlist(m)
		l := &c.strangers
		if m.known {
			l = &c.idle
		}
		m.in = l.PushBack(m)
		m.known = false
	}
}

// oldest returns the connection that is needed least, of that origin only if same says so, nil if
// all are at work.
func (c *connLimit) oldest(from string, same bool) *member {
	for _, l := range []*list.List{&c.strangers, &c.idle} {
		for e := l.Front(); e != nil; e = e.Next() {
			if m := e.Value.(*member); !same || m.origin == from {
				return m
			}
		}
	}
	return nil
}

func (c *connLimit) unlist(m *member) {
	if m.in != nil { // of one of them
		c.strangers.Remove(m.in)
		c.idle.Remove(m.in)
		m.in = nil
	}
}

func (c *connLimit) forget(m *member) {
	c.unlist(m)
	if c.origins[m.origin]--; c.origins[m.origin] == 0 {
		delete(c.origins, m.origin)
	}
	delete(c.all, m.conn)
}
