package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"

	dto "github.com/prometheus/client_model/go"

	"github.com/xrtcbridge/xrtcbridge/bridge/admin"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// TestMetricsAreTheLedger runs pipelines with filters, splits, windows, dead letters, drops and a
// buffer, which are scraped all the time: at every scrape all messages are accounted for and no
// counter is smaller than before, and at the end of each run its metrics are the ledger that it
// prints. The process is restarted twice, and pipelines within it as well.
func TestMetricsAreTheLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.txt")
	config := write(t, dir, "pipelines.yaml", fmt.Sprintf(`
state: {dir: %[1]q}
log: {summary: 0}
pipelines:
  shaped:
    max_batch: 16
    from: {file: {path: %[2]q, follow: true}}
    steps:
      - split: array
      - filter: json.n %% 5 != 0
    on_error: dead_letter
    to:
      route:
        - when: json.k == 0
          steps: [{set: {json.half: "{{ json.missing + 1 }}"}, on_error: drop}]
          file: {path: %[3]q}
        - when: json.k == 1
          steps: [{set: {json.half: "{{ json.missing + 1 }}"}}]
          file: {path: %[4]q}
        - when: json.k == 2
          file: {path: %[5]q}
  windows:
    max_batch: 16
    from: {file: {path: %[2]q, follow: true}}
    steps:
      - window: 1s
    to: {file: {path: %[6]q}}
  buffered:
    max_batch: 16
    buffer: disk
    from: {file: {path: %[2]q, follow: true}}
    steps:
      - split: array
      - filter: json.n %% 7 != 0
    to: {file: {path: %[7]q}}
`, filepath.Join(dir, "state"), in, filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.txt"), filepath.Join(dir, "c.txt"),
		filepath.Join(dir, "windows.txt"), filepath.Join(dir, "buffered.txt")))
	lines, err := os.Create(in)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	n := 0
	more := func(m int) {
		t.Helper()
		for range m {
			if _, err := fmt.Fprintf(lines, `[{"n":%[1]d,"k":0},{"n":%[1]d,"k":1},{"n":%[1]d,"k":2},{"n":%[1]d,"k":3}]`+
				"\n", n); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	const each = 300
	names := []string{"shaped", "windows", "buffered"}
	totals := make(map[string]float64)
	for run := range 3 {
		p := start(t, dir, io.Discard, "run", "--log-format", "json", config)
		p.opened(9) // the sources, the sinks, and both ends of the buffer
		c, err := admin.Dial(t.Context(), admin.InState(owned.Place{Path: filepath.Join(dir, "state")}))
		if err != nil {
			t.Fatal(err)
		}
		var before map[string]float64
		scrape := func() map[string]float64 {
			now := scrapeAt(t, c)
			for _, name := range names {
				checkScrape(t, name, before, now)
			}
			before = now
			return now
		}
		steer := func(action string) {
			for _, name := range names {
				if err := c.Ask(t.Context(), http.MethodPost, "/pipelines/"+name+"/"+action, nil, nil); err != nil {
					t.Error(err)
				}
				scrape()
			}
		}
		for part := range 3 {
			more(each)
			for range 5 {
				scrape()
			}
			if part == 1 {
				steer("restart")
			}
		}
		bridgetest.Eventually(t, "all that was written is settled", func() bool {
			now := scrape()
			for _, name := range names {
				s := messagesOf(now, name)
				if s["in_flight"]+s["buffered"] > 0 || s["received"] < 3*each {
					return false
				}
			}
			return true
		})
		steer("pause") // so that nothing happens behind the last scrape
		last := scrape()
		c.Close()
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitDone {
			t.Fatalf("exit code %d", code)
		}
		ledgers := ledgersIn(p.log.String())
		if len(ledgers) != 3 {
			t.Fatalf("%d ledgers", len(ledgers))
		}
		for name, ledger := range ledgers {
			s := messagesOf(last, name)
			s["received"] += s["made"] - s["returned"] // what is given back is of both
			ledger["received"] += ledger["made"]
			for outcome, want := range ledger {
				if outcome != "made" && s[outcome] != want {
					t.Errorf("run %d, %s: %s is %v in the metrics and %v in the ledger: %v, %v", run, name, outcome,
						s[outcome], want, s, ledger)
				}
				totals[outcome] += want
			}
		}
	}
	for _, outcome := range []string{"received", "made", "delivered", "filtered", "merged", "dead_lettered", "dropped"} {
		if totals[outcome] == 0 {
			t.Errorf("nothing was %s", outcome)
		}
	}
	t.Log(totals)
}

// scrapeAt returns the counters and gauges of a bridge by name and labels, which are sorted.
func scrapeAt(t *testing.T, c *admin.Client) map[string]float64 {
	t.Helper()
	r, err := c.Do(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	values := make(map[string]float64)
	for d := expfmt.NewDecoder(r.Body, expfmt.ResponseFormat(r.Header)); ; {
		var f dto.MetricFamily
		if err := d.Decode(&f); err == io.EOF {
			return values
		} else if err != nil {
			t.Fatal(err)
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			values[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
}

// messagesOf returns those of a pipeline by outcome, over all reasons, and those that are owed.
func messagesOf(values map[string]float64, pipeline string) map[string]float64 {
	sum := make(map[string]float64)
	for name, v := range values {
		rest, ok := strings.CutPrefix(name, "xrtcbridge_messages_")
		if !ok || !strings.Contains(name, fmt.Sprintf("pipeline=%q", pipeline)) {
			continue
		}
		what, labels, _ := strings.Cut(rest, "{")
		if what == "total" {
			what = strings.Split(labels, `"`)[1]
		}
		sum[what] += v
	}
	return sum
}

// checkScrape checks that all messages of a pipeline are accounted for, and that no counter is
// smaller than before.
func checkScrape(t *testing.T, pipeline string, before, now map[string]float64) {
	t.Helper()
	s := messagesOf(now, pipeline)
	in, out := s["carried"]+s["received"]+s["made"], s["returned"]+s["in_flight"]+s["buffered"]
	for _, outcome := range []string{"delivered", "filtered", "merged", "dead_lettered", "dropped"} {
		out += s[outcome]
	}
	if in != out {
		t.Errorf("%s: %v messages have come, and %v are accounted for: %v", pipeline, in, out, s)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		kind, _, _ := strings.Cut(name, "{")
		if strings.HasPrefix(name, "xrtcbridge_") && strings.HasSuffix(kind, "_total") && now[name] < before[name] {
			t.Errorf("%s was %v and is %v", name, before[name], now[name])
		}
	}
}
