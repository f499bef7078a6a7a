package bridge

import "sync"

// gauges holds the sources that can tell their progress.
type gauges struct {
	mu      sync.Mutex // guards sources
	sources map[string]Measurable
}

func (g *gauges) set(instance string, s Source) {
	m, ok := s.(Measurable)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sources == nil {
		g.sources = make(map[string]Measurable)
	}
	g.sources[instance] = m
}

func (g *gauges) progress(sources int) (done, total int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := 0
	for _, s := range g.sources {
		d, t := s.Progress()
		done, total = done+d, total+t
		if t > 0 {
			known++
		}
	}
	if known < sources {
		total = 0
	}
	return done, total
}
