package server

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
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
		ConnState:         s.connLimit.changed,
		Protocols:         new(http.Protocols),
	}
	h.Protocols.SetHTTP1(true)
	s.connLimit.most, s.connLimit.all = s.limits.Connections, make(map[net.Conn]*list.Element)
	return h
}

// Serve serves the connections that l accepts, with HTTP/1.1, until Shutdown or Close; then it returns nil. It may be
// called for several listeners; wrap them by [crypto/tls.NewListener] for TLS. A client has 5 s for the
// headers of a request, and GetItemTimeout and 5 s more for its body and for taking the answer.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends watches and streams as their time-out would, and returns when every request is answered or ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endWaits()
	return s.http.Shutdown(ctx)
}

// Close ends everything at once. It may be called after Shutdown, and more than once.
func (s *Server) Close() error {
	s.endWaits()
	return s.http.Close()
}

// connLimit bounds the connections. When there are too many, the oldest that never sent a whole request
// header goes, which is what an attacker has many of, then the one that is idle longest; if all are at work, the
// new one goes.
type connLimit struct {
	most int

	mu     sync.Mutex // guards what follows
	all    map[net.Conn]*list.Element
	silent list.List // net.Conns that never sent a request, in order of arrival
	idle   list.List // net.Conns that wait for another one, in order of their last answer
}

// changed is the ConnState hook of the HTTP server.
func (c *connLimit) changed(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		_ = victim.Close()
	}
}

// note notes what became of a connection and returns one that has to go, if there are too many.
func (c *connLimit) note(conn net.Conn, state http.ConnState) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew {
		if len(c.all) >= c.most {
			if victim = c.oldest(); victim == nil {
				return conn
			}
			c.forget(victim)
		}
		c.all[conn] = c.silent.PushBack(conn)
		return victim
	}
	if _, known := c.all[conn]; !known { // it is a victim
		return nil
	}
	c.forget(conn)
	switch state {
	case http.StateActive:
		c.all[conn] = nil
	case http.StateIdle:
		c.all[conn] = c.idle.PushBack(conn)
	default: // closed
	}
	return nil
}

// oldest returns the connection that is needed least, nil if all are at work.
func (c *connLimit) oldest() net.Conn {
	for _, l := range []*list.List{&c.silent, &c.idle} {
		if e := l.Front(); e != nil {
			return e.Value.(net.Conn)
		}
	}
	return nil
}

func (c *connLimit) forget(conn net.Conn) {
	if e := c.all[conn]; e != nil { // it is in one of them
		c.silent.Remove(e)
		c.idle.Remove(e)
	}
	delete(c.all, conn)
}
