package xrtc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// run sets n items, again after each error, while a stream receives them, and checks that none is
// lost. Items may come twice if they were set twice, since an answer to a set may not arrive.
func run(t *testing.T, config xrtc.Config, n int) {
	t.Helper()
	setter := config
	setter.APIKey = secondKey
	s, c := open(t, setter), open(t, config)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	sets := make(map[string]int) // how often each was tried
	var setting sync.WaitGroup
	setting.Go(func() {
		for _, p := range count(n) {
			for ctx.Err() == nil {
				sets[p]++
				_, err := s.Set(ctx, items("a", p)...)
				if err == nil {
					break
				}
				if !xrtc.IsTemporary(err) {
					t.Errorf("set: %v", err)
					return
				}
			}
			<-time.After(50 * time.Millisecond)
		}
	})
	got := make(map[string]int)
	newest := -1
	for it, err := range c.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
		if err != nil {
			if !xrtc.IsTemporary(err) {
				t.Fatalf("stream: %v", err)
			}
			continue
		}
		got[it.Payload]++
		i, _ := strconv.Atoi(it.Payload)
		if i > newest+1 || i < newest {
			t.Errorf("%d after %d", i, newest)
		}
		if newest = i; i == n-1 {
			break
		}
	}
	setting.Wait()
	for _, p := range count(n) {
		if got[p] < 1 || got[p] > sets[p] {
			t.Errorf("item %s came %d times, and was set %d times", p, got[p], sets[p])
		}
	}
}

func TestF23(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	type request struct {
		n    int64 // of set and get requests
		w    http.ResponseWriter
		r    *http.Request
		g    *gate
		dice *rand.Rand
	}
	for _, test := range []struct {
		name string
		hook func(r request) bool
	}{
		{"401 now and then", func(r request) bool {
			if r.n%7 == 3 {
				r.w.WriteHeader(http.StatusUnauthorized)
			}
			return r.n%7 == 3
		}},
		{"429", func(r request) bool {
			if r.n%5 == 2 {
				r.w.Header().Set("Retry-After", "1")
				r.w.WriteHeader(http.StatusTooManyRequests)
			}
			return r.n%5 == 2
		}},
		{"bursts of 5xx", func(r request) bool {
			if r.dice.IntN(10) >= 3 {
				return false
			}
			r.w.WriteHeader([]int{500, 502, 503}[r.dice.IntN(3)])
			_, _ = io.WriteString(r.w, "<html>sorry</html>")
			return true
		}},
		{"body cut", func(r request) bool {
			if r.n%4 != 1 {
				return false
			}
			half(r.g, r.w, r.r, r.dice)
			return true
		}},
		{"wrong length", func(r request) bool {
			if r.n%4 != 1 {
				return false
			}
			r.w.Header().Set("Content-Length", "1000")
			r.g.server.ServeHTTP(headless{r.w}, r.r)
			return true
		}},
		{"not JSON", func(r request) bool {
			if r.n%6 == 2 {
				_, _ = io.WriteString(r.w, "<html>log in to this WLAN</html>\n")
			}
			return r.n%6 == 2
		}},
		{"error of status 200", func(r request) bool {
			if r.n%6 == 2 {
				_, _ = io.WriteString(r.w, `{"error":{"errorgroup":2,"errorcode":10011,"errormessage":"session denied"}}`)
			}
			return r.n%6 == 2
		}},
		{"blank answer", func(r request) bool { return r.n%6 == 2 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := server.Open()
			l.LoginTimeout, l.GetItemTimeout = 100*time.Millisecond, time.Second
			bubble(t, l, func(t *testing.T, g *gate, config xrtc.Config) {
				var n atomic.Int64
				var mu sync.Mutex
				dice := rand.New(rand.NewPCG(seed, 0))
				g.hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == loginPath {
						return false
					}
					mu.Lock()
					private := rand.New(rand.NewPCG(dice.Uint64(), 0))
					mu.Unlock()
					return test.hook(request{n.Add(1), w, r, g, private})
				}
				run(t, config, 100)
				if most := g.mostLoggingIn.Load(); most > 2 {
					t.Errorf("%d logins at a time of two clients", most)
				}
			})
		})
	}
}

// half sends a part of the answer and hangs up.
func half(g *gate, w http.ResponseWriter, r *http.Request, dice *rand.Rand) {
	rec := httptest.NewRecorder()
	g.server.ServeHTTP(rec, r)
	body := rec.Body.Bytes()
	w.WriteHeader(rec.Code)
	if len(body) > 0 {
		_, _ = w.Write(body[:dice.IntN(len(body))])
	}
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// headless lets nobody set headers.
type headless struct{ http.ResponseWriter }

func (headless) Header() http.Header           { return make(http.Header) }
func (w headless) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestF23DeniedForEver(t *testing.T) {
	bubble(t, server.Public(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		g.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != loginPath {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, `{"error":{"errorgroup":2,"errorcode":10011,"errormessage":"denied"}}`)
			}
			return r.URL.Path != loginPath
		}
		for _, err := range together(func(int) error { _, err := c.Set(t.Context(), items("a", "1")...); return err }) {
			if !errors.Is(err, xrtc.ErrSession) || !xrtc.IsTemporary(err) {
				t.Errorf("got %v, want %v", err, xrtc.ErrSession)
			}
		}
		if got := g.logins.Load(); got != 2 {
			t.Errorf("%d logins, want 2", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err := range c.Stream(ctx, xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
			if !errors.Is(err, xrtc.ErrSession) {
				t.Errorf("stream: got %v, want %v", err, xrtc.ErrSession)
			}
		}
		if got, most := g.logins.Load(), int64(2+60/5+1); got > most {
			t.Errorf("%d logins in a minute, at most %d is right", got, most)
		}
	})
}

func TestF23EndlessBody(t *testing.T) {
	for _, what := range []string{"an answer", "an error", "a line", "a header", "a length"} {
		t.Run(what, func(t *testing.T) {
			g := newGate(t, quick())
			g.hook = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == loginPath {
					return false
				}
				switch what {
				case "an error":
					w.WriteHeader(http.StatusInternalServerError)
				case "a header":
					w.Header().Set("Endless", strings.Repeat("x", 1<<20))
				case "a length":
					w.Header().Set("Content-Length", "10737418240")
				}
				chunk := []byte(strings.Repeat(`{"items":[],`, 1<<12))
				for {
					if _, err := w.Write(chunk); err != nil {
						return true
					}
				}
			}
			c := open(t, g.listen(t))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Set(t.Context(), items("a", "1")...)
			if err == nil {
				t.Error("set: there is no error")
			}
			t.Log(err)
			for _, err := range c.Stream(t.Context(), xrtc.GetRequest{Portals: xrtc.Portals("a")}) {
				if err == nil {
					t.Error("stream: there is no error")
				}
				break
			}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
				t.Errorf("it took %d bytes", took)
			}
		})
	}
}

func TestF23RedirectIsNotFollowed(t *testing.T) {
	var visited atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		visited.Add(1)
		t.Errorf("%s %s came here, with cookie %q", r.Method, r.URL, r.Header.Get("Cookie"))
	}))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, path := range []string{loginPath, setPath, getPath} {
			t.Run(fmt.Sprint(status, path), func(t *testing.T) {
				g := newGate(t, quick())
				g.hook = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == path {
						http.Redirect(w, r, other.URL+r.URL.Path, status)
					}
					return r.URL.Path == path
				}
				c, err := xrtc.Open(t.Context(), g.listen(t))
				if c != nil {
					defer c.Close()
					if path == setPath {
						_, err = c.Set(t.Context(), items("a", "1")...)
					} else {
						_, err = c.Get(t.Context(), xrtc.GetRequest{})
					}
				}
				var e *xrtc.Error
				if !errors.As(err, &e) || e.Status != status || xrtc.IsTemporary(err) {
					t.Errorf("got %v, want status %d", err, status)
				}
			})
		}
	}
	if visited.Load() > 0 {
		t.Error("credentials went to another host")
	}
}

// The cookie of one host is not for another, even if the configuration names both.
func TestF23CookieStaysAtItsHost(t *testing.T) {
	for _, change := range []func(*xrtc.Config){
		func(c *xrtc.Config) { c.SetURL = "http://other.test" + setPath },
		func(c *xrtc.Config) { c.GetURL = "http://other.test" + getPath },
	} {
		config := account("http://portal.test")
		change(&config)
		config.Transport = agreeable(func(r *http.Request, _ string) {
			if r.URL.Host != "portal.test" {
				t.Errorf("%s got cookie %q", r.URL, r.Header.Get("Cookie"))
			}
		})
		if _, err := xrtc.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "other.test") {
			t.Errorf("got %v", err)
		}
	}
	config := account("https://portal.test")
	config.SetURL = "http://portal.test" + setPath
	config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		return reply(r, http.StatusOK, `{}`, "Set-Cookie", "JSESSIONID=1; Path=/; Secure"), nil
	})
	if _, err := xrtc.Open(t.Context(), config); err == nil {
		t.Error("a secure cookie is for plain HTTP")
	}
}

func TestF23ClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			var clock atomic.Int64
			key, err := server.ParseKey(secondKey)
			if err != nil {
				t.Fatal(err)
			}
			first, err := server.ParseKey(xrtctest.APIKey)
			if err != nil {
				t.Fatal(err)
			}
			l := quick()
			s := xrtctest.Start(t, server.Config{
				Limits: l, Accounts: []server.Account{{ID: xrtctest.AccountID, Keys: []server.Key{first, key}}},
				Now: func() time.Time { return time.Now().Add(time.Duration(clock.Load())) },
			})
			clock.Store(int64(skew))
			run(t, s.Config(), 20)
			clock.Store(0) // and back, which the server hides
			c := s.Client(t)
			at := set(t, c, "b", "0")
			clock.Store(int64(skew))
			if again := set(t, c, "b", "1"); again.Before(at) {
				t.Errorf("set at %v after %v", again, at)
			}
			if diff := cmp.Diff([]string{"1", "0"},
				get(t, c, xrtc.GetRequest{Portals: xrtc.Portals("b"), MaxAge: time.Minute})); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

// A server that steps back while a resumed session goes on, and knows nothing of lower bounds.
func TestF23TimestampsStepBack(t *testing.T) {
	line := func(payload string, ts int64) string {
		return fmt.Sprintf(`{"items":[{"portalid":"a","payload":%q,"servertimestamp":%d}]}`+"\n", payload, ts)
	}
	const now = 1795327834812
	answers := []string{
		line("0", now) + line("1", now+10), line("0", now) + line("1", now+10) + line("2", now+20),
		line("3", now-600_000), line("4", now-599_000),
	}
	config := account("http://portal.test")
	logins, gets := 0, 0
	config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == loginPath {
			logins++
			return reply(r, http.StatusOK, fmt.Sprintf(`{"servertimestamp":%d}`, now+20), "Set-Cookie",
				"JSESSIONID=1; Path=/", "Xrtc-Limits", `{"login-timeout":0}`), nil
		}
		if gets == 1 && logins == 1 {
			return reply(r, http.StatusUnauthorized, ""), nil
		}
		gets++
		return reply(r, http.StatusOK, answers[min(gets, len(answers))-1]), nil
	})
	got, errs := take(t, open(t, config), 5, xrtc.GetRequest{Portals: xrtc.Portals("a")})
	if diff := cmp.Diff(count(5), got); diff != "" || errs != nil {
		t.Error(errs, "(-want +got)\n"+diff)
	}
}

func TestF23TLS(t *testing.T) {
	g := newGate(t, quick())
	s := httptest.NewUnstartedServer(g)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	config := account(s.URL)
	_, err := xrtc.Open(t.Context(), config)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || g.logins.Load() > 0 {
		t.Fatalf("got %v, and %d logins, want %v before any", err, g.logins.Load(), unknown)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	config.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	run(t, config, 5)
}

func TestF23TLSOfServe(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	certificate.Close()
	g := newGate(t, quick())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- g.server.Serve(tls.NewListener(l, &tls.Config{Certificates: certificate.TLS.Certificates}))
	}()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	config := account("https://" + l.Addr().String())
	config.TLS = &tls.Config{RootCAs: roots}
	run(t, config, 5)
	if err := errors.Join(g.server.Close(), <-served); err != nil {
		t.Error(err)
	}
}
