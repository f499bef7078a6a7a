package monitor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// Monitor sees what pipelines do. Make one with New.
type Monitor struct {
	// Settled, if not nil, is called for each batch that was delivered, with the time since it was
	// read. It is set before Watch.
	Settled func(pipeline string, took time.Duration)

	names sync.Map // of *pipeline, by name: what is in pipelines, for who logs while something is locked

	mu        sync.Mutex // guards what follows
	pipelines map[string]*pipeline
	tapped    int // taps that are open
}

// New returns a Monitor that sees nothing yet.
func New() *Monitor { return &Monitor{pipelines: make(map[string]*pipeline)} }

// pipeline is what is known of one, over all that had its name.
type pipeline struct {
	monitor *Monitor
	name    string
	taps    atomic.Pointer[[]*Tap] // nil: none; replaced under the lock of the monitor

	// Guarded by the lock of the monitor.
	in, out history
	read    history          // of the bytes of inputs that have an end
	gone    engine.Counts    // of those that had the name before
	retired *engine.Pipeline // the last of them
	before  engine.Counts    // of those before that one

	mu              sync.Mutex // guards what follows
	ends            []*end
	goneIn, goneOut uint64        // bytes of ends that another pipeline of that name had
	errors          []Error       // newest first
	stale           time.Duration // StaleAfter of the pipeline
	fresh           time.Time     // when something came last after nothing had for so long
}

// Forget forgets a pipeline.
func (m *Monitor) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pipelines[name]; p != nil {
		m.untap(p)
	}
	delete(m.pipelines, name)
	m.names.Delete(name)
}

func (p *pipeline) settled(took time.Duration) {
	if f := p.monitor.Settled; f != nil {
		f(p.name, took)
	}
}

// Run keeps the rates until ctx is done.
func (m *Monitor) Run(ctx context.Context, b *engine.Bridge) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		m.tell(b.Situations())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Monitor) tell(all []engine.Situation) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range all {
		p := m.pipelines[s.Pipeline.Name]
		if p == nil {
			continue
		}
		l := p.counts(s.Pipeline).Ledger
		in, out := p.bytes()
		p.in.tell(total{now, l.Received, in})
		p.out.tell(total{now, l.Delivered, out})
		p.read.tell(done(s.Pipeline, now))
		p.mu.Lock()
		for _, e := range p.ends {
			e.past.tell(e.total(now))
		}
		p.mu.Unlock()
	}
}

// bytes returns how many have come and gone.
func (p *pipeline) bytes() (in, out uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in, out = p.goneIn, p.goneOut
	for _, e := range p.ends {
		read, written := e.through()
		in, out = in+read, out+written
	}
	return in, out
}

// Pipelines returns what is known of those of b.
func (m *Monitor) Pipelines(b *engine.Bridge) []Pipeline {
	situations := b.Situations()
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Pipeline, 0, len(situations))
	for _, s := range situations {
		if p := m.pipelines[s.Pipeline.Name]; p != nil {
			all = append(all, p.say(s, time.Now()))
		}
	}
	return all
}
