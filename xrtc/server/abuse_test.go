package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// counted is a listener that knows how many of its connections the server has open.
type counted struct {
	net.Listener
	open atomic.Int64
	far  atomic.Bool // its clients seem to be on other machines
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	counted := &countedConn{Conn: c, remote: c.RemoteAddr(), closed: sync.OnceFunc(func() { l.open.Add(-1) })}
	if l.far.Load() {
		addr := *c.RemoteAddr().(*net.TCPAddr)
		addr.IP = slices.Concat([]byte{192, 0, 2}, addr.IP[len(addr.IP)-1:])
		counted.remote = &addr
	}
	return counted, nil
}

type countedConn struct {
	net.Conn
	remote net.Addr
	closed func()
}

func (c *countedConn) RemoteAddr() net.Addr { return c.remote }

func (c *countedConn) Close() error { c.closed(); return c.Conn.Close() }

// serve starts a server on a counted listener.
func serve(t *testing.T, c server.Config) (*server.Server, *counted) {
	t.Helper()
	l := &counted{Listener: listener(t)}
	s := start(t, c)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, l
}

// F24: connections that are slow with their headers, their body, or to read are closed, while
// others are served.
func TestF24SlowConnections(t *testing.T) {
	t.Parallel()
	const each, within = 100, bridgetest.Timeout // 5 s are the server's limit; here others share the machine
	s, l := serve(t, config(t, func(l *server.Limits) { l.GetItemTimeout = time.Second }))
	addr, cookie := l.Addr().String(), login(t, s)
	for range 100 {
		set(t, s, cookie, "big:"+strings.Repeat("x", 60_000))
	}
	began := time.Now()
	head := "POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + "\r\n"
	var attack sync.WaitGroup
	done := make(chan struct{})
	for range each {
		for _, first := range []string{"", "POST / HTTP/1.1\r\nX: ", head + "Content-Length: 5000\r\n\r\n"} {
			c := dial(t, addr)
			attack.Go(func() {
				tick := time.NewTicker(200 * time.Millisecond)
				defer tick.Stop()
				for text := first; ; text = "x" {
					if _, err := io.WriteString(c, text); err != nil {
						return
					}
					select {
					case <-tick.C:
					case <-done:
						return
					}
					if first == "" {
						<-done
						return
					}
				}
			})
		}
		c := dial(t, addr)
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(4096)
		// If the kernel takes a whole stream before its time is over, the connection is idle and
		// not slow, unless it is to be closed.
		slow := rawPost(pathGet, login(t, s), `{"portals":[{"portalid":"big"}],"mode":"stream","schedule":"FIFO"}`)
		c.send(strings.Replace(slow, "keep-alive", "close", 1))
	}
	legitimate := dial(t, addr) // and accepted after all of them
	var took []time.Duration
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for first := true; first || l.open.Load() > 1; first = false {
		if time.Since(began) > within {
			t.Fatalf("after %v %d connections are still open", within, l.open.Load()-1)
		}
		asked := time.Now()
		legitimate.post(pathSet, cookie, setBody(t, "a:1"))
		if status, body := legitimate.answer(); status != "200 OK" {
			t.Fatalf("got %s and %s", status, body)
		}
		took = append(took, time.Since(asked))
		<-tick.C
	}
	slices.Sort(took)
	t.Logf("all closed after %v; of %d legitimate calls meanwhile the p99 took %v, and 250 ms are the aim",
		time.Since(began), len(took),
		took[len(took)*99/100])
	close(done)
	attack.Wait()
}

// F24: when there are too many connections, the oldest that never asked for anything goes, then
// idle ones, and never one at work.
func TestF24ConnectionLimit(t *testing.T) {
	t.Parallel()
	const most = 10
	s, l := serve(t, config(t, func(l *server.Limits) { l.Connections, l.GetItemTimeout = most, time.Hour }))
	addr := l.Addr().String()
	dialed := func() *wireConn { return dial(t, addr) }
	ask := func(c *wireConn) {
		t.Helper()
		c.post(pathGet, "", probeA)
		if status, body := c.answer(); status != "401 Unauthorized" {
			t.Fatalf("got %s and %s", status, body)
		}
	}
	closed := func(c *wireConn) bool {
		_, err := c.r.ReadByte()
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	stream := dialed()
	stream.post(pathGet, login(t, s), streamA)
	stream.head()
	var silent []*wireConn
	for i := range most - 1 {
		silent = append(silent, dialed())
		waitUntil(t, func() bool { return l.open.Load() == int64(2+i) })
	}
	for i, victim := range silent {
		ask(dialed())
		if !closed(victim) {
			t.Errorf("silent connection %d is still open", i)
		}
	}
	if got := l.open.Load(); got > most {
		t.Errorf("%d connections are open", got)
	}
	set(t, s, login(t, s), "a:1")
	if got, want := show(t, stream.chunk()), "a:1"; got != want {
		t.Errorf("the stream: got %q, want %q", got, want)
	}
	for range most - 1 {
		c := dialed()
		c.post(pathGet, login(t, s), strings.Replace(streamA, `"a"`, `"b"`, 1))
		c.head()
	}
	if !closed(dialed()) {
		t.Error("all are at work, and one more was taken")
	}
	_ = s.Close()
}

// F24, S10: one address cannot take the connections of all: others of its own go for new ones.
func TestF24ConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	const each = 5
	s, l := serve(t, config(t, func(l *server.Limits) { l.Connections, l.ConnectionsEach = 100, each }))
	var held []net.Conn
	for i := range 4 * each { // a proxy on this machine brings those of all
		held = append(held, dial(t, l.Addr().String()))
		waitUntil(t, func() bool { return l.open.Load() == int64(i+1) })
	}
	for _, c := range held {
		_ = c.Close()
	}
	waitUntil(t, func() bool { return l.open.Load() == 0 })
	l.far.Store(true)
	from := func(address string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			bridgetest.Missing(t, "127.0.0.2")
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	other := from("127.0.0.2")
	for range 50 {
		from("127.0.0.1")
	}
	waitUntil(t, func() bool { return l.open.Load() == each+1 })
	if _, err := io.WriteString(other, rawPost(pathSet, login(t, s), setBody(t, "a:1"))); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := io.ReadFull(other, answer); err != nil || string(answer) != "HTTP/1.1 200 OK" {
		t.Errorf("got %q, %v", answer, err)
	}
}

// F24: large bodies and headers are refused, take no memory, and end.
func TestF24Bombs(t *testing.T) {
	s, l := serve(t, config(t, nil))
	cookie := login(t, s)
	mega := bytes.Repeat([]byte("x"), 1<<20)
	head := "POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + "\r\n"
	for _, tt := range []struct {
		name, head string
		then       []byte
		times      int
		want       string
	}{
		{"20 MiB body", head + "Content-Length: 20971520\r\n\r\n", mega, 20, "400 Bad Request"},
		{
			"20 MiB in chunks", head + "Transfer-Encoding: chunked\r\n\r\n",
			slices.Concat([]byte("100000\r\n"), mega, []byte("\r\n")), 20, "400 Bad Request",
		},
		{"20 MiB without session", "POST " + pathSet + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20971520\r\n" +
			"\r\n", mega, 20, "401 Unauthorized"},
		{"1 MiB header", head + "X: ", mega, 1, "431 Request Header Fields Too Large"},
		{"many header fields", head, bytes.Repeat([]byte("X: y\r\n"), 50_000), 1, "431 Request Header Fields Too Large"},
		{"long path", "POST /", mega, 1, "431 Request Header Fields Too Large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, l.Addr().String())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.send(tt.head)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for range tt.times {
					if _, err := c.Write(tt.then); err != nil {
						return // it hung up, as it should
					}
				}
			}()
			r, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			if r.Status != tt.want || !r.Close {
				t.Errorf("got %s, close %t, want %s and a close", r.Status, r.Close, tt.want)
			}
			_, _ = io.Copy(io.Discard, c.r)
			<-sent
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
				t.Errorf("it took %d kB", took>>10)
			}
		})
	}
	waitUntil(t, func() bool { return l.open.Load() == 0 })
	if got := get(t, s, cookie, probeA); got != "" {
		t.Errorf("got %q", got)
	}
}

// F24 and S14: refused logins are answered later each time, per address and per account, while a
// right one is answered at once; nobody can lock an owner out.
func TestF24BadLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, nil))
		try := func(address, account, key string, code int) time.Duration {
			t.Helper()
			r := request(t, pathLogin, "", loginBody(account, key))
			r.RemoteAddr = address
			w := httptest.NewRecorder()
			began := time.Now()
			s.ServeHTTP(w, r)
			if code != 0 {
				refused(t, w, http.StatusBadRequest, 4, code)
			} else if w.Code != http.StatusOK {
				t.Errorf("got status %d and %s", w.Code, w.Body)
			}
			return time.Since(began)
		}
		const attacker, owner = "203.0.113.7:1000", "198.51.100.1:1000"
		var before time.Duration
		for i := range 20 {
			took := try(attacker, xrtctest.AccountID, fmt.Sprint(i), 35)
			if took < before || i < 4 && took != 0 || i > 4 && took == 0 || took > 3*time.Second {
				t.Errorf("refusal %d took %v after %v", i, took, before)
			}
			before = took
		}
		if before != 3*time.Second {
			t.Errorf("the 20th refusal took %v", before)
		}
		for _, address := range []string{attacker, owner, "127.0.0.1:1", "[::1]:1"} {
			if took := try(address, xrtctest.AccountID, xrtctest.APIKey, 0); took != 0 {
				t.Errorf("a right login from %s took %v", address, took)
			}
		}
		if took := try("203.0.113.8:1000", xrtctest.AccountID, "x", 35); took != 3*time.Second {
			t.Errorf("the same account from another address: %v", took)
		}
		if took := try(attacker, "AC4444", "x", 35); took != 3*time.Second {
			t.Errorf("another account from the same address: %v", took)
		}
		if took := try("127.0.0.1:1", xrtctest.AccountID, "x", 35); took != 0 {
			t.Errorf("a typing error on the machine itself: %v", took)
		}
		if took := try("203.0.113.9:1000", otherAccount, "x", 35); took != 0 {
			t.Errorf("somebody else: %v", took)
		}
		for range 4 {
			try("[2001:db8::1]:1", otherAccount, "x", 35)
		}
		if took := try("[2001:db8::2]:1", "AC4444", "x", 35); took == 0 {
			t.Error("another address of the same IPv6 network is not slower")
		}
		pass(time.Minute + time.Nanosecond)
		if took := try(attacker, xrtctest.AccountID, "x", 35); took != 0 {
			t.Errorf("a minute later: %v", took)
		}
	})
}

// S45: when many wrong logins wait, further ones to that account from that address are refused
// unseen and at once, so that nobody learns faster whether a key is right. A right login of
// somebody else succeeds meanwhile.
func TestS45ManyLoginsAtATime(t *testing.T) {
	const waiting = 256
	synctest.Test(t, func(t *testing.T) {
		for network, address := range map[string]func(i int) string{
			"one address":      func(i int) string { return fmt.Sprintf("203.0.113.20:%d", i) },
			"one IPv6 network": func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i) },
			"loopback":         func(i int) string { return fmt.Sprintf("127.0.0.1:%d", i) },
			"mapped to IPv6":   func(i int) string { return fmt.Sprintf("[::ffff:203.0.113.20]:%d", i) },
			"both of one origin": func(i int) string {
				return fmt.Sprintf([]string{"203.0.113.20:%d", "[::ffff:203.0.113.20]:%d"}[i%2], i)
			},
		} {
			s := start(t, config(t, nil))
			codes := make(chan int, 5000)
			try := func(address, account, key string) int {
				r := request(t, pathLogin, "", loginBody(account, key))
				r.RemoteAddr = address
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code == http.StatusTooManyRequests {
					refused(t, w, http.StatusTooManyRequests, 4, 46)
					if got := w.Header().Get("Retry-After"); got != "3" {
						t.Errorf("%s: got Retry-After %q", network, got)
					}
				}
				return w.Code
			}
			for i := range 10 {
				try(address(i), xrtctest.AccountID, "x")
			}
			var wait sync.WaitGroup
			began := time.Now()
			for i := range cap(codes) {
				wait.Go(func() { codes <- try(address(i), xrtctest.AccountID, "x") })
			}
			synctest.Wait()
			if got, want := len(codes), cap(codes)-waiting; got != want {
				t.Errorf("%s: %d are answered at once, want %d", network, got, want)
			}
			if got := try(address(1), xrtctest.AccountID, xrtctest.APIKey); got != http.StatusTooManyRequests {
				t.Errorf("%s: a right key among the guesses: got %d, which tells it from wrong ones", network, got)
			}
			for _, owner := range []string{"198.51.100.1:1", "127.0.0.2:1"} {
				if got := try(owner, xrtctest.AccountID, xrtctest.APIKey); got != http.StatusOK {
					t.Errorf("%s: the owner at %s: got %d", network, owner, got)
				}
			}
			if got := try(address(1), otherAccount, otherKey); got != http.StatusOK {
				t.Errorf("%s: another account from the same address: got %d", network, got)
			}
			wait.Wait()
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("%s: the last was answered after %v", network, took)
			}
			close(codes)
			count := make(map[int]int)
			for code := range codes {
				count[code]++
			}
			if got, want := fmt.Sprint(count), fmt.Sprintf("map[400:%d 429:%d]", waiting, cap(codes)-waiting); got != want {
				t.Errorf("%s: got %s, want %s", network, got, want)
			}
			if got := try(address(1), xrtctest.AccountID, xrtctest.APIKey); got != http.StatusOK {
				t.Errorf("%s: and then: got %d", network, got)
			}
		}
	})
}

// What is remembered of refused logins does not grow with what was sent.
func TestF24BadLoginMemory(t *testing.T) {
	s := start(t, config(t, nil))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 10_000 {
		r := request(t, pathLogin, "", loginBody(fmt.Sprintf("AC%03500d", i), "x"))
		r.RemoteAddr = fmt.Sprintf("198.18.%d.%d:1", i/250, i%250)
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	if after := heap(); after > before+16<<20 {
		t.Errorf("%d MiB are kept", (after-before)>>20)
	}
}

// S10: a panic is answered by 500 and an id; what it was is in the log only.
func TestPanic(t *testing.T) {
	var broken atomic.Bool
	var log bytes.Buffer
	c := config(t, nil)
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c.Now = func() time.Time {
		if broken.Load() {
			panic("secret of the clock")
		}
		return time.Now()
	}
	c.Mailer = new(mailer)
	s := start(t, c)
	cookie := login(t, s)
	broken.Store(true)
	for _, call := range []struct{ path, body string }{
		{pathSet, setBody(t, "a:1")},
		{pathLogin, loginBody(xrtctest.AccountID, xrtctest.APIKey)},
		{pathSet, setBody(t, "a:1")},
	} {
		w := post(t, s, call.path, cookie, call.body)
		refused(t, w, http.StatusInternalServerError, 2, 10)
		text := fmt.Sprint(w.Header(), w.Body)
		for _, bad := range []string{"secret", "goroutine", ".go", "panic", "runtime"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: got %s", call.path, text)
			}
		}
		id := w.Body.String()[strings.LastIndex(w.Body.String(), " ")+1:]
		id, _, _ = strings.Cut(id, `"`)
		if !strings.Contains(log.String(), id) || !strings.Contains(log.String(), "secret of the clock") {
			t.Errorf("%s: %q is not in the log", call.path, id)
		}
	}
	broken.Store(false)
	set(t, s, cookie, "a:2")
	if got, want := get(t, s, cookie, probeA), "a:2"; got != want {
		t.Errorf("and then: got %q, want %q", got, want)
	}
	if strings.Contains(log.String(), cookie[len("JSESSIONID="):]) || strings.Contains(log.String(), xrtctest.APIKey) {
		t.Error("a session or key is in the log")
	}
}
