package xrtc_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
)

func TestRetryAfter(t *testing.T) {
	const tooMany = `{"error":{"errorgroup":2,"errorcode":46,"errormessage":"too many"}}`
	now := func() time.Time { return time.Now().Truncate(time.Second) }
	for _, test := range []struct {
		name   string
		status int
		body   string
		after  func() string
		date   func() string // by the clock of the server; nil: ours
		want   time.Duration
	}{
		{name: "seconds", status: 429, after: func() string { return "7" }, want: 7 * time.Second},
		{name: "code 46", status: 400, body: tooMany, after: func() string { return "3" }, want: 3 * time.Second},
		{
			name: "code 46 of status 200", status: 200, body: tooMany, after: func() string { return "3" },
			want: 3 * time.Second,
		},
		{name: "unavailable", status: 503, after: func() string { return "4" }, want: 4 * time.Second},
		{name: "date", status: 429, after: func() string {
			return now().Add(9 * time.Second).UTC().Format(http.TimeFormat)
		}, want: 9 * time.Second},
		{
			name: "date of a clock that is off", status: 429,
			after: func() string { return now().Add(-10*time.Minute + 9*time.Second).UTC().Format(http.TimeFormat) },
			date:  func() string { return now().Add(-10 * time.Minute).UTC().Format(http.TimeFormat) }, want: 9 * time.Second,
		},
		{name: "none", status: 429, after: func() string { return "" }, want: time.Second},
		{name: "zero", status: 429, after: func() string { return "0" }, want: time.Second},
		{name: "negative", status: 429, after: func() string { return "-5" }, want: time.Second},
		{
			name: "a date that is over", status: 429, after: func() string { return "Mon, 02 Jan 1995 15:04:05 GMT" },
			want: time.Second,
		},
		{name: "a day", status: 429, after: func() string { return "86400" }, want: 5 * time.Minute},
		{name: "absurd", status: 429, after: func() string { return "99999999999999999999999" }, want: 5 * time.Minute},
		{
			name: "absurd date", status: 429, after: func() string { return "Fri, 31 Dec 9999 23:59:59 GMT" },
			want: 5 * time.Minute,
		},
		{name: "nonsense", status: 429, after: func() string { return "soon" }, want: time.Second},
	} {
		for _, path := range []string{setPath, loginPath} {
			t.Run(test.name+path, func(t *testing.T) {
				bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
					refuse := true
					g.hook = func(w http.ResponseWriter, r *http.Request) bool {
						if r.URL.Path != path || !refuse {
							return false
						}
						refuse = false
						w.Header().Set("Retry-After", test.after())
						if test.date != nil {
							w.Header().Set("Date", test.date())
						}
						w.WriteHeader(test.status)
						_, _ = w.Write([]byte(test.body))
						return true
					}
					want := test.want
					if path == loginPath && test.want == time.Second {
						want = xrtc.LoginTimeout // what a login waits that is not told how long
					}
					began := time.Now()
					c := open(t, config)
					set(t, c, "a", "1")
					if took := time.Since(began); took != want {
						t.Errorf("it took %v, want %v", took, want)
					}
				})
			})
		}
	}
}

func TestRefusalForGoodIsAnError(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		g.hook = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		_, err := c.Set(t.Context(), items("a", "1")...)
		var e *xrtc.Error
		if !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || e.RetryAfter != time.Second ||
			!xrtc.IsTemporary(err) {
			t.Errorf("got %v", err)
		}
		if got := g.sets.Load(); got != 6 {
			t.Errorf("%d requests, want 6", got)
		}
		<-time.After(2 * time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := c.Set(ctx, items("a", "1")...); !errors.As(err, &e) || time.Since(began) > 0 {
			t.Errorf("got %v after %v, want the refusal at once", err, time.Since(began))
		}
	})
}

func TestPauseHoldsEverybodyBack(t *testing.T) {
	bubble(t, server.Open(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		var until time.Time
		g.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if until.IsZero() {
				until = time.Now().Add(5 * time.Second)
				w.Header().Set("Retry-After", "5")
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			if time.Now().Before(until) {
				t.Error("a request in the pause")
			}
			return false
		}
		first := make(chan error)
		go func() {
			_, err := c.Set(t.Context(), items("a", "1")...)
			first <- err
		}()
		<-time.After(time.Second)
		for _, err := range together(func(int) error { _, err := c.Set(t.Context(), items("a", "2")...); return err }) {
			if err != nil {
				t.Error(err)
			}
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestRateOfTheServer(t *testing.T) {
	bubble(t, server.Public(), func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		began := time.Now()
		for _, err := range together(func(int) error {
			for range 4 {
				if _, err := c.Set(t.Context(), items("a", "1")...); err != nil {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("100 requests at 20 a second took %v", took)
		}
	})
}

func TestQuotaIsAnErrorAtOnce(t *testing.T) {
	l := server.Open()
	l.RequestsPerMonth = 1
	bubble(t, l, func(t *testing.T, g *gate, config xrtc.Config) {
		c := open(t, config)
		set(t, c, "a", "1")
		began := time.Now()
		_, err := c.Set(t.Context(), items("a", "2")...)
		if !errors.Is(err, xrtc.ErrQuotaExceeded) || !xrtc.IsTemporary(err) || time.Since(began) > 0 {
			t.Errorf("got %v after %v, want %v", err, time.Since(began), xrtc.ErrQuotaExceeded)
		}
	})
}
