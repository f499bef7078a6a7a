package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// metric is a description with the type that its values have.
type metric struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("xrtcbridge_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("xrtcbridge_"+name, help, labels, nil), prometheus.GaugeValue}
}

// What a collector says.
var (
	messages = counter("messages_total",
		"Messages. carried + received + made = delivered + filtered + merged + dead_lettered + dropped + returned + "+
			"in_flight + buffered; "+
			"returned went back to the source because of a restart, and counts as received again when it comes again.",
		"pipeline", "outcome", "reason")
	inFlight = gauge("messages_in_flight", "Messages read and not settled.", "pipeline")
	buffered = gauge("messages_buffered", "Messages in the buffer.", "pipeline")
	bytes    = counter("bytes_total", "Bytes of payloads that sources have read (in) and sinks have taken (out).",
		"pipeline", "direction")
	oldest = gauge("oldest_owed_seconds", "Age of the oldest message read and not settled, "+
		"or taken out of the buffer and not settled; 0 if there is none.", "pipeline")
	up = gauge("connection_up",
		"Whether a source, sink or buffer is open; one that is closed as it should be is not there.", "pipeline", "end")
	state    = gauge("pipeline_state", "1 for the state that the pipeline is in, 0 for the others.", "pipeline", "state")
	restarts = counter("restarts_total",
		"How often the pipeline, or its delivery, was started again because it had failed.", "pipeline")
	reloads   = counter("reloads_total", "Reloads of the configuration.", "result")
	cpu       = counter("plugin_cpu_seconds_total", "User and system CPU time of the processes of a plugin.", "plugin")
	memory    = gauge("plugin_resident_memory_bytes", "Resident memory of the process of a plugin.", "plugin")
	buildInfo = gauge("build_info", "1, with what the bridge was built from.", "version", "goversion", "goos", "goarch")
)

// Describe implements [prometheus.Collector].
func (*collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range []metric{
		messages, inFlight, buffered, bytes, oldest, up, state, restarts, reloads, cpu,
		memory, buildInfo,
	} {
		to <- m.Desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(to chan<- prometheus.Metric) {
	say := func(m metric, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(m.Desc, m.kind, v, labels...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	say(buildInfo, 1, c.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if c.Reloads != nil {
		r := c.Reloads()
		say(reloads, float64(r.Applied), "applied")
		say(reloads, float64(r.Rejected), "rejected")
	}
	if c.Plugins != nil {
		for _, p := range c.Plugins() {
			c.plugin(p, say)
		}
	}
	gone := c.known
	c.known = make(map[string]bool)
	if c.Pipelines != nil {
		for _, p := range c.Pipelines() {
			delete(gone, p.Name)
			c.known[p.Name] = true
			tell(p, say)
		}
	}
	for name := range gone {
		c.delivery.DeleteLabelValues(name)
	}
}

// states are all that a pipeline may be in.
var states = [...]monitor.State{
	monitor.Starting, monitor.Running, monitor.Degraded, monitor.Waiting, monitor.Failed, monitor.Paused,
	monitor.Draining, monitor.Finished,
}

// tell says all of a pipeline.
func tell(p monitor.Pipeline, say func(m metric, v float64, labels ...string)) {
	l := p.Ledger
	count := func(outcome, reason string, n uint64) { say(messages, float64(n), p.Name, outcome, reason) }
	count("carried", "", l.Carried)
	count("received", "", l.Received+p.Returned.Received)
	count("made", "", l.Made+p.Returned.Made)
	count("delivered", "", l.Delivered)
	count("filtered", "", l.Filtered)
	count("merged", "", l.Merged)
	count("returned", "", p.Returned.Received+p.Returned.Made)
	count("dead_lettered", "on_error", l.DeadLettered)
	// that a rate is known of the first
	dropped := map[string]uint64{"on_error": 0, "sink": 0, "source": 0, "buffer": 0, "stop": 0}
	for _, r := range p.Reasons {
		if r.Outcome == "dropped" {
			dropped[r.Reason] = r.N
		}
	}
	for reason, n := range dropped {
		count("dropped", reason, n)
	}
	say(inFlight, float64(l.InFlight), p.Name)
	say(buffered, float64(l.Buffered), p.Name)
	say(bytes, float64(p.BytesIn), p.Name, "in")
	say(bytes, float64(p.BytesOut), p.Name, "out")
	age := 0.0
	if p.Oldest != nil {
		age = max(0, time.Since(*p.Oldest).Seconds())
	}
	say(oldest, age, p.Name)
	for _, s := range states {
		say(state, truth(p.State == s), p.Name, string(s))
	}
	say(restarts, float64(p.Restarts), p.Name)
	for _, e := range p.Ends {
		switch {
		case e.Kind == "step", e.State == monitor.EndClosed,
			e.State == monitor.EndIdle && (e.Optional || e.Kind == "dead_letter"):
		default:
			say(up, truth(e.State == monitor.EndUp), p.Name, e.Instance)
		}
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
