package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// everything is a bridge of which each metric has a value.
func everything() metrics.Options {
	longAgo := time.Now().Add(-time.Minute)
	return metrics.Options{
		Version: "v1.2.3",
		Reloads: func() metrics.Reloads { return metrics.Reloads{Applied: 3, Rejected: 1} },
		Plugins: func() []metrics.Plugin { return []metrics.Plugin{{"clock", os.Getpid()}, {"idle", 0}} },
		Pipelines: func() []monitor.Pipeline {
			return []monitor.Pipeline{{
				Name: "sensors", State: monitor.Running, Restarts: 2, Oldest: &longAgo, BytesIn: 100, BytesOut: 50,
				Ledger: monitor.Ledger{
					Carried: 1, Received: 20, Made: 4, Delivered: 9, Filtered: 3, Merged: 2, DeadLettered: 1, Dropped: 5,
					Buffered: 2, InFlight: 3,
				},
				Returned: monitor.Returned{Received: 6, Made: 1},
				Reasons: []monitor.Count{
					{Outcome: "dropped", Reason: "sink", N: 2},
					{Outcome: "dropped", Reason: "stop", N: 3},
					{Outcome: "dead_lettered", Reason: "on_error", N: 1},
				},
				Ends: []monitor.End{
					{Instance: "sensors-from", Kind: "source", State: monitor.EndUp},
					{Instance: "sensors-step", Kind: "step", State: monitor.EndUp},
					{Instance: "sensors-to", Kind: "sink", State: monitor.EndDown},
					{Instance: "sensors-dead", Kind: "dead_letter", State: monitor.EndIdle},
				},
			}}
		},
	}
}

// TestNamesAreKept holds names, types and labels of all metrics of the bridge to those of a file:
// dashboards and alerts are made of them.
func TestNamesAreKept(t *testing.T) {
	m := metrics.New(everything())
	m.Settled("sensors", time.Millisecond)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "xrtcbridge_") {
			continue
		}
		values := make(map[string][]string)
		var labels []string
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				name, value := l.GetName(), l.GetValue()
				if !slices.Contains(labels, name) {
					labels = append(labels, name)
				}
				if slices.Contains([]string{"outcome", "reason", "state", "result", "direction"}, name) &&
					!slices.Contains(values[name], value) {
					values[name] = append(values[name], value)
				}
			}
		}
		slices.Sort(labels)
		for i, name := range labels {
			if slices.Sort(values[name]); values[name] != nil {
				labels[i] += "=" + strings.Join(values[name], "|")
			}
		}
		fmt.Fprintf(&got, "%s %s {%s}\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "))
	}
	want, err := os.ReadFile("testdata/names.golden")
	if err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestScrape reads what a scraper gets, in text and in the format that has native histograms.
func TestScrape(t *testing.T) {
	o := everything()
	var scraped atomic.Int64
	all := o.Pipelines
	o.Pipelines = func() []monitor.Pipeline {
		if scraped.Add(1) == 1 {
			return append(all(), monitor.Pipeline{Name: "removed"})
		}
		return all()
	}
	m := metrics.New(o)
	m.Settled("sensors", 3*time.Millisecond)
	m.Settled("removed", time.Second)
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	for range 3 { // in the second one it is gone, and after that what was known of it
		if got := scrape(t, server.URL); got[`xrtcbridge_messages_total{outcome="received",pipeline="sensors",reason=""}`] != 26 {
			t.Errorf("%v", got)
		}
	}
	got := scrape(t, server.URL)
	for name, want := range map[string]float64{
		`xrtcbridge_messages_total{outcome="made",pipeline="sensors",reason=""}`:          5,
		`xrtcbridge_messages_total{outcome="returned",pipeline="sensors",reason=""}`:      7,
		`xrtcbridge_messages_total{outcome="dropped",pipeline="sensors",reason="sink"}`:   2,
		`xrtcbridge_messages_total{outcome="dropped",pipeline="sensors",reason="source"}`: 0,
		`xrtcbridge_messages_in_flight{pipeline="sensors"}`:                               3,
		`xrtcbridge_connection_up{end="sensors-from",pipeline="sensors"}`:                 1,
		`xrtcbridge_connection_up{end="sensors-to",pipeline="sensors"}`:                   0,
		`xrtcbridge_pipeline_state{pipeline="sensors",state="running"}`:                   1,
		`xrtcbridge_pipeline_state{pipeline="sensors",state="paused"}`:                    0,
		`xrtcbridge_restarts_total{pipeline="sensors"}`:                                   2,
		`xrtcbridge_reloads_total{result="rejected"}`:                                     1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if owed := got[`xrtcbridge_oldest_owed_seconds{pipeline="sensors"}`]; owed < 60 {
		t.Errorf("the oldest message is owed for %v s", owed)
	}
	if _, there := got[`xrtcbridge_connection_up{end="sensors-dead",pipeline="sensors"}`]; there {
		t.Error("a sink for dead letters that nobody needed is down")
	}
	checkEquation(t, got, "sensors")

	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	r.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	native := 0
	for _, f := range decode(t, answer.Body, expfmt.ResponseFormat(answer.Header)) {
		for _, one := range f.GetMetric() {
			if h := one.GetHistogram(); f.GetName() == "xrtcbridge_delivery_seconds" && len(h.GetPositiveSpan()) > 0 &&
				len(h.GetBucket()) > 0 {
				native++
			}
		}
	}
	if native != 1 {
		t.Errorf("%d native and classic histograms of deliveries, want that of the one pipeline", native)
	}
}
