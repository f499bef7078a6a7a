package server_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// Beside the account of xrtctest there is another one, and a second key of the first.
const (
	secondKey    = "543210ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	otherAccount = "AC0987654321012346"
	otherKey     = "zyxwvutsrqponmlkjihgfedcba543210"

	pathLogin = "/v1/auth/login"
	pathSet   = "/v1/item/set"
	pathGet   = "/v1/item/get"
	pathStart = "/v1/auth/registrationstart"
	pathCode  = "/v1/auth/registrationcode"

	sampleTime = 1795327834800
)

// config returns a configuration with both accounts and the limits of self-hosting, changed.
func config(t testing.TB, change func(*server.Limits)) server.Config {
	t.Helper()
	c := server.Config{Limits: server.Open()}
	if change != nil {
		change(&c.Limits)
	}
	c.Accounts = []server.Account{
		{ID: xrtctest.AccountID, Keys: []server.Key{parseKey(t, xrtctest.APIKey), parseKey(t, secondKey)}},
		{ID: otherAccount, Keys: []server.Key{parseKey(t, otherKey)}},
	}
	return c
}

func parseKey(t testing.TB, text string) server.Key {
	t.Helper()
	k, err := server.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start makes a server whose handler is called directly.
func start(t testing.TB, c server.Config) *server.Server {
	t.Helper()
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// clock is a wall clock that goes where it is told.
type clock struct{ ms atomic.Int64 }

func newClock(ms int64) *clock {
	c := new(clock)
	c.ms.Store(ms)
	return c
}

func (c *clock) Now() time.Time { return time.UnixMilli(c.ms.Load()) }

// pass lets time go by in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// request makes a request as it comes from a client with that cookie.
func request(t testing.TB, path, cookie, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	return r
}

// post calls the handler.
func post(t testing.TB, h http.Handler, path, cookie, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(t, path, cookie, body))
	return w
}

func loginBody(account, key string) string {
	return `{"accountid":"` + account + `","apikey":"` + key + `"}`
}

// login returns the cookie of a new session of the first account.
func login(t testing.TB, h http.Handler) string {
	t.Helper()
	return loginAs(t, h, xrtctest.AccountID, xrtctest.APIKey)
}

func loginAs(t testing.TB, h http.Handler, account, key string) string {
	t.Helper()
	w := post(t, h, pathLogin, "", loginBody(account, key))
	if w.Code != http.StatusOK {
		t.Fatalf("login: got status %d and %s", w.Code, w.Body)
	}
	c := w.Result().Cookies()
	if len(c) != 1 {
		t.Fatalf("got cookies %v, want one", c)
	}
	return c[0].Name + "=" + c[0].Value
}

// setBody makes a set request of items such as a:1.
func setBody(t testing.TB, items ...string) string {
	t.Helper()
	type setItem struct {
		PortalID string `json:"portalid"`
		Payload  string `json:"payload"`
	}
	var all struct {
		Items []setItem `json:"items"`
	}
	for _, i := range items {
		portal, payload, _ := strings.Cut(i, ":")
		all.Items = append(all.Items, setItem{portal, payload})
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// set sets items such as a:1 and returns their timestamp.
func set(t testing.TB, h http.Handler, cookie string, items ...string) int64 {
	t.Helper()
	w := post(t, h, pathSet, cookie, setBody(t, items...))
	if w.Code != http.StatusOK {
		t.Fatalf("set: got status %d and %s", w.Code, w.Body)
	}
	return decode(t, w.Body.String()).ServerTimestamp
}

// answer is any answer.
type answer struct {
	Items           []answerItem
	ServerTimestamp int64
	Error           *failure
}

type answerItem struct {
	PortalID, Payload string
	ServerTimestamp   int64
}

type failure struct {
	ErrorGroup, ErrorCode int
	ErrorMessage          string
}

func decode(t testing.TB, text string) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("answer %q: %v", text, err)
	}
	return a
}

// show writes the items of an answer as a:1 b:2.
func show(t testing.TB, text string) string {
	t.Helper()
	var all []string
	for _, i := range decode(t, text).Items {
		all = append(all, i.PortalID+":"+i.Payload)
	}
	return strings.Join(all, " ")
}

// get makes a get that succeeds and shows its items.
func get(t testing.TB, h http.Handler, cookie, body string) string {
	t.Helper()
	w := post(t, h, pathGet, cookie, body)
	if w.Code != http.StatusOK {
		t.Fatalf("get %s: got status %d and %s", body, w.Code, w.Body)
	}
	if w.Body.Len() == 0 || strings.Contains(w.Body.String(), `"items":[]`) {
		t.Errorf("get %s: got %q", body, w.Body)
	}
	return show(t, w.Body.String())
}

const (
	probeA     = `{"portals":[{"portalid":"a"}]}`
	probeAFIFO = `{"portals":[{"portalid":"a"}],"schedule":"FIFO"}`
	watchA     = `{"portals":[{"portalid":"a"}],"mode":"watch"}`
	streamA    = `{"portals":[{"portalid":"a"}],"mode":"stream","schedule":"FIFO"}`
)

// refused checks a refusal: status, group and code, and that it is one JSON object with a text for people.
func refused(t testing.TB, w *httptest.ResponseRecorder, status, group, code int) {
	t.Helper()
	if got, want := w.Header().Get("Content-Type"), "application/json"; got != want {
		t.Errorf("got type %q, want %q", got, want)
	}
	e := decode(t, w.Body.String()).Error
	if e == nil || e.ErrorMessage == "" {
		t.Fatalf("got status %d and %s, want an error %d", w.Code, w.Body, code)
	}
	if w.Code != status || e.ErrorGroup != group || e.ErrorCode != code {
		t.Errorf("got status %d and %s, want status %d, group %d, code %d", w.Code, w.Body, status, group, code)
	}
	if got := w.Header().Values("Set-Cookie"); len(got) > 0 {
		t.Errorf("got cookies %q with a refusal", got)
	}
}

// flushes is a recorder that remembers what was flushed when.
type flushes struct {
	*httptest.ResponseRecorder
	began time.Time
	at    []time.Duration
	text  []string
	seen  int
}

func newFlushes() *flushes {
	return &flushes{ResponseRecorder: httptest.NewRecorder(), began: time.Now()}
}

func (f *flushes) Flush() {
	f.at = append(f.at, time.Since(f.began))
	f.text = append(f.text, f.Body.String()[f.seen:])
	f.seen = f.Body.Len()
}

// wireConn is a connection on which a test sees every byte.
type wireConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// dial connects. Two minutes are for all that is done with the connection, on a busy machine.
func dial(t testing.TB, addr string) *wireConn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &wireConn{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

func (c *wireConn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// post sends a request as the blocking Python client does.
func (c *wireConn) post(path, cookie, body string) { c.t.Helper(); c.send(rawPost(path, cookie, body)) }

func rawPost(path, cookie, body string) string {
	if cookie != "" {
		cookie = "Cookie: " + cookie + "; AWSALBAPP-0=_remove_\r\n"
	}
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: python-requests/2.28.1\r\n" +
		"Accept-Encoding: gzip, deflate\r\n" +
		"Accept: */*\r\nConnection: keep-alive\r\n" + cookie + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// head reads the head of an answer: its status line and header fields.
func (c *wireConn) head() (status string, header map[string]string) {
	c.t.Helper()
	status, header = c.line(), map[string]string{}
	for {
		l := c.line()
		if l == "" {
			return status, header
		}
		name, value, _ := strings.Cut(l, ": ")
		header[name] = value
	}
}

func (c *wireConn) line() string {
	c.t.Helper()
	l, err := c.r.ReadString('\n')
	if err != nil || !strings.HasSuffix(l, "\r\n") {
		c.t.Fatalf("read a line: got %q, %v", l, err)
	}
	return strings.TrimSuffix(l, "\r\n")
}

// answer reads an answer and its body.
func (c *wireConn) answer() (status string, body string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	return r.Status, string(text)
}

// chunk reads one chunk of a body, empty at its end.
func (c *wireConn) chunk() string {
	c.t.Helper()
	var n int
	size := c.line()
	for _, d := range size {
		n = n<<4 | strings.IndexRune("0123456789abcdef", d)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatalf("read a chunk of %s bytes: %v", size, err)
	}
	if l := c.line(); l != "" {
		c.t.Fatalf("a chunk is followed by %q", l)
	}
	return string(b)
}
