package main

import (
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge/metrics"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// metrics returns those of a bridge with the plugins of the catalog.
func (r *running) metrics(pipelines func() []monitor.Pipeline) *metrics.Metrics {
	return metrics.New(metrics.Options{
		Version: version(), Pipelines: pipelines,
		Reloads: func() metrics.Reloads {
			r.mu.Lock()
			defer r.mu.Unlock()
			return metrics.Reloads{Applied: r.applied, Rejected: r.rejected}
		},
		Plugins: func() (all []metrics.Plugin) {
			r.mu.Lock()
			catalogs := slices.Clone(r.catalogs)
			r.mu.Unlock()
			seen := make(map[string]bool)
			for _, k := range slices.Backward(catalogs) { // of one that was reloaded, the newest process
				for _, p := range k.host.Plugins() {
					if !seen[p.Name] {
						seen[p.Name] = true
						all = append(all, metrics.Plugin{Name: p.Name, PID: p.PID()})
					}
				}
			}
			return all
		},
	})
}
