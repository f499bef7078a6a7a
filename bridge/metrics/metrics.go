// Package metrics says what a running bridge counts, in the format of Prometheus and to whoever
// takes OTLP.
//
// Nothing is counted here but how long deliveries take: all else is read from the monitor when it is
// asked for, as of one moment, so that for each pipeline, at every scrape,
//
//	carried + received + made = delivered + filtered + merged + dead_lettered + dropped + returned + in_flight + buffered
//
// Counters never go down while the process lives, be it that a pipeline is started again, paused or
// replaced; those of one that a reload takes out go, and begin at 0 if it comes back. Names and labels
// are kept. No label has a value that messages could choose.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// Options are what Metrics asks at each scrape. The functions may be called from any goroutine; nil
// says nothing.
type Options struct {
	Pipelines func() []monitor.Pipeline
	Reloads   func() Reloads
	Plugins   func() []Plugin
	Version   string
}

// Reloads is how many there were.
type Reloads struct{ Applied, Rejected uint64 }

// Plugin is one that may have a process; PID is 0 if it has none.
type Plugin struct {
	Name string
	PID  int
}

// Metrics are those of one bridge. Make them with New. All methods may be called from any goroutine.
type Metrics struct {
	registry *prometheus.Registry
	delivery *prometheus.HistogramVec
	version  string
}

// New returns the metrics of a bridge.
func New(o Options) *Metrics {
	m := &Metrics{
		version:  o.Version,
		registry: prometheus.NewRegistry(),
		delivery: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "xrtcbridge_delivery_seconds",
			Help: "From the reading of a batch to its acknowledgement to the source, of batches that were delivered, " +
				"or stored in a buffer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},

			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"pipeline"}),
	}
	m.registry.MustRegister(
		&collector{Options: o, delivery: m.delivery, plugins: make(map[string]*plugin), known: make(map[string]bool)},
		m.delivery,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Settled notes how long a delivery took; it is for [monitor.Monitor].
func (m *Metrics) Settled(pipeline string, took time.Duration) {
	m.delivery.WithLabelValues(pipeline).Observe(took.Seconds())
}

// Handler answers scrapes, in the format that is asked for. Native histograms are in that of
// protobuf, as Prometheus has it.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry,
		promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8})
}

// Registry has all metrics.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// collector reads what the monitor knows.
type collector struct {
	Options
	delivery *prometheus.HistogramVec

	mu      sync.Mutex // guards what follows
	plugins map[string]*plugin
	known   map[string]bool // pipelines seen at the last scrape
}
