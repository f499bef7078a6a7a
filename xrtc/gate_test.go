package xrtc_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

const (
	loginPath = "/v1/auth/login"
	setPath   = "/v1/item/set"
	getPath   = "/v1/item/get"

	secondKey = "012345abcdefghijklmnopqrstuvwxyz" // of the same account
)

// gate stands before a server: it counts, can forget sessions, and misbehaves as a test wants.
type gate struct {
	server *server.Server
	hook   func(w http.ResponseWriter, r *http.Request) bool // reports whether it has answered; may be nil

	logins, loggingIn, mostLoggingIn, sets, gets atomic.Int64

	mu      sync.Mutex // guards cookies
	cookies map[string]bool
}

func newGate(t testing.TB, limits server.Limits) *gate {
	t.Helper()
	var keys []server.Key
	for _, text := range []string{xrtctest.APIKey, secondKey} {
		key, err := server.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	s, err := server.New(server.Config{Limits: limits, Accounts: []server.Account{{ID: xrtctest.AccountID, Keys: keys}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &gate{server: s, cookies: make(map[string]bool)}
}

// quick returns limits for tests of time-outs.
func quick() server.Limits {
	l := server.Open()
	l.GetItemTimeout, l.LoginTimeout = 100*time.Millisecond, 0
	return l
}

// forget makes the server know no session any more.
func (g *gate) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.cookies)
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case loginPath:
		g.logins.Add(1)
		for now, most := g.loggingIn.Add(1), g.mostLoggingIn.Load(); now > most &&
			!g.mostLoggingIn.CompareAndSwap(most, now); {
			most = g.mostLoggingIn.Load()
		}
		defer g.loggingIn.Add(-1)
	case setPath:
		g.sets.Add(1)
	case getPath:
		g.gets.Add(1)
	}
	if g.hook != nil && g.hook(w, r) {
		return
	}
	g.mu.Lock()
	known := g.cookies[r.Header.Get("Cookie")]
	g.mu.Unlock()
	if !known {
		r.Header.Del("Cookie")
	}
	g.server.ServeHTTP(w, r)
	if r.URL.Path == loginPath {
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		g.mu.Lock()
		g.cookies[cookie] = true
		g.mu.Unlock()
	}
}

// listen serves the gate on loopback and returns what a client needs.
func (g *gate) listen(t testing.TB) xrtc.Config {
	t.Helper()
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return account(s.URL)
}

func account(url string) xrtc.Config {
	return xrtc.Config{AccountID: xrtctest.AccountID, APIKey: xrtctest.APIKey, BaseURL: url, Environ: []string{}}
}

func open(t testing.TB, c xrtc.Config) *xrtc.Client {
	t.Helper()
	client, err := xrtc.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func set(t testing.TB, c *xrtc.Client, portal string, payloads ...string) time.Time {
	t.Helper()
	at, err := c.Set(t.Context(), items(portal, payloads...)...)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func items(portal string, payloads ...string) []xrtc.Item {
	var all []xrtc.Item
	for _, p := range payloads {
		all = append(all, xrtc.Item{PortalID: portal, Payload: p})
	}
	return all
}

func payloads(items []xrtc.Item) []string {
	var all []string
	for _, it := range items {
		all = append(all, it.Payload)
	}
	return all
}

// bubble runs f with the clock of synctest, and a gate that is reached without the network.
func bubble(t *testing.T, limits server.Limits, f func(t *testing.T, g *gate, c xrtc.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, limits)
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		s := &http.Server{Handler: g}
		var serving sync.WaitGroup
		serving.Go(func() { _ = s.Serve(l) })
		transport := &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 100}
		c := account("http://portal.test")
		c.Transport = transport
		f(t, g, c)
		transport.CloseIdleConnections()
		_ = s.Close()
		serving.Wait()
	})
}

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
	case <-ctx.Done():
	}
	return nil, net.ErrClosed
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// roundTrip is a transport that is a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply makes an answer.
func reply(r *http.Request, status int, body string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Add(header[i], header[i+1])
	}
	return resp
}

// agreeable is a transport that lets everyone log in and answers every request by {}.
func agreeable(see func(*http.Request, string)) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		see(r, string(body))
		if strings.HasSuffix(r.URL.Path, loginPath) {
			return reply(r, http.StatusOK, `{"servertimestamp":1}`, "Set-Cookie", "JSESSIONID=1; Path=/"), nil
		}
		return reply(r, http.StatusOK, `{}`), nil
	}
}
