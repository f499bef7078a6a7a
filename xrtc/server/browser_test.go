package server_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// S44: a web page of another origin does nothing in the name of who visits it, whatever kind of
// request it makes; clients that are no browsers, and pages of the server's own origin, are served.
func TestS44OtherOrigins(t *testing.T) {
	s := xrtctest.Start(t, config(t, nil))
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	cookie := login(t, s)
	const form = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name    string
		header  map[string]string
		refused bool
	}{
		{"curl", map[string]string{"Content-Type": form, "User-Agent": "curl/7.88.1"}, false},
		{"Python, blocking", map[string]string{"User-Agent": "python-requests/2.28.1"}, false},
		{"Python, asyncio", map[string]string{"Content-Type": "text/plain; charset=utf-8"}, false},
		{"a page of the server's", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": s.URL}, false},
		{"typed by the user", map[string]string{"Sec-Fetch-Site": "none"}, false},
		{"an older browser, same origin", map[string]string{"Origin": s.URL}, false},

		{"fetch, no-cors, another port", map[string]string{
			"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty",
			"Origin": "http://localhost:1", "Content-Type": "text/plain;charset=UTF-8",
		}, true},
		{"fetch, no-cors, another site", map[string]string{
			"Sec-Fetch-Site": "cross-site",
			"Sec-Fetch-Mode": "no-cors", "Origin": "https://evil.example",
		}, true},
		{"form", map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
			"Sec-Fetch-Dest": "document", "Content-Type": form,
		}, true},
		{"form, text/plain", map[string]string{"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}, true},
		{"form, multipart", map[string]string{
			"Sec-Fetch-Site": "same-site",
			"Content-Type":   "multipart/form-data; boundary=x",
		}, true},
		{"beacon", map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors",
			"Content-Type": "application/json",
		}, true},
		{"frame without origin", map[string]string{"Origin": "null"}, true},
		{"an older browser", map[string]string{"Origin": "https://evil.example"}, true},
		{"an older browser, another port", map[string]string{"Origin": "http://localhost:1"}, true},
		{"no port", map[string]string{"Origin": "http://localhost"}, true},
		{"a name that begins so", map[string]string{"Origin": "http://localhost:" + port + ".evil.example"}, true},
		{"a user of that name", map[string]string{"Origin": "http://localhost:" + port + "@evil.example"}, true},
		{"what no browser sends", map[string]string{"Sec-Fetch-Site": "same-origin, cross-site"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range []struct{ path, body string }{
				{pathSet, setBody(t, "a:"+tt.name)},
				{pathGet, probeA},
				{pathLogin, loginBody(xrtctest.AccountID, xrtctest.APIKey)},
			} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+call.path, strings.NewReader(call.body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Cookie", cookie)
				for name, value := range tt.header {
					r.Header.Set(name, value)
				}
				resp, err := http.DefaultTransport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if refused := resp.StatusCode == http.StatusForbidden; refused != tt.refused || !refused &&
					resp.StatusCode != http.StatusOK {
					t.Errorf("%s: got %s", call.path, resp.Status)
				}
				if tt.refused && len(resp.Cookies()) > 0 {
					t.Errorf("%s: got cookies %v", call.path, resp.Cookies())
				}
				if got := resp.Header["Access-Control-Allow-Origin"]; got != nil {
					t.Errorf("%s: pages of %q may read the answer", call.path, got)
				}
			}
		})
	}
	if got := get(t, s, login(t, s), probeA); strings.Contains(got, "form") || !strings.Contains(got, "a:curl") {
		t.Errorf("got %q", got)
	}
}

// S44: each answer, a refusal too, is for nobody else, and nothing but JSON.
func TestS44Headers(t *testing.T) {
	s := start(t, config(t, nil))
	cookie := login(t, s)
	for _, call := range []struct{ path, cookie, body string }{
		{pathLogin, "", loginBody(xrtctest.AccountID, xrtctest.APIKey)},
		{pathLogin, "", "{}"},
		{pathSet, cookie, setBody(t, "a:1")},
		{pathSet, "", ""},
		{pathGet, cookie, probeA},
		{pathGet, cookie, "<html>"},
		{"/<script>", "", ""},
		{pathStart, "", "{}"},
	} {
		h := post(t, s, call.path, call.cookie, call.body).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Content-Type": "application/json",
		} {
			if got := h.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q", call.path, name, got, want)
			}
		}
	}
}

// S44, S9: over loopback the server goes by the names of loopback and those it was given, or a page
// whose name leads here would be of its origin.
func TestS44HostNames(t *testing.T) {
	c := config(t, nil)
	c.Hosts = []string{"Portals.example.com"}
	s, l := serve(t, c)
	cookie := login(t, s)
	for host, ours := range map[string]bool{
		"localhost": true, "localhost:1": true, "LocalHost:28080": true, "localhost.": true, "127.0.0.1:28080": true,
		"127.9.9.9": true, "[::1]:28080": true, "[::1]": true,
		"host.docker.internal:28080": true, "host.containers.internal": true,
		"[::ffff:127.0.0.1]:1": true, "portals.example.com": true, "PORTALS.example.com.:443": true,

		"evil.example": false, "evil.example:28080": false, "localhost.evil.example": false,
		"host.docker.internal.evil.example": false, "evil.host.docker.internal": false, "docker.internal": false,
		"127.0.0.1.evil.example": false, "192.0.2.1": false, "[2001:db8::1]:1": false,
		"xportals.example.com": false, "evil.example.:28080": false, "0.0.0.0:28080": false, "[::]": false,
	} {
		for _, from := range []string{"", "Origin: http://" + host + "\r\nSec-Fetch-Site: same-origin\r\n"} {
			conn := dial(t, l.Addr().String())
			conn.send(strings.Replace(rawPost(pathSet, cookie, setBody(t, "a:1")), "Host: localhost\r\n",
				"Host: "+host+"\r\n"+from, 1))
			want := "403 Forbidden"
			if ours {
				want = "200 OK"
			}
			if status, body := conn.answer(); status != want {
				t.Errorf("%q: got %s and %s, want %s", host, status, body, want)
			}
		}
	}
	r := request(t, pathSet, cookie, setBody(t, "a:1"))
	r.Host = "anything.example"
	network := net.Addr(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 28080})
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, network)))
	if w.Code != http.StatusOK {
		t.Errorf("over the network: got %s", w.Body)
	}
}
