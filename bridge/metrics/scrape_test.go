package metrics_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// scrape returns the values of counters and gauges by name and labels, which are sorted.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	values := make(map[string]float64)
	for _, f := range decode(t, r.Body, expfmt.ResponseFormat(r.Header)) {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			values[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func decode(t *testing.T, from io.Reader, format expfmt.Format) (all []*dto.MetricFamily) {
	t.Helper()
	d := expfmt.NewDecoder(from, format)
	for {
		var f dto.MetricFamily
		switch err := d.Decode(&f); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, &f)
	}
}

// sums returns the messages of a pipeline by outcome, over all reasons, and those that are owed.
func sums(values map[string]float64, pipeline string) map[string]float64 {
	sum := make(map[string]float64)
	for name, v := range values {
		if !strings.Contains(name, fmt.Sprintf("pipeline=%q", pipeline)) {
			continue
		}
		if rest, ok := strings.CutPrefix(name, `xrtcbridge_messages_total{outcome="`); ok {
			outcome, _, _ := strings.Cut(rest, `"`)
			sum[outcome] += v
		}
		if rest, ok := strings.CutPrefix(name, "xrtcbridge_messages_"); ok && !strings.HasPrefix(rest, "total") {
			owed, _, _ := strings.Cut(rest, "{")
			sum[owed] += v
		}
	}
	return sum
}

// checkEquation checks that all messages of a pipeline are accounted for.
func checkEquation(t *testing.T, values map[string]float64, pipeline string) {
	t.Helper()
	s := sums(values, pipeline)
	in := s["carried"] + s["received"] + s["made"]
	out := s["delivered"] + s["filtered"] + s["merged"] + s["dead_lettered"] + s["dropped"] + s["returned"] +
		s["in_flight"] + s["buffered"]
	if in != out || in == 0 {
		t.Errorf("%v messages have come, and %v are accounted for: %v", in, out, s)
	}
}
