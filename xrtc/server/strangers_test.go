package server_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// S42: whoever has no key keeps nobody out, however many connections there are, from one address or
// from this machine: with slow headers, slow bodies, bodies nobody asked for, or after an answer.
func TestS42StrangersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	const most = 60
	slow := func(path string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{"
	}
	for name, tt := range map[string]struct {
		text   string
		answer string // it waits for that
	}{
		"nothing":    {},
		"header":     {text: "POST " + pathLogin},
		"login body": {text: slow(pathLogin)},
		"login in chunks": {text: "POST " + pathLogin +
			" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"},
		"registration body": {text: slow(pathStart)},
		"code body":         {text: slow(pathCode)},
		"no session":        {text: slow(pathSet)},
		"wrong session":     {text: strings.Replace(slow(pathGet), "Host:", "Cookie: JSESSIONID=x\r\nHost:", 1)},
		"no such path":      {text: slow("/x")},
		"idle":              {text: rawPost(pathSet, "", "{}"), answer: "HTTP/1.1 401"},
		"slow once more":    {text: rawPost(pathSet, "", "{}") + slow(pathLogin), answer: "HTTP/1.1 401"},
		"from elsewhere":    {text: rawPost("/x", "", "{}"), answer: "HTTP/1.1 404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, func(l *server.Limits) { l.Connections, l.GetItemTimeout = most, time.Hour })
			c.Mailer = new(mailer)
			s, l := serve(t, c)
			cookie := login(t, s)
			stream, idle := dial(t, l.Addr().String()), dial(t, l.Addr().String())
			stream.post(pathGet, cookie, streamA)
			stream.head()
			ask := func(c *wireConn, path, body string) {
				t.Helper()
				c.post(path, cookie, body)
				if status, body := c.answer(); status != "200 OK" {
					t.Fatalf("%s: got %s and %s", path, status, body)
				}
			}
			ask(idle, pathGet, probeA)
			l.far.Store(name == "from elsewhere")
			for i := range 3 * most {
				c := dial(t, l.Addr().String())
				c.send(tt.text)
				if tt.answer != "" {
					if got, err := c.r.Peek(len(tt.answer)); err != nil || string(got) != tt.answer {
						t.Fatalf("got %q, %v", got, err)
					}
				}
				if i%10 == 0 && i > most { // and the one that was not needed longest makes room
					c := dial(t, l.Addr().String())
					ask(c, pathLogin, loginBody(xrtctest.AccountID, xrtctest.APIKey))
					_ = c.Close()
				}
			}
			waitUntil(t, func() bool { return l.open.Load() <= most+1 })
			ask(idle, pathSet, setBody(t, "a:1"))
			if got, want := show(t, stream.chunk()), "a:1"; got != want {
				t.Errorf("the stream: got %q, want %q", got, want)
			}
		})
	}
}

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   atomic.Bool
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
	if p.once.CompareAndSwap(false, true) {
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { c, _ := net.Pipe(); return c.LocalAddr() }

// S42: a request without session has 4 kB and five seconds for its body, one with a session what
// the limits say; and a login that waits for its refusal is not cut off by that time.
func TestS42BodiesWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t, nil)
		c.Mailer = new(mailer)
		s := start(t, c)
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		cookie := login(t, s)
		ask := func(text ...string) (status string, body string, took time.Duration) {
			t.Helper()
			ours, theirs := net.Pipe()
			defer ours.Close()
			l.conns <- theirs
			go func() {
				for i, part := range text {
					if i > 0 {
						pass(7 * time.Second)
					}
					_, _ = io.WriteString(ours, part)
				}
			}()
			began := time.Now()
			r, err := http.ReadResponse(bufio.NewReader(ours), nil)
			if err != nil {
				t.Fatalf("%.60q: %v", text, err)
			}
			defer r.Body.Close()
			answer, _ := io.ReadAll(r.Body)
			return r.Status, string(answer), time.Since(began)
		}
		for _, path := range []string{pathLogin, pathStart, pathCode} {
			for what, text := range map[string]string{
				"half a body": "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{",
				"a chunk":     "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
			} {
				if status, body, took := ask(text); status != "400 Bad Request" || took != 5*time.Second {
					t.Errorf("%s: %s: got %s and %s after %v", path, what, status, body, took)
				}
			}
			if status, body, took := ask(rawPost(path, "", strings.Repeat(" ", 4097))); status != "400 Bad Request" ||
				took != 0 ||
				!strings.Contains(body, "larger than 4096 bytes") {
				t.Errorf("%s: too large: got %s and %s after %v", path, status, body, took)
			}
		}
		right := loginBody(xrtctest.AccountID, xrtctest.APIKey)
		if status, body, _ := ask(rawPost(pathLogin, "", strings.Repeat(" ", 4096-len(right))+right)); status != "200 OK" {
			t.Errorf("4096 bytes: got %s and %s", status, body)
		}
		for range 8 { // the last one waits
			ask(rawPost(pathLogin, "", loginBody(xrtctest.AccountID, "x")))
		}
		if status, body, took := ask(rawPost(pathLogin, "",
			loginBody(xrtctest.AccountID, "x"))); status != "400 Bad Request" || took == 0 ||
			decode(t, body).Error.ErrorCode != 35 {
			t.Errorf("a wrong login: got %s and %s after %v", status, body, took)
		}
		slow := rawPost(pathSet, cookie, setBody(t, "a:1"))
		if status, body, took := ask(slow[:len(slow)-1], slow[len(slow)-1:]); status != "200 OK" || took != 7*time.Second {
			t.Errorf("a set: got %s and %s after %v", status, body, took)
		}
		_ = s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
