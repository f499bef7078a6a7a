package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin/page"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/browsertest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// fake is a bridge as the page sees it, over real HTTP.
type fake struct {
	*httptest.Server
	actions chan string // what was asked of it that changes something
	tapped  chan string // lines for /tap
	token   string      // that it wants, if any

	mu     sync.Mutex
	status monitor.Status
	dead   []string
}

func newFake(t *testing.T, status monitor.Status, token string) *fake {
	f := &fake{status: status, actions: make(chan string, 10), tapped: make(chan string, 1000), token: token}
	mux := http.NewServeMux()
	p := page.New(page.Config{
		Status:  f.get,
		Trusted: f.trusts,
		Offers: func(method, path string) bool {
			_, pattern := mux.Handler(httptest.NewRequest(method, path, nil))
			return pattern != "/"
		},
	})
	mux.Handle("/", p)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { f.metrics(w) })
	mux.HandleFunc("GET /tap", f.tap)
	mux.HandleFunc("GET /dead", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_, _ = io.WriteString(w, strings.Join(f.dead, "\n")+"\n")
	})
	act := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Query().Has("dry_run") {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"starts":    []any{map[string]any{"pipeline": "new" + attack, "promises": []string{"at least once"}}},
				"restarts":  []any{map[string]any{"pipeline": "sensors", "because": []string{"steps", "to"}}},
				"untouched": []string{"a", "b"}, "warnings": []string{"old leaves checkpoints behind"},
			})
			return
		}
		_, _ = io.WriteString(w, `{"warning": "not drained"}`)
		f.actions <- fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header.Get("Content-Type"), " ", string(body))
	}
	for _, path := range []string{
		"/dead/replay", "/reload", "/pipelines/{name}/pause", "/pipelines/{name}/resume",
		"/pipelines/{name}/restart",
	} {
		mux.HandleFunc("POST "+path, act)
	}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Sec-Fetch-Mode") == "no-cors" {
			http.Error(w, "as a page of another site would", http.StatusForbidden)
			return
		}
		if open := r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/page/"); !open && !f.trusts(r) {
			http.Error(w, "a token is needed", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	f.Start()
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// asked waits for something that is asked and changes something.
func (f *fake) asked(t *testing.T) string {
	t.Helper()
	select {
	case action := <-f.actions:
		return action
	case <-time.After(bridgetest.Timeout):
		t.Fatal("the bridge is asked nothing")
		return ""
	}
}

func (f *fake) trusts(r *http.Request) bool {
	return f.token == "" || r.Header.Get("Authorization") == "Bearer "+f.token
}

func (f *fake) get() monitor.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Now = time.Now()
	s.Pipelines = append([]monitor.Pipeline(nil), s.Pipelines...)
	return s
}

func (f *fake) set(change func(s *monitor.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

func (f *fake) metrics(w io.Writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range f.status.Pipelines {
		d := float64(p.Ledger.Delivered)
		for j, le := range []string{"0.001", "0.005", "0.025", "0.1", "1", "+Inf"} {
			part := []float64{0.2, 0.6, 0.9, 0.98, 1, 1}[j]
			fmt.Fprintf(w, "xrtcbridge_delivery_seconds_bucket{pipeline=%q,le=%q} %d\n", p.Name, le, int(d*part)+i)
		}
	}
}

func (f *fake) tap(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("when") == "broken" {
		http.Error(w, "when: unknown name broken", http.StatusBadRequest)
		return
	}
	out := http.NewResponseController(w)
	_ = out.Flush()
	for {
		select {
		case line := <-f.tapped:
			_, _ = io.WriteString(w, line+"\n")
			_ = out.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func media(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// some is a status as it might be: pipelines in several states, the first of them under load.
func some() monitor.Status {
	now := time.Now()
	at := func(ago time.Duration) *time.Time {
		when := now.Add(-ago)
		return &when
	}
	end := func(instance, kind, typ string, rate float64, after ...string) monitor.End {
		return monitor.End{
			Instance: instance, Kind: kind, Type: typ, State: monitor.EndUp, Since: *at(3 * time.Hour), After: after,
			Messages: uint64(rate * 9000), Bytes: uint64(rate * 9000 * 214), Opened: 1, Last: at(0),
			Rates: monitor.Rates{Messages: rate, Bytes: rate * 214, Messages5m: rate, Bytes5m: rate * 214},
		}
	}
	step := func(instance, typ string, rate, passed float64, after ...string) monitor.End {
		e := end(instance, "step", typ, rate, after...)
		e.Passed = uint64(passed * 9000)
		return e
	}
	pipeline := func(name string, state monitor.State, in, out float64, ends ...monitor.End) monitor.Pipeline {
		p := monitor.Pipeline{
			Name: name, State: state, Since: *at(3 * time.Hour), Ends: ends, LastIn: at(time.Second), LastOut: at(time.Second),
			In: monitor.Rates{Messages: in}, Out: monitor.Rates{Messages: out},
			Ledger: monitor.Ledger{
				Received: uint64(in * 9000), Delivered: uint64(out * 9000),
				Filtered: uint64((in - out) * 9000),
			},
		}
		if in > 0 {
			p.Owed, p.Ledger.InFlight, p.Oldest = 212, 212, at(40*time.Millisecond)
			p.Ledger.Received += 212
		}
		return p
	}
	sensors := pipeline("sensors-to-jetstream", monitor.Running, 2140, 2012,
		end("sensors-to-jetstream-from", "source", "mqtt", 1830), end("sensors-to-jetstream-from-2", "source", "mqtt", 310),
		step("sensors-to-jetstream-step", "filter", 2140, 2012, "sensors-to-jetstream-from", "sensors-to-jetstream-from-2"),
		step("sensors-to-jetstream-step-2", "set", 2012, 2012, "sensors-to-jetstream-step"),
		end("sensors-to-jetstream-to", "sink", "nats", 1980, "sensors-to-jetstream-step-2"),
		end("sensors-to-jetstream-to-2", "sink", "file", 32, "sensors-to-jetstream-step-2"),
		end("sensors-to-jetstream-to-3", "sink", "mqtt", 0, "sensors-to-jetstream-step-2"))
	failed := pipeline("orders-to-warehouse", monitor.Failed, 0, 0,
		end("orders-to-warehouse-from", "source", "nats", 0),
		end("orders-to-warehouse-to", "sink", "mqtt", 0, "orders-to-warehouse-from"))
	failed.Reason = "mqtt sink: connect mqtts://broker.example.com:8883: " +
		"not authorised (the broker refuses the user \"bridge\"): " +
		"check connections.broker.username and password"
	failed.Since, failed.Restarts, failed.Owed, failed.Oldest = *at(7 * time.Minute), 5, 18230, at(11*time.Minute)
	failed.Ledger.Received, failed.Ledger.Delivered, failed.Ledger.DeadLettered, failed.Ledger.InFlight = 91820,
		73508, 82, 18230
	failed.Reasons = []monitor.Count{{Outcome: "dead_lettered", Reason: "sink", N: 82}}
	failed.Ends[0].State, failed.Ends[0].Messages = monitor.EndClosed, 91820
	failed.Ends[1].State, failed.Ends[1].Reason, failed.Ends[1].Messages, failed.Ends[1].Refused = monitor.EndDown,
		failed.Reason, 73508, 82
	failed.Errors = []monitor.Error{
		{At: *at(7 * time.Minute), Instance: "orders-to-warehouse-to", Text: failed.Reason, N: 6},
		{
			At: *at(48 * time.Minute), Instance: "orders-to-warehouse-to",
			Text: "write 64 messages: publish orders/17/new: payload is above the broker's limit of 262144 bytes", N: 1,
		},
	}
	degraded := pipeline("archive", monitor.Degraded, 0, 0, end("archive-from", "source", "nats", 0),
		end("archive-to", "sink", "file", 0, "archive-from"))
	degraded.Reason = "nothing has come for 5m (stale_after): see whether nats subject archive.> still has publishers"
	degraded.Notes = []string{"step-2 (filter) has passed none of the last 4,120 messages: " +
		"see whether its condition can hold"}
	degraded.LastIn, degraded.LastOut = at(9*time.Minute), at(9*time.Minute)
	paused := pipeline("portals", monitor.Paused, 0, 0, end("portals-from", "source", "xrtc", 0),
		end("portals-to", "sink", "nats", 0, "portals-from"))
	finished := pipeline("import-2025", monitor.Finished, 0, 0, end("import-2025-from", "source", "file", 0),
		end("import-2025-to", "sink", "nats", 0, "import-2025-from"))
	waiting := pipeline("alarms", monitor.Waiting, 0, 0, end("alarms-from", "source", "mqtt", 0),
		end("alarms-to", "sink", "sms", 0, "alarms-from"))
	waiting.Reason = "plugin sms ended 3 times in a minute; it is started again in 40s"
	waiting.Again = at(-time.Hour - time.Minute/2)
	starting := pipeline("metering", monitor.Starting, 0, 0, end("metering-from", "source", "mqtt", 0),
		end("metering-to", "sink", "stdio", 0, "metering-from"))
	return monitor.Status{
		Version: "0.9.0", PID: 4242, Started: *at(3*time.Hour + 12*time.Minute), Now: now,
		Reasons: []string{
			"pipeline \"orders-to-warehouse\" has failed: mqtt sink: not authorised",
			"pipeline \"alarms\" is started again",
		},
		Config: monitor.Config{Files: []string{"pipelines.yaml"}, Loaded: *at(41 * time.Minute), Reloads: 3},
		Pipelines: []monitor.Pipeline{
			sensors, failed, degraded, waiting,
			pipeline("mirror", monitor.Running, 14.2, 14.2, end("mirror-from", "source", "nats", 14.2),
				end("mirror-to", "sink", "mqtt", 14.2, "mirror-from")), paused, starting, finished,
		},
	}
}

// traffic makes the first pipeline's counts grow, as if by another second.
func traffic(s *monitor.Status, n int) {
	p := s.Pipelines[0]
	wave := 1 + 0.3*float64(n%17-8)/8
	in, out := 2140*wave, 2012*wave
	p.In.Messages, p.Out.Messages = in, out
	p.Ledger.Received += uint64(in)
	p.Ledger.Delivered += uint64(out)
	p.Ledger.Filtered += uint64(in) - uint64(out)
	now := time.Now()
	oldest := now.Add(-time.Duration(n%7+2) * 20 * time.Millisecond)
	p.LastIn, p.LastOut, p.Oldest = &now, &now, &oldest
	p.Ends = append([]monitor.End(nil), p.Ends...)
	for i := range p.Ends {
		p.Ends[i].Messages += uint64(p.Ends[i].Rates.Messages)
	}
	s.Pipelines[0] = p
}

// The page shows what flows, in light, dark, on a phone, and where something has failed.
func looks(t *testing.T, tab *browsertest.Tab) {
	f := newFake(t, some(), "")
	// The page gets ten minutes of plots in a moment: its clock is that of the status.
	tab.Do(media("light"), chromedp.EmulateViewport(1440, 1000), chromedp.Navigate(f.URL+"/#/sensors-to-jetstream"))
	tab.Until(browsertest.Has("#name", "sensors-to-jetstream"))
	past := time.Now().Add(-10 * time.Minute)
	var statuses []monitor.Status
	s := some()
	for n := range 600 {
		traffic(&s, n)
		s.Now = past.Add(time.Duration(n) * time.Second)
		oldest := s.Now.Add(-time.Duration(n%7+2) * 20 * time.Millisecond)
		s.Pipelines = append([]monitor.Pipeline(nil), s.Pipelines...)
		s.Pipelines[0].Oldest = &oldest
		statuses = append(statuses, s)
	}
	text, err := json.Marshal(statuses)
	if err != nil {
		t.Fatal(err)
	}
	browsertest.Eval[bool](tab, `view.history.clear(); for (const s of `+string(text)+
		`) { view.buckets.set("sensors-to-jetstream", {p50: 0.004 + Math.random() * 0.001, p99: 0.03 + Math.random() * 0.02}); fold(s) }; draw(); true`)
	tab.Until(`view.history.get("sensors-to-jetstream").t.length > 300 && document.querySelectorAll("canvas").length === 2`)
	tab.Shoot("light")
	tab.Do(media("dark"))
	tab.Until(`getComputedStyle(document.body).colorScheme !== "" && matchMedia("(prefers-color-scheme: dark)").matches && document.querySelectorAll("canvas").length === 2`)
	tab.Shoot("dark")
	browsertest.Eval[string](tab, `location.hash = "#/orders-to-warehouse"`)
	tab.Until(browsertest.Has("#reason", "not authorised"))
	tab.Until(browsertest.Has("#errors", "above the broker's limit"))
	tab.Shoot("failed-dark")
	tab.Do(media("light"))
	tab.Shoot("failed")
	tab.Do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	tab.Until(`getComputedStyle(document.querySelector("nav")).display === "none"`)
	tab.Shoot("phone-failed")
	// Nothing is wider than the phone, but for what scrolls by itself.
	tab.Until(`document.documentElement.scrollWidth <= 390`) // once its plots have been told
	browsertest.Eval[string](tab, `location.hash = "#/"`)
	tab.Until(`document.querySelector("#detail").hidden`)
	tab.Shoot("phone")
	tab.Until(`document.documentElement.scrollWidth <= 390`)
}
