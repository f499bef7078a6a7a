package xrtc_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// crowd is how many goroutines use one session.
const crowd = 25

// together runs f in a crowd and returns the errors.
func together(f func(i int) error) []error {
	errs := make([]error, crowd)
	var all sync.WaitGroup
	for i := range crowd {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errs
}

func TestOneSessionForAll(t *testing.T) {
	g := newGate(t, quick())
	c := open(t, g.listen(t))
	for round := range 3 {
		err := errors.Join(together(func(i int) error {
			for range 10 {
				if _, err := c.Set(t.Context(), items("a", strconv.Itoa(i))...); err != nil {
					return err
				}
			}
			return nil
		})...)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := g.logins.Load(), int64(round+1); got != want {
			t.Errorf("%d logins, want %d", got, want)
		}
		g.forget()
	}
	if most := g.mostLoggingIn.Load(); most != 1 {
		t.Errorf("%d logins at a time, want 1", most)
	}
	if got := len(get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a")})); got != 3*crowd*10 {
		t.Errorf("%d items, want %d", got, 3*crowd*10)
	}
}

func TestFailingLoginIsShared(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		g.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == loginPath {
				<-time.After(time.Second) // all others are waiting by now
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":{"errorgroup":4,"errorcode":35,"errormessage":"no more"}}`))
			}
			return r.URL.Path == loginPath
		}
		g.forget()
		for _, err := range together(func(int) error { _, err := c.Set(t.Context(), items("a", "1")...); return err }) {
			if !errors.Is(err, xrtc.ErrInvalidCredentials) {
				t.Errorf("got %v, want %v", err, xrtc.ErrInvalidCredentials)
			}
		}
		if got := g.logins.Load(); got != 2 {
			t.Errorf("%d logins, want 2", got)
		}
		g.hook = nil
		set(t, c, "a", "2") // and it is not for ever
	})
}

func TestGivenUpLoginIsNotShared(t *testing.T) {
	bubble(t, server.Public(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		g.forget()
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := c.Set(ctx, items("a", "1")...)
			failed <- err
		}()
		<-time.After(time.Second) // it waits for LOGIN_TIMEOUT to be over
		done := make(chan error)
		go func() {
			_, err := c.Set(t.Context(), items("a", "2")...)
			done <- err
		}()
		<-time.After(time.Second)
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if err := <-done; err != nil {
			t.Errorf("the other one: %v", err)
		}
	})
}

func TestLoginTimeout(t *testing.T) {
	bubble(t, server.Public(), func(t *testing.T, g *gate, config xrtc.Config) {
		a := open(t, config)
		began := time.Now()
		b := open(t, config) // is told 45, and waits
		if took := time.Since(began); took != xrtc.LoginTimeout {
			t.Errorf("the second login took %v, want %v", took, xrtc.LoginTimeout)
		}
		if got := g.logins.Load(); got != 3 {
			t.Errorf("%d attempts, want 3", got)
		}
		<-time.After(xrtc.LoginTimeout)
		g.forget()
		set(t, b, "x", "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.Set(ctx, items("x", "2")...) // there is no time for waiting: say why
		if !errors.Is(err, xrtc.ErrTooFrequentLogin) || !xrtc.IsTemporary(err) {
			t.Errorf("got %v, want %v", err, xrtc.ErrTooFrequentLogin)
		}
		if ctx.Err() != nil {
			t.Error("it waited for nothing")
		}
	})
}

func TestCloseEndsWaits(t *testing.T) {
	for _, what := range []string{"a pause", "a login", "a limiter"} {
		t.Run(what, func(t *testing.T) {
			bubble(t, server.Public(), func(t *testing.T, g *gate, config xrtc.Config) {
				switch what {
				case "a pause":
					g.hook = func(w http.ResponseWriter, r *http.Request) bool {
						if r.URL.Path != setPath {
							return false
						}
						w.Header().Set("Retry-After", "200")
						w.WriteHeader(http.StatusTooManyRequests)
						return true
					}
				case "a limiter":
					config.Limiter = stuck{}
				}
				c := open(t, config)
				if what == "a login" {
					g.forget()
				}
				failed := make(chan error)
				for range 2 {
					go func() {
						_, err := c.Set(t.Context(), items("a", "1")...)
						failed <- err
					}()
				}
				<-time.After(time.Second)
				began := time.Now()
				_ = c.Close()
				for range 2 {
					if err := <-failed; !errors.Is(err, xrtc.ErrClosed) {
						t.Errorf("got %v, want %v", err, xrtc.ErrClosed)
					}
				}
				if time.Since(began) > 0 {
					t.Errorf("it took %v", time.Since(began))
				}
			})
		})
	}
}

// Close ends what waits for the server, and a stream that is being read.
func TestCloseEndsRequests(t *testing.T) {
	limits := server.Open()
	limits.GetItemTimeout = bridgetest.Timeout // longer than the test waits
	c := xrtctest.Start(t, server.Config{Limits: limits}).Client(t)
	set(t, c, "a", "1")
	ended := make(chan error)
	go func() {
		_, err := c.Get(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("b"), Mode: xrtc.Watch})
		ended <- err
	}()
	streaming := make(chan struct{})
	go func() {
		for _, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
			if err != nil {
				ended <- err
				return
			}
			close(streaming)
		}
	}()
	<-streaming
	_ = c.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, xrtc.ErrClosed) {
			t.Errorf("got %v, want %v", err, xrtc.ErrClosed)
		}
	}
	if _, err := c.Set(t.Context(), items("a", "2")...); !errors.Is(err, xrtc.ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, xrtc.ErrClosed)
	}
}

// stuck is a limiter that lets nothing through.
type stuck struct{}

func (stuck) Wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestLimiterIsAsked(t *testing.T) {
	var asked counter
	config := newGate(t, quick()).listen(t)
	config.Limiter = &asked
	c := open(t, config)
	set(t, c, "a", "1")
	get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("a")})
	if got := asked.Load(); got != 2 {
		t.Errorf("asked %d times, want 2: for set and get, not for the login", got)
	}
}

type counter struct{ atomic.Int64 }

func (c *counter) Wait(context.Context) error {
	c.Add(1)
	return nil
}

func TestOneConnection(t *testing.T) {
	g := newGate(t, quick())
	s := httptest.NewUnstartedServer(g)
	var conns atomic.Int64
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := open(t, account(s.URL))
	for i := range 500 {
		set(t, c, "a", strconv.Itoa(i))
		if i%100 == 0 { // a refusal costs no connection
			if _, err := c.SetEncoded(t.Context(), []byte("{}")); !errors.Is(err, xrtc.ErrParse) {
				t.Errorf("got %v, want %v", err, xrtc.ErrParse)
			}
			g.forget()
		}
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestCookiesOfALoadBalancer(t *testing.T) {
	g := newGate(t, quick())
	n := 0
	g.hook = func(w http.ResponseWriter, r *http.Request) bool {
		http.SetCookie(w, &http.Cookie{Name: "AWSALBAPP-0", Value: strconv.Itoa(n), Path: "/"})
		if r.URL.Path == loginPath {
			return false
		}
		sent, err := r.Cookie("AWSALBAPP-0")
		if err != nil || n > 1 && sent.Value != strconv.Itoa(n-1) {
			t.Errorf("request %d: got cookie %v, %v", n, sent, err)
		}
		n++
		if session, err := r.Cookie("JSESSIONID"); err == nil { // the gate knows that one only
			r.Header.Set("Cookie", session.String())
		}
		g.server.ServeHTTP(w, r)
		return true
	}
	c := open(t, g.listen(t))
	n = 1
	for range 3 {
		set(t, c, "a", "1")
	}
	get(t, c, xrtc.GetRequest{})
}

func TestConcurrentSetsAndGets(t *testing.T) {
	c := xrtctest.Start(t, server.Config{Limits: server.Open()}).Client(t)
	const each = 20
	want := make(map[string]int)
	for i := range crowd {
		for n := range each {
			want[strconv.Itoa(i)+"-"+strconv.Itoa(n)]++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout) // of the getters
	defer cancel()
	var setters sync.WaitGroup
	for i := range crowd {
		setters.Go(func() {
			for n := range each {
				if _, err := c.Set(t.Context(), items("a", strconv.Itoa(i)+"-"+strconv.Itoa(n))...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var mu sync.Mutex
	got := make(map[string]int)
	var getters sync.WaitGroup
	total := 0
	for range 5 { // gets of one session share its items
		getters.Go(func() {
			for ctx.Err() == nil {
				some, err := c.Get(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a"), Mode: xrtc.Watch, Schedule: xrtc.FIFO})
				mu.Lock()
				for _, it := range some {
					got[it.Payload]++
				}
				if total += len(some); total >= crowd*each {
					cancel()
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	setters.Wait()
	getters.Wait()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}
