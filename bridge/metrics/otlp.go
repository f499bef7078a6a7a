package metrics

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	bridgeprometheus "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Telemetry says to whom a bridge tells its metrics by itself.
type Telemetry struct {
	OTLP *OTLP `yaml:"otlp" doc:"push all metrics by OTLP over HTTP"`
}

// OTLP is a receiver of metrics.
type OTLP struct {
	Endpoint bridge.URL               `yaml:"endpoint,required" doc:"http(s) URL; without a path, /v1/metrics"`
	Headers  map[string]bridge.Secret `yaml:"headers" doc:"of each request, such as Authorization"`
	Interval time.Duration            `yaml:"interval" doc:"how often; 0: 1m"`
	TLS      bridge.TLS               `yaml:"tls" doc:"for https"`
}

const (
	defaultInterval = time.Minute
	pushTimeout     = 10 * time.Second
	lastPush        = 3 * time.Second // bounds the one at the end
)

// Validate checks what belongs together. A query or user would not be sent.
func (o OTLP) Validate() error {
	u := o.Endpoint
	switch {
	case u.IsZero() || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "":
		return bridge.KeyErrorf("endpoint",
			"write a URL without user and query, as http://localhost:4318; headers take an Authorization")
	case o.Interval != 0 && o.Interval < time.Second:
		return bridge.KeyErrorf("interval", "it is 1s or more")
	}
	return nil
}

// Push sends all metrics to a receiver at each interval, and once more when ctx is done; then it
// returns. What goes wrong is logged when it begins, with what to do, and when it ends.
func (m *Metrics) Push(ctx context.Context, o OTLP, log *slog.Logger) {
	if err := m.push(ctx, o, log); err != nil {
		log.WarnContext(ctx, "metrics are not pushed", "err", err,
			"hint", "mend telemetry.otlp in the file, and start the bridge again; everything else runs")
	}
}

func (m *Metrics) push(ctx context.Context, o OTLP, log *slog.Logger) error {
	to := *o.Endpoint.URL
	if to.Path == "" || to.Path == "/" {
		to.Path = "/v1/metrics"
	}
	headers := make(map[string]string, len(o.Headers))
	var secrets []string
	for name, value := range o.Headers {
		headers[name] = value.Reveal()
		secrets = append(secrets, value.Reveal())
		if _, credentials, two := strings.Cut(value.Reveal(), " "); two { // behind Bearer
			secrets = append(secrets, credentials)
		}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	if to.Scheme == "https" {
		var err error
		if transport.TLSClientConfig, err = o.TLS.Config(); err != nil {
			return fmt.Errorf("push metrics: %w", err)
		}
	}
	exporter, err := otlpmetrichttp.New(ctx,
		otlpmetrichttp.WithEndpointURL(to.String()), otlpmetrichttp.WithHeaders(headers),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{}), // the next push has it all
		otlpmetrichttp.WithHTTPClient(&http.Client{
			Transport: transport, Timeout: pushTimeout,
			// The headers are for this receiver, and for nobody that it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}))
	if err != nil {
		return fmt.Errorf("push metrics: %w", err)
	}
	interval := o.Interval
	if interval == 0 {
		interval = defaultInterval
	}
	provider := sdk.NewMeterProvider(
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "xrtcbridge"), attribute.String("service.version", m.version))),
		sdk.WithReader(sdk.NewPeriodicReader(
			&told{Exporter: exporter, log: log.With("endpoint", o.Endpoint), secrets: secrets},
			sdk.WithInterval(interval), sdk.WithTimeout(pushTimeout),
			sdk.WithProducer(bridgeprometheus.NewMetricProducer(bridgeprometheus.WithGatherer(m.registry))))))
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPush)
	defer cancel()
	_ = provider.Shutdown(last) // the log has it
	return nil
}

// told logs how an exporter does. It is called from one goroutine at a time.
type told struct {
	sdk.Exporter
	log     *slog.Logger
	secrets []string // which a receiver may say back
	lost    bool
}

func (t *told) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	err := t.Exporter.Export(ctx, all)
	switch {
	case err != nil && !t.lost:
		t.log.WarnContext(ctx, "cannot push metrics, trying again at each interval", "err", t.clip(err), "hint", mend(err))
	case err == nil && t.lost:
		t.log.InfoContext(ctx, "metrics are pushed again")
	}
	t.lost = err != nil
	return nil // it is told
}

// clip shortens an error, which may have all that a receiver answers, and hides secrets in it.
func (t *told) clip(err error) string {
	const most = 500
	text := err.Error()
	for _, secret := range t.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// mend says what to do about an error of a push, of which the exporter tells the status as text.
func mend(err error) string {
	text := err.Error()
	has := func(all ...string) bool {
		return slices.ContainsFunc(all, func(s string) bool { return strings.Contains(text, s) })
	}
	switch {
	case has(": 401", ": 403"):
		return "telemetry.otlp.headers says who the bridge is, as {Authorization: ${OTLP_TOKEN}}"
	case has(": 404", ": 405"):
		return "give telemetry.otlp.endpoint the path that its documentation says; without one it is /v1/metrics"
	case has(": 301", ": 302", ": 303", ": 307", ": 308"):
		return "the receiver leads elsewhere, where no metrics go: telemetry.otlp.endpoint names the place itself"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "telemetry.otlp.tls.ca names the certificate of who signed the receiver's"
	case has("server gave HTTP response to HTTPS client"):
		return "the receiver has no TLS: telemetry.otlp.endpoint begins with http://"
	case has("malformed HTTP", "HTTP request to an HTTPS server"):
		return "the port of telemetry.otlp.endpoint takes no plain HTTP: that of OTLP over HTTP is 4318 and that of " +
			"gRPC 4317, and one with TLS has https://"
	}
	return "see that telemetry.otlp.endpoint names a receiver that takes OTLP over HTTP, " +
		"as a collector does at http://HOST:4318, and that it runs"
}
