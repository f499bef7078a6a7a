package page_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin/page"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

const attack = `<img src=x onerror=attacked()>"'</script><script>attacked()</script>{{.}}`

func get(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func attacked() monitor.Status {
	now := time.Now()
	again := now.Add(12 * time.Second)
	s := monitor.Status{
		Now:     now,
		Version: attack, Ready: true, Reasons: []string{attack},
		Config: monitor.Config{Rejected: &monitor.Rejected{Error: attack}},
	}
	s.Pipelines = []monitor.Pipeline{{
		Name: attack, State: monitor.State(attack), Reason: attack, Ledger: monitor.Ledger{Received: 4711},
		Ends: []monitor.End{
			{Instance: attack, Kind: attack, Type: attack, State: monitor.EndState(attack), Reason: attack},
			{Instance: "to", Kind: "sink", Type: "stdio", State: monitor.EndUp, After: []string{attack}},
		},
		Errors:  []monitor.Error{{Instance: attack, Text: attack}},
		Reasons: []monitor.Count{{Outcome: "dropped", Reason: attack, N: 1}}, Progress: &monitor.Progress{Done: 12, Total: 34},
		Again: &again,
	}}
	return s
}

// The document shows the status without script, as text, to those who may see it.
func TestDocument(t *testing.T) {
	trusted := false
	p := page.New(page.Config{
		Status: attacked, Trusted: func(*http.Request) bool { return trusted },
		Offers: func(method, path string) bool { return path == "/tap" && method == http.MethodGet },
	})
	if got := get(p, "GET", "/").Body.String(); strings.Contains(got, "4711") || strings.Contains(got, "img") {
		t.Errorf("a stranger gets the status: %s", got)
	}
	trusted = true
	w := get(p, "GET", "/")
	got := w.Body.String()
	for _, want := range []string{"4711", "12 of 34 bytes read", "; tries again in 12s", "&lt;img", `data-offers="tap "`} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in %s", want, got)
		}
	}
	// What the policy would refuse is not in it, and of the attack there is no markup.
	for _, never := range []string{
		`<img`, `<script>`, `<[^>]+\sstyle=`, `<style`, `<[^>]+\son[a-z]+=`,
		`javascript:`, `https?://`,
	} {
		if found := regexp.MustCompile(never).FindString(got); found != "" {
			t.Errorf("the document has %q", found)
		}
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
}

// Nothing but reading; every answer has the policy.
func TestRoutes(t *testing.T) {
	p := page.New(page.Config{Status: attacked})
	for _, c := range []struct {
		method, path string
		status       int
		typ          string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/page/page.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/page/page.css", 200, "text/css; charset=utf-8"},
		{"GET", "/page/uplot.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/page/uplot.css", 200, "text/css; charset=utf-8"},
		{"GET", "/page/uplot.LICENSE", 200, "text/plain; charset=utf-8"},
		{"GET", "/page/icon.svg", 200, "image/svg+xml"},
		{"GET", "/page/", 404, ""},
		{"GET", "/page/..%2fpage.html", 400, ""},
		{"GET", "/page/no.js", 404, ""},
		{"GET", "/status", 404, ""},
		{"POST", "/", 405, ""},
		{"POST", "/events", 405, ""},
		{"DELETE", "/page/page.js", 405, ""},
	} {
		w := get(p, c.method, c.path)
		if w.Code != c.status || c.typ != "" && w.Header().Get("Content-Type") != c.typ {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Header().Get("Content-Type"), c.status, c.typ)
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
		}
	}
}

// The script is short, and has none of the ways by which text becomes markup, style or code.
func TestScript(t *testing.T) {
	script, err := os.ReadFile("static/page.js")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(script, []byte("\n")); n >= 700 {
		t.Errorf("page.js has %d lines", n)
	}
	for _, never := range []string{
		`innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|srcdoc`,
		`\beval\b|\bFunction\(|import\(`, `\.style\b`, `https?://(?:[^w]|w[^w])`,
	} {
		if found := regexp.MustCompile(never).Find(script); found != nil {
			t.Errorf("page.js has %q", found)
		}
	}
}

// serve runs a server in a bubble, where time is made up, and returns what ends its requests, and a
// way to connect to it.
func serve(t *testing.T, p *page.Page) (end func(), connect func(path string) (net.Conn, *bufio.Reader)) {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, end := context.WithCancel(t.Context())
	server := &http.Server{
		Handler: p, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return end, func(path string) (net.Conn, *bufio.Reader) {
		ours, theirs := net.Pipe()
		l.conns <- theirs
		if _, err := io.WriteString(ours, "GET "+path+
			" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return ours, bufio.NewReader(ours)
	}
}

type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
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
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// event reads the next status.
func event(t *testing.T, r *bufio.Reader) (s monitor.Status) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("read an event: %v", err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &s); err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
}

// clocked counts how often it was asked.
func clocked() (func() monitor.Status, *int) {
	n := 0
	return func() monitor.Status {
		n++
		return monitor.Status{Now: time.Now(), Pipelines: []monitor.Pipeline{{Name: "a", Reason: strings.Repeat("x", 1<<16)}}}
	}, &n
}

// An event comes at once and then one a second; many readers cost one status each second.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, asked := clocked()
		end, connect := serve(t, page.New(page.Config{Status: status}))
		start := time.Now()
		var readers []*bufio.Reader
		for range 20 {
			conn, r := connect("/events")
			defer conn.Close()
			readers = append(readers, r)
		}
		for second := range 5 {
			for _, r := range readers {
				if got := event(t, r).Now.Sub(start); got != time.Duration(second)*time.Second {
					t.Errorf("an event of %v in second %d", got, second)
				}
			}
		}
		if *asked != 5 {
			t.Errorf("the status was asked for %d times, want 5", *asked)
		}
		end()
		for _, r := range readers {
			if rest, err := io.ReadAll(r); err != nil || strings.Contains(string(rest), "data:") {
				t.Errorf("after the end: %d bytes, %v", len(rest), err)
			}
		}
	})
}

// A reader that does not read is dropped, and holds nobody else up.
func TestSlowReaderIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, _ := clocked()
		_, connect := serve(t, page.New(page.Config{Status: status}))
		slow, _ := connect("/events")
		defer slow.Close()
		fast, r := connect("/events")
		defer fast.Close()
		start := time.Now()
		for second := range 20 {
			if got := event(t, r).Now.Sub(start); got != time.Duration(second)*time.Second {
				t.Errorf("an event of %v in second %d", got, second)
			}
		}
		// It was written to when it connected, and given up after ten seconds.
		if got, err := io.Copy(io.Discard, slow); err != nil || got >= 2<<16 {
			t.Errorf("the slow reader got %d bytes, %v; want fewer than two events", got, err)
		}
	})
}

// There can be 32 readers; the next is told so, and let in when one has gone.
func TestReadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, _ := clocked()
		_, connect := serve(t, page.New(page.Config{Status: status}))
		var conns []net.Conn
		for range 32 {
			conn, r := connect("/events")
			defer conn.Close()
			conns = append(conns, conn)
			event(t, r)
			go func() { _, _ = io.Copy(io.Discard, r) }()
		}
		answer := func() string { // its beginning, and all of it unless it goes on
			conn, r := connect("/events")
			t.Cleanup(func() { conn.Close() })
			first, err := r.ReadString('\n')
			if err == nil && !strings.Contains(first, " 200 ") {
				rest, _ := io.ReadAll(r)
				first += string(rest)
			}
			return first
		}
		if got := answer(); !strings.Contains(got, " 503 ") || !strings.Contains(got, "Retry-After: ") ||
			!strings.Contains(got, "/status") {
			t.Errorf("the 33rd got %s", got)
		}
		conns[0].Close()
		<-time.After(2 * time.Second) // that it has gone is noticed by the next event
		if got := answer(); !strings.Contains(got, " 200 ") {
			t.Errorf("after one has gone: %s", got)
		}
	})
}
