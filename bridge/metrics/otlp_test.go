package metrics_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
)

// TestPush has metrics pushed to a receiver that refuses the first time, and looks for all of them.
func TestPush(t *testing.T) {
	m := metrics.New(everything())
	m.Settled("sensors", time.Millisecond)
	requests, got := make(chan *http.Request, 100), make(chan *collector.ExportMetricsServiceRequest, 100)
	refused := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !refused {
			refused = true
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
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
		requests <- r
		got <- &said
	}))
	defer server.Close()
	o := metrics.OTLP{
		Endpoint: address(t, server.URL), Interval: time.Second,
		Headers: map[string]bridge.Secret{"Authorization": bridge.NewSecret("Bearer x")},
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); m.Push(ctx, o, slog.New(slog.DiscardHandler)) }()
	bridgetest.Eventually(t, "something is pushed", func() bool { return len(got) > 0 })
	cancel()
	<-done
	if r := <-requests; r.URL.Path != "/v1/metrics" || r.Header.Get("Authorization") != "Bearer x" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	pushed := make(map[string]bool)
	for _, all := range (<-got).GetResourceMetrics() {
		for _, scope := range all.GetScopeMetrics() {
			for _, one := range scope.GetMetrics() {
				pushed[one.GetName()] = true
			}
		}
	}
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !pushed[f.GetName()] {
			t.Errorf("%s is not pushed", f.GetName())
		}
	}
}

// S12: headers, which are secrets, go to the receiver only, whomever that names, and the log says so.
func TestS12PushFollowsNoRedirect(t *testing.T) {
	stolen := make(chan http.Header, 100)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header }))
	defer other.Close()
	for _, code := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		server := httptest.NewServer(http.RedirectHandler(other.URL, code))
		log := logged(t, server.URL, map[string]bridge.Secret{"X-Api-Key": bridge.NewSecret("x")})
		server.Close()
		if !strings.Contains(log, "the receiver leads elsewhere, where no metrics go") {
			t.Errorf("%d: the log says %s", code, log)
		}
	}
	if len(stolen) > 0 {
		t.Errorf("another has got %v", <-stolen)
	}
}

// TestOTLPSettings refuses what can be no receiver.
func TestOTLPSettings(t *testing.T) {
	for _, o := range []metrics.OTLP{
		{},
		{Endpoint: address(t, "http://secret:p@localhost")},
		{Endpoint: address(t, "http://localhost?key=secret")},
		{Endpoint: address(t, "http://localhost#secret")},
		{Endpoint: address(t, "http://localhost"), Interval: time.Millisecond},
		{Endpoint: address(t, "http://localhost"), Interval: -time.Second},
	} {
		if err := o.Validate(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func address(t *testing.T, text string) bridge.URL {
	t.Helper()
	u, err := bridge.ParseURL(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What goes wrong with a receiver is logged without secrets, be it that it says back what it got;
// and headers go to nobody that it names.
func TestPushTellsNoSecrets(t *testing.T) {
	elsewhere := make(chan struct{}, 100)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere <- struct{}{} }))
	defer other.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"says it back": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_ = r.Header.Write(w)
		},
		"leads elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL+"/?key=secret")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			text := logged(t, server.URL, map[string]bridge.Secret{
				"Authorization": bridge.NewSecret("Bearer secret"), "X-Key": bridge.NewSecret("secret"),
			})
			if strings.Contains(text, "secret") || !strings.Contains(text, "cannot push metrics") || len(elsewhere) > 0 {
				t.Errorf("%d requests went elsewhere; %s", len(elsewhere), text)
			}
		})
	}
}

// logged pushes metrics each second until something is logged, and returns all that was. The push
// at the end alone may not have the time on a busy machine.
func logged(t *testing.T, endpoint string, headers map[string]bridge.Secret) string {
	t.Helper()
	var log bytes.Buffer // once Push has returned
	lines := make(chan struct{}, 100)
	h := slog.NewTextHandler(io.MultiWriter(&log, writes(lines)), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		metrics.New(everything()).Push(ctx,
			metrics.OTLP{Endpoint: address(t, endpoint), Interval: time.Second, Headers: headers}, slog.New(h))
	}()
	select {
	case <-lines:
	case <-time.After(bridgetest.Timeout):
		t.Error("nothing is logged")
	}
	cancel()
	<-done
	return log.String()
}

// writes tells of each write.
type writes chan<- struct{}

func (w writes) Write(p []byte) (int, error) {
	w <- struct{}{}
	return len(p), nil
}
