// Package xrtctest starts a real portal server for tests and examples.
package xrtctest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

// The account that a Server has if its configuration names none.
const (
	AccountID = "AC0987654321012345"
	APIKey    = "abcdefghijklmnopqrstuvwxyz012345"
)

// Server is a running server.
type Server struct {
	*server.Server
	URL  string // http://localhost:port
	Addr string // 127.0.0.1:port

	serving sync.WaitGroup
	failed  error
}

// Listen starts a server on a free loopback port. Without accounts in c it has one, with [AccountID] and [APIKey].
func Listen(c server.Config) (*Server, error) {
	if len(c.Accounts) == 0 {
		key, err := server.ParseKey(APIKey)
		if err != nil {
			return nil, err
		}
		c.Accounts = []server.Account{{ID: AccountID, Keys: []server.Key{key}}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().String()}
	_, port, _ := net.SplitHostPort(s.Addr)
	s.URL = "http://localhost:" + port
	if s.Server, err = server.New(c); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.serving.Go(func() { s.failed = s.Serve(l) })
	return s, nil
}

// Config returns what a client of the default account needs.
func (s *Server) Config() xrtc.Config {
	return xrtc.Config{AccountID: AccountID, APIKey: APIKey, BaseURL: "http://" + s.Addr, Environ: []string{}}
}

// Stop ends the server: streams first, as their time-out would.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // others may have the machine
	defer cancel()
	err := errors.Join(s.Shutdown(ctx), s.Close())
	s.serving.Wait()
	return errors.Join(err, s.failed)
}

// Start is Listen for a test, at whose end the server is stopped.
func Start(t testing.TB, c server.Config) *Server {
	t.Helper()
	s, err := Listen(c)
	if err != nil {
		t.Fatalf("start a portal server: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the portal server: %v", err)
		}
	})
	return s
}

// Client returns a logged-in client of the default account. The test's end closes it.
func (s *Server) Client(t testing.TB) *xrtc.Client {
	t.Helper()
	c, err := xrtc.Open(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// New starts a server with the limits of hosting it oneself and returns a client of it: one call for a test that
// just needs portals.
func New(t testing.TB) *xrtc.Client {
	t.Helper()
	return Start(t, server.Config{}).Client(t)
}
