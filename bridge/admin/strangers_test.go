package admin_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
)

// S42: who has no token keeps nobody out, neither probes nor who has it, and ends nothing of theirs,
// however many connections there are.
func TestS42StrangersKeepNobodyOut(t *testing.T) {
	const slow = " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n" +
		"Content-Length: 9\r\n\r\n{"
	certificate, client := certified(t)
	for name, c := range map[string]struct {
		text   string
		secure bool
	}{
		"nothing":          {},
		"header":           {text: "GET /livez HTTP/1.1\r\nHost: localhost\r\n"},
		"login body":       {text: "POST /login" + slow},
		"wrong token":      {text: "POST /reload" + slow},
		"no handshake":     {secure: true},
		"half a handshake": {secure: true, text: "\x16\x03\x01\x02\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			set := loopback()
			transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: client}}
			defer transport.CloseIdleConnections()
			if c.secure {
				set.TLS = certificate
			}
			s := serve(t, set)
			get := func(path, token string) io.Reader {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				t.Cleanup(func() { _ = answer.Body.Close() })
				if answer.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, answer.Status)
				}
				return answer.Body
			}
			events := bufio.NewReader(get("events", token))
			event := func() {
				t.Helper()
				if line, err := events.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
					t.Errorf("the events: %.20q, %v", line, err)
				}
				_, _ = events.ReadString('\n')
			}
			event()
			host := s.url[strings.Index(s.url, "//")+2 : len(s.url)-1]
			for i := range admin.MostConns + 50 {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := io.WriteString(conn, c.text); err != nil && !errors.Is(err, syscall.EPIPE) &&
					!errors.Is(err, syscall.ECONNRESET) {
					t.Fatal(err)
				}
				if i >= admin.MostConns && i%10 == 0 {
					get("livez", "")
					get("status", token)
				}
			}
			event()
		})
	}
}

// S42: who has no token makes the server hold little: one request a connection, and of its body
// what a login takes. The answer comes before the rest of the body does.
func TestS42BodiesOfStrangers(t *testing.T) {
	set := loopback()
	certificate, roots := certified(t)
	set.TLS = certificate
	s := serve(t, set)
	conn, err := tls.Dial("tcp", s.url[strings.Index(s.url, "//")+2:len(s.url)-1], &tls.Config{
		RootCAs: roots, NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Fatalf("it speaks %q", p)
	}
	const head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
		"Content-Length: 1000000\r\n\r\n{\"code\":\""
	if _, err := io.WriteString(conn, head+strings.Repeat("a", 8192)); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "too large") {
		t.Errorf("%s: %s", answer.Status, text)
	}
}
