package server_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func TestItemAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, func(l *server.Limits) { l.SessionIdle = 24 * time.Hour }))
		cookie, fresh := login(t, s), login(t, s)
		set(t, s, cookie, "a:1", "b:1")
		pass(time.Minute)
		set(t, s, cookie, "a:2")
		pass(59 * time.Minute)
		if got, want := get(t, s, cookie, probeA), "a:2 a:1"; got != want {
			t.Errorf("at the age: got %q, want %q", got, want)
		}
		pass(time.Nanosecond)
		if got, want := get(t, s, fresh, probeA), "a:2"; got != want {
			t.Errorf("past the age: got %q, want %q", got, want)
		}
		if got, want := get(t, s, fresh, `{"portals":[]}`), "a:2"; got != want {
			t.Errorf("the null view: got %q, want %q", got, want)
		}
		pass(time.Hour)
		if got := get(t, s, fresh, `{"portals":[]}`); got != "" {
			t.Errorf("everything is too old: got %q", got)
		}
		set(t, s, cookie, "a:3")
		if got, want := get(t, s, fresh, probeA), "a:3"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, nil))
		writer := login(t, s)
		set(t, s, writer, "a:1")
		pass(100 * time.Millisecond)
		set(t, s, writer, "a:2", "a:3")
		for _, tt := range []struct{ cutoff, want string }{
			{"-1", "a:1 a:2 a:3"},
			{"100", "a:1 a:2 a:3"},
			{"99", "a:2 a:3"},
			{"0", "a:2 a:3"},
			{"9223372036854775807", "a:1 a:2 a:3"},
		} {
			body := `{"portals":[{"portalid":"a"}],"schedule":"FIFO","cutoff":` + tt.cutoff + `}`
			cookie := login(t, s)
			if got := get(t, s, cookie, body); got != tt.want {
				t.Errorf("cutoff %s: got %q, want %q", tt.cutoff, got, tt.want)
			}
			if got := get(t, s, cookie, probeA); got != "" {
				t.Errorf("cutoff %s: what it dropped came again: %q", tt.cutoff, got)
			}
		}
		pass(time.Millisecond)
		if got := get(t, s, login(t, s), `{"portals":[{"portalid":"a"}],"cutoff":0}`); got != "" {
			t.Errorf("a millisecond later: got %q", got)
		}
		// A watch whose items are all too old waits on.
		cookie := login(t, s)
		pass(time.Second)
		time.AfterFunc(time.Second, func() { set(t, s, writer, "a:4") })
		began := time.Now()
		if got, want := get(t, s, cookie, `{"portals":[{"portalid":"a"}],"mode":"watch","cutoff":500}`),
			"a:4"; got != want || time.Since(began) != time.Second {
			t.Errorf("a watch: got %q after %v, want %q", got, time.Since(began), want)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, nil))
		cookie, writer := login(t, s), login(t, s)
		watch := func(body, want string, after time.Duration) {
			t.Helper()
			began := time.Now()
			w := post(t, s, pathGet, cookie, body)
			if got := time.Since(began); show(t, w.Body.String()) != want || got != after {
				t.Errorf("%s: got %s after %v, want %q after %v", body, w.Body, got, want, after)
			}
			if want == "" && w.Body.String() != "{}" {
				t.Errorf("%s: got %q", body, w.Body)
			}
		}
		watch(watchA, "", 5*time.Second)
		if got := get(t, s, cookie, `{"portals":[]}`); got != "" {
			t.Errorf("a watch creates a portal: %q", got)
		}
		for _, by := range []string{writer, cookie} { // its own session wakes it, too
			time.AfterFunc(1234*time.Millisecond, func() { set(t, s, by, "b:0", "a:1", "a:2") })
			watch(watchA, "a:2 a:1", 1234*time.Millisecond)
		}
		time.AfterFunc(time.Second, func() { set(t, s, writer, "b:9") })
		watch(`{"portals":[{"portalid":"a"},{"portalid":"c"}],"mode":"watch"}`, "", 5*time.Second)
		time.AfterFunc(time.Second, func() { set(t, s, writer, "c:1") })
		watch(`{"portals":[{"portalid":"a"},{"portalid":"c"}],"mode":"watch"}`, "c:1", time.Second)
		set(t, s, writer, "a:3")
		watch(watchA, "a:3", 0)
	})
}

// The time of a get counts from the start of its request, however slow the body is.
func TestGetTimeoutFromStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, nil))
		cookie := login(t, s)
		for _, body := range []string{watchA, streamA} {
			pr, pw := io.Pipe()
			go func() {
				pass(2 * time.Second)
				_, _ = io.WriteString(pw, body)
				_ = pw.Close()
			}()
			r := request(t, pathGet, cookie, "")
			r.Body, r.ContentLength = pr, -1
			w := httptest.NewRecorder()
			began := time.Now()
			s.ServeHTTP(w, r)
			if got, want := time.Since(began), 5*time.Second; got != want || strings.TrimSpace(w.Body.String()) != "{}" {
				t.Errorf("%s: got %s after %v, want {} after %v", body, w.Body, got, want)
			}
		}
	})
}

func TestStream(t *testing.T) {
	type line = struct {
		at    time.Duration
		items string
	}
	for _, tt := range []struct {
		name string
		sets []line // what is set when
		want []line // what is flushed when, the headers first
		body string // the whole
	}{
		{"nothing", nil, []line{{0, ""}}, "{}\n"},
		{"one", []line{{time.Second, "a:1"}}, []line{{0, ""}, {time.Second, "a:1"}}, ""},
		{
			"several, and its time does not begin again",
			[]line{{time.Second, "a:1"}, {4900 * time.Millisecond, "a:2 b:0 a:3"}, {5100 * time.Millisecond, "a:4"}},
			[]line{{0, ""}, {time.Second, "a:1"}, {4900 * time.Millisecond, "a:2 a:3"}},
			"",
		},
		{"waiting already", []line{{-time.Second, "a:1 a:2"}}, []line{{0, ""}, {0, "a:1 a:2"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, config(t, nil))
				cookie, writer := login(t, s), login(t, s)
				for _, l := range tt.sets {
					if l.at < 0 {
						set(t, s, writer, strings.Fields(l.items)...)
					} else {
						time.AfterFunc(l.at, func() { set(t, s, writer, strings.Fields(l.items)...) })
					}
				}
				f := newFlushes()
				s.ServeHTTP(f, request(t, pathGet, cookie, streamA))
				if got, want := time.Since(f.began), 5*time.Second; got != want {
					t.Errorf("it took %v, want %v", got, want)
				}
				var got []line
				for i, text := range f.text {
					items := ""
					if text != "" {
						items = show(t, text)
						if !strings.HasSuffix(text, "}\n") || strings.Count(text, "\n") != 1 {
							t.Errorf("got line %q", text)
						}
					}
					got = append(got, line{f.at[i], items})
				}
				if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(line{})); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if rest := f.Body.String()[f.seen:]; rest != tt.body {
					t.Errorf("after the last line: got %q, want %q", rest, tt.body)
				}
				if f.Code != http.StatusOK || f.Header().Get("Content-Type") != "application/json" {
					t.Errorf("got status %d and %v", f.Code, f.Header())
				}
				pass(time.Second)
				if got := get(t, s, cookie, probeA); strings.Contains(got, "a:1") {
					t.Errorf("a probe repeats the stream: %q", got)
				}
			})
		})
	}
}

// A backlog comes in lines of at most 65536 bytes, without blank ones, and a stream under steady traffic ends in time.
func TestStreamBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, nil))
		cookie, writer := login(t, s), login(t, s)
		payload := strings.Repeat("é\"\n", 2000)
		for range 40 {
			set(t, s, writer, "a:"+payload)
		}
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					set(t, s, writer, "a:x")
				}
			}
		}()
		w := httptest.NewRecorder()
		began := time.Now()
		s.ServeHTTP(w, request(t, pathGet, cookie, streamA))
		close(stop)
		if got, want := time.Since(began), 5*time.Second; got != want {
			t.Errorf("it took %v, want %v", got, want)
		}
		items, before := 0, int64(0)
		for l := range strings.Lines(w.Body.String()) {
			if len(l) > 65536 || len(l) <= len("{}\n") {
				t.Fatalf("got a line of %d bytes", len(l))
			}
			for _, i := range decode(t, l).Items {
				if i.ServerTimestamp < before || items < 40 && i.Payload != payload {
					t.Fatalf("item %d is wrong", items)
				}
				items++
				before = i.ServerTimestamp
			}
		}
		if items < 5000 {
			t.Errorf("got %d items", items)
		}
	})
}

// A reader that is gone claims nothing any more, and its answer does not look complete.
func TestReaderGone(t *testing.T) {
	for _, body := range []string{watchA, streamA} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, config(t, nil))
			cookie := login(t, s)
			ctx, hangUp := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, hangUp)
			began := time.Now()
			var panicked any
			func() {
				defer func() { panicked = recover() }()
				s.ServeHTTP(httptest.NewRecorder(), request(t, pathGet, cookie, body).WithContext(ctx))
			}()
			if got, want := time.Since(began), time.Second; got != want || panicked != http.ErrAbortHandler {
				t.Errorf("%s: got %v after %v, want the connection aborted after %v", body, panicked, got, want)
			}
			set(t, s, cookie, "a:1")
			if got, want := get(t, s, cookie, probeA), "a:1"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A session ends a minute after its last accepted call.
func TestSessionIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, config(t, nil))
		cookie := login(t, s)
		alive := func(want bool) {
			t.Helper()
			w := post(t, s, pathGet, cookie, probeA)
			if !want {
				refused(t, w, http.StatusUnauthorized, 2, 10011)
			} else if w.Code != http.StatusOK {
				t.Errorf("got status %d and %s", w.Code, w.Body)
			}
		}
		pass(time.Minute)
		alive(true)
		pass(time.Minute)
		set(t, s, cookie, "b:1")
		pass(time.Minute)
		get(t, s, cookie, `{"portals":[]}`)
		pass(time.Minute)
		alive(true)
		pass(time.Minute)
		post(t, s, pathGet, cookie, watchA)
		pass(time.Minute) // counted from the end of the watch
		alive(true)
		pass(30 * time.Second)
		refused(t, post(t, s, pathSet, cookie, `{}`), http.StatusBadRequest, 6, 20)
		refused(t, post(t, s, pathGet, cookie, `{"portals":[{"portalid":"-"}]}`), http.StatusBadRequest, 6, 30)
		pass(30*time.Second + time.Nanosecond) // refused calls are no use
		alive(false)
		alive(false)
		cookie = login(t, s)
		refused(t, post(t, s, pathSet, cookie, `{}`), http.StatusBadRequest, 6, 20)
		alive(true) // a session survives a failed request
	})
}

// A watch or stream that is still open keeps its session alive.
func TestOpenStreamKeepsSession(t *testing.T) {
	for _, body := range []string{watchA, streamA} {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, config(t, func(l *server.Limits) { l.GetItemTimeout = 5 * time.Minute }))
			cookie := login(t, s)
			done := make(chan struct{})
			go func() {
				defer close(done)
				post(t, s, pathGet, cookie, body)
			}()
			pass(4 * time.Minute)
			if w := post(t, s, pathGet, cookie, `{"portals":[]}`); w.Code != http.StatusOK {
				t.Errorf("%s: got status %d and %s", body, w.Code, w.Body)
			}
			<-done
			pass(time.Minute)
			set(t, s, cookie, "a:1")
			pass(time.Minute + time.Nanosecond)
			refused(t, post(t, s, pathGet, cookie, probeA), http.StatusUnauthorized, 2, 10011)
		})
	}
}

// A key that nobody used for API_KEY_AGE_MAX is disabled.
func TestKeyAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const age = 24 * time.Hour
		s := start(t, config(t, func(l *server.Limits) { l.APIKeyAgeMax, l.SessionIdle = age, 2*age }))
		used, sessionOnly := login(t, s), loginAs(t, s, otherAccount, otherKey)
		pass(age)
		get(t, s, sessionOnly, probeA) // a call is use as well
		if w := post(t, s, pathLogin, "", loginBody(xrtctest.AccountID, xrtctest.APIKey)); w.Code != http.StatusOK {
			t.Errorf("at the age: got %s", w.Body)
		}
		pass(time.Nanosecond)
		refused(t, post(t, s, pathLogin, "", loginBody(xrtctest.AccountID, secondKey)), http.StatusBadRequest, 4, 35)
		pass(age - time.Nanosecond)
		loginAs(t, s, otherAccount, otherKey)
		get(t, s, used, probeA)
		pass(age + time.Nanosecond)
		refused(t, post(t, s, pathLogin, "", loginBody(xrtctest.AccountID, xrtctest.APIKey)), http.StatusBadRequest, 4, 35)
	})
}

// F25: the clock jumps. Timestamps never go back, over all portals of an account, and nothing lives longer or shorter.
func TestF25ClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t, func(l *server.Limits) { l.RequestsPerSecond = 1000 })
		now := newClock(sampleTime)
		c.Now = now.Now
		s := start(t, c)
		cookie := login(t, s)
		hour, year := time.Hour.Milliseconds(), 365*24*time.Hour.Milliseconds()
		before := int64(0)
		for i, jump := range []int64{
			0, -hour, hour, 1, -1, -10 * year, 10*year + 5, hour, -1000, -1000, -1000, -1000,
			10 * year, -10 * year, -3 * hour,
		} {
			now.ms.Add(jump)
			at := set(t, s, cookie, []string{"a:1", "b:1"}[i%2])
			if at < before {
				t.Errorf("jump %d: a timestamp went back by %d", i, before-at)
			}
			before = at
			w := post(t, s, pathLogin, "", loginBody(xrtctest.AccountID, xrtctest.APIKey))
			if at := decode(t, w.Body.String()).ServerTimestamp; at < before {
				t.Errorf("jump %d: a login went back by %d", i, before-at)
			}
			began := time.Now()
			if got := get(t, s, cookie, `{"portals":[{"portalid":"none"}],"mode":"watch"}`); got != "" ||
				time.Since(began) != 5*time.Second {
				t.Errorf("jump %d: got %q after %v", i, got, time.Since(began))
			}
		}
		if got, want := len(strings.Fields(get(t, s, cookie,
			`{"portals":[{"portalid":"a"},{"portalid":"b"}],"cutoff":120000}`))), 15; got != want {
			t.Errorf("got %d items, want %d", got, want)
		}
		if other := set(t, s, loginAs(t, s, otherAccount, otherKey), "a:1"); other != now.ms.Load() {
			t.Errorf("the time of one account is in another: got %d, want %d", other, now.ms.Load())
		}
		now.ms.Add(10 * year)
		get(t, s, cookie, probeA)
		now.ms.Add(-20 * year)
		pass(time.Minute)
		get(t, s, cookie, probeA)
		pass(time.Minute + time.Nanosecond)
		refused(t, post(t, s, pathGet, cookie, probeA), http.StatusUnauthorized, 2, 10011)
	})
}
