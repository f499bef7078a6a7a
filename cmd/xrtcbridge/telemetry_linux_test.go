package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// receiver takes metrics pushed by OTLP.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards what follows
	refuse   bool
	refused  int
	requests int
	last     map[string]float64 // sums of counters, by outcome
}

func newReceiver(t *testing.T, token string) *receiver {
	r := &receiver{refuse: true}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refuse || q.Header.Get("Authorization") != token || q.URL.Path != "/v1/metrics" {
			r.refused++
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		body := io.Reader(q.Body)
		if q.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		text, err := io.ReadAll(body)
		var said collector.ExportMetricsServiceRequest
		if err != nil || proto.Unmarshal(text, &said) != nil {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		r.requests++
		r.last = make(map[string]float64)
		for _, of := range said.GetResourceMetrics() {
			for _, scope := range of.GetScopeMetrics() {
				for _, one := range scope.GetMetrics() {
					for _, p := range one.GetSum().GetDataPoints() {
						for _, a := range p.GetAttributes() {
							if one.GetName() == "xrtcbridge_messages_total" && a.GetKey() == "outcome" {
								r.last[a.GetValue().GetStringValue()] += p.GetAsDouble() + float64(p.GetAsInt())
							}
						}
					}
				}
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// TestTelemetry runs a bridge that pushes its metrics: it runs while the receiver refuses them, and
// the log says what to do; and what it pushes at its end is all that it has done.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	const token = "Bearer not-to-be-seen"
	dir := t.TempDir()
	r := newReceiver(t, token)
	write(t, dir, "p.yaml", fmt.Sprintf(`
telemetry: {otlp: {endpoint: %q, interval: 1s, headers: {Authorization: "${OTLP_TOKEN}"}}}
pipelines:
  p: {from: {generate: {rate: 500, payload: "{{ seq }}"}}, steps: [filter: json %% 2 == 0], to: {discard: {}}}
`, r.URL))
	p := launch(t, dir, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Environ(), "OTLP_TOKEN="+token) }, "run", "p.yaml",
		"--log-format", "json")
	p.opened(2)
	bridgetest.Eventually(t, "the log says what to do", func() bool {
		return p.log.count("cannot push metrics") > 0 && p.log.count("telemetry.otlp.headers says who the bridge is") > 0
	})
	r.mu.Lock()
	r.refuse = false
	r.mu.Unlock()
	bridgetest.Eventually(t, "metrics are pushed", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.last["delivered"] > 0 && p.log.count("metrics are pushed again") > 0
	})
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	log := p.log.String()
	ledger := ledgerOf(t, log, "p")
	for _, outcome := range []string{"received", "delivered", "filtered"} {
		if ledger[outcome] == 0 || r.last[outcome] != ledger[outcome] {
			t.Errorf("%s: pushed %v, in the ledger %v", outcome, r.last, ledger)
		}
	}
	if strings.Contains(log, "not-to-be-seen") {
		t.Error("the log has the token")
	}
}

// TestTelemetryStopsNothing runs a bridge to its end whose receiver is not there, and has mistakes
// found by check.
func TestTelemetryStopsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "telemetry: {otlp: {endpoint: %q}}\npipelines: {p: {from: {generate: {count: 3, payload: x}}, to: stdio}}\n"
	write(t, dir, "p.yaml", fmt.Sprintf(text, "http://"+bridgetest.FreeAddr(t)))
	code, out, errs := command(t, dir, "run", "p.yaml")
	if code != exitDone || out != "x\nx\nx\n" || !strings.Contains(errs, "takes OTLP over HTTP") {
		t.Errorf("%d, %q, %s", code, out, errs)
	}
	for endpoint, want := range map[string]string{
		"localhost:4317": "looks like scheme://host:port", "tcp://localhost:4317": "http://localhost:4318",
		"http://localhost?key=secret": "headers take an Authorization", "http://secret@x/%zz": "scheme://host:port",
	} {
		write(t, dir, "bad.yaml", fmt.Sprintf(text, endpoint))
		if code, _, errs := command(t, dir, "check", "bad.yaml"); code != exitUsage || strings.Contains(errs, "secret") ||
			!strings.Contains(errs, "endpoint: ") || !strings.Contains(errs, want) {
			t.Errorf("%d, %s, want %s", code, errs, want)
		}
	}
}
