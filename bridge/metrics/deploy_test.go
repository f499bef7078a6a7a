package metrics_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
)

const monitoring = "../../examples/deploy/monitoring"

// TestDashboardAndAlertsAreOfMetricsThereAre looks for each metric of the dashboard and of the alert
// rules, and for the values of its labels that are a matter of the bridge.
func TestDashboardAndAlertsAreOfMetricsThereAre(t *testing.T) {
	m := metrics.New(everything())
	m.Settled("sensors", 1)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	there, values := make(map[string]bool), make(map[string][]string)
	for _, f := range families {
		there[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			there[f.GetName()+"_bucket"] = true
		}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				values[l.GetName()] = append(values[l.GetName()], l.GetValue())
			}
		}
	}
	name := regexp.MustCompile(`\b(xrtcbridge|process|go)_[a-z_]+\b`)
	matcher := regexp.MustCompile(`\b(outcome|reason|state|result|direction)=~?"([a-z_|]+)"`)
	for _, file := range []string{"grafana-dashboard.json", "alerts.yaml", "alerts.promtool.yaml"} {
		text, err := os.ReadFile(filepath.Join(monitoring, file))
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllString(string(text), -1)
		if len(found) < 5 {
			t.Errorf("%s has %d metrics", file, len(found))
		}
		for _, one := range found {
			if !there[one] {
				t.Errorf("%s: there is no metric %s", file, one)
			}
		}
		for _, m := range matcher.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\"`, `"`), -1) {
			for value := range strings.SplitSeq(m[2], "|") {
				if !slices.Contains(values[m[1]], value) {
					t.Errorf("%s: no metric has %s=%q", file, m[1], value)
				}
			}
		}
	}
}

// TestAlerts has promtool try the rules.
func TestAlerts(t *testing.T) {
	promtool := bridgetest.Program(t, "promtool")
	cmd := exec.CommandContext(t.Context(), promtool, "test", "rules", "alerts.promtool.yaml")
	cmd.Dir = monitoring
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
