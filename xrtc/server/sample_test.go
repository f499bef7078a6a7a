package server_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// The sample exchanges of the protocol, byte for byte on the wire.
func TestSampleExchanges(t *testing.T) { synctest.Test(t, sampleExchanges) }

func sampleExchanges(t *testing.T) {
	now := newClock(sampleTime)
	c := config(t, func(l *server.Limits) { l.GetItemTimeout = 300 * time.Millisecond })
	c.Now = now.Now
	s := start(t, c)
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	ours, theirs := net.Pipe()
	l.conns <- theirs
	conn := &wireConn{Conn: ours, t: t, r: bufio.NewReader(ours)}
	defer func() {
		_ = ours.Close()
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	}()
	cookie := ""
	exchange := func(path, body, wantStatus, wantBody string) map[string]string {
		t.Helper()
		conn.post(path, cookie, body)
		status, header := conn.head()
		if want := "HTTP/1.1 " + wantStatus; status != want {
			t.Errorf("got %q, want %q", status, want)
		}
		if got, want := header["Content-Type"], "application/json"; got != want {
			t.Errorf("got type %q, want %q", got, want)
		}
		if got, want := header["Content-Length"], itoa(len(wantBody)); got != want {
			t.Fatalf("got length %q, want %q", got, want)
		}
		text := make([]byte, len(wantBody))
		for i := range text {
			text[i], _ = conn.r.ReadByte()
		}
		if got := string(text); got != wantBody {
			t.Errorf("got  %s\nwant %s", got, wantBody)
		}
		return header
	}

	exchange(pathGet, `{"portals": [{"portalid": "a"}]}`, "401 Unauthorized",
		`{"error":{"errorgroup":2,"errorcode":10011,"errormessage":"Server session denied"}}`)

	header := exchange(pathLogin, `{"accountid": "`+xrtctest.AccountID+`", "apikey": "`+xrtctest.APIKey+`"}`,
		"200 OK", `{"servertimestamp":1795327834800}`)
	found := regexp.MustCompile(
		`^(JSESSIONID=[A-Za-z0-9]+); Path=/; HttpOnly; SameSite=Strict$`).FindStringSubmatch(header["Set-Cookie"])
	if found == nil {
		t.Fatalf("got cookie %q", header["Set-Cookie"])
	}
	cookie = found[1]

	now.ms.Store(1795327834812)
	exchange(pathSet, `{"items": [{"portalid": "a", "payload": "1"}, {"portalid": "a", "payload": "2"}]}`,
		"200 OK", `{"servertimestamp":1795327834812}`)
	exchange(pathGet, `{"portals": [{"portalid": "a"}]}`, "200 OK",
		`{"items":[{"portalid":"a","payload":"2","servertimestamp":1795327834812},{"portalid":"a","payload":"1","servertimestamp":1795327834812}]}`)
	exchange(pathGet, `{"portals": [{"portalid": "a"}]}`, "200 OK", `{}`)
	exchange(pathGet, `{"portals": []}`, "200 OK",
		`{"items":[{"portalid":"a","payload":"2","servertimestamp":1795327834812}]}`)

	setter := login(t, s)
	conn.post(pathGet, cookie, `{"portals": [{"portalid": "a"}], "mode": "stream", "schedule": "FIFO"}`)
	status, header := conn.head()
	if status != "HTTP/1.1 200 OK" || header["Transfer-Encoding"] != "chunked" ||
		header["Content-Type"] != "application/json" || header["Content-Length"] != "" {
		t.Errorf("a stream begins with %q and %v", status, header)
	}
	for _, step := range []struct {
		at      int64
		payload string
	}{{1795327835100, "3"}, {1795327836420, "4"}} {
		now.ms.Store(step.at)
		set(t, s, setter, "a:"+step.payload)
		want := `{"items":[{"portalid":"a","payload":"` + step.payload + `","servertimestamp":` + itoa(int(step.at)) + "}]}\n"
		if got := conn.chunk(); got != want { // before the next item is set: it was flushed at once
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	if got := conn.chunk(); got != "" {
		t.Errorf("a stream ends with %q", got)
	}

	conn.post(pathGet, cookie, streamA)
	conn.head()
	if got, want := conn.chunk(), "{}\n"; got != want {
		t.Errorf("a stream without items: got %q, want %q", got, want)
	}
	if got := conn.chunk(); got != "" {
		t.Errorf("a stream without items ends with %q", got)
	}

	exchange(pathGet, `{"portals": [{"portalid": "a-b"}]}`, "400 Bad Request",
		`{"error":{"errorgroup":6,"errorcode":30,"errormessage":"portalid: letters and digits only"}}`)
}

// What the asyncio client and curl send, byte for byte.
func TestSampleRequests(t *testing.T) {
	s := xrtctest.Start(t, config(t, func(l *server.Limits) { l.GetItemTimeout = 50 * time.Millisecond }))
	cookie := login(t, s)
	conn := dial(t, s.Addr)
	conn.send("POST /v1/item/set HTTP/1.1\r\nHost: localhost:9099\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n" +
		"Cookie: AWSALBAPP-0=_remove_; " + cookie + "\r\nContent-Length: 53\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n\r\n" +
		`{items:[{"portalid":"send","payload":"a+b%20c&d=1"}]}`)
	if status, body := conn.answer(); status != "200 OK" {
		t.Errorf("got %s and %s", status, body)
	}
	conn.send("POST /v1/item/get HTTP/1.1\r\nHost: localhost:9099\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip, deflate\r\nUser-Agent: Python/3.11 aiohttp/3.8.4\r\n" +
		"Cookie: AWSALBAPP-0=_remove_; " + cookie + "\r\nContent-Length: 53\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\n\r\n" +
		`{"portals": [{"portalid": "send"}], "mode": "stream"}`)
	if status, body := conn.answer(); status != "200 OK" || show(t, body) != "send:a+b%20c&d=1" {
		t.Errorf("got %s and %s", status, body)
	}
}

// Shutdown ends watches and streams as their time-out would.
func TestShutdown(t *testing.T) {
	s, err := xrtctest.Listen(config(t, func(l *server.Limits) { l.GetItemTimeout = time.Hour }))
	if err != nil {
		t.Fatal(err)
	}
	cookie := login(t, s)
	open := func(body string) *wireConn {
		c := dial(t, s.Addr)
		c.post(pathGet, cookie, body)
		return c
	}
	empty := open(strings.Replace(streamA, `"a"`, `"none"`, 1))
	empty.head()
	full := open(streamA)
	full.head()
	set(t, s, cookie, "a:1")
	if got, want := show(t, full.chunk()), "a:1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	watch := open(strings.Replace(watchA, `"a"`, `"none"`, 1))
	waitUntil(t, func() bool { return parked("server.(*get).watch") == 1 })

	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	if got, want := empty.chunk(), "{}\n"; got != want {
		t.Errorf("a stream without items: got %q, want %q", got, want)
	}
	for name, c := range map[string]*wireConn{"with": full, "without": empty} {
		if got := c.chunk(); got != "" {
			t.Errorf("a stream %s items ends with %q", name, got)
		}
	}
	if status, body := watch.answer(); status != "200 OK" || body != "{}" {
		t.Errorf("a watch: got %s and %s", status, body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := s.Serve(listener(t)); err != nil {
		t.Errorf("serving after Shutdown: %v", err)
	}
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Close is not as polite, and nothing is left.
func TestClose(t *testing.T) {
	s, err := xrtctest.Listen(config(t, func(l *server.Limits) { l.GetItemTimeout = time.Hour }))
	if err != nil {
		t.Fatal(err)
	}
	cookie := login(t, s)
	c := dial(t, s.Addr)
	c.post(pathGet, cookie, streamA)
	if status, _ := c.head(); status != "HTTP/1.1 200 OK" {
		t.Error(status)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	w := post(t, s, pathGet, cookie, probeA) // a handler mounted elsewhere goes on
	if w.Code != http.StatusOK {
		t.Errorf("got status %d and %s", w.Code, w.Body)
	}
}
