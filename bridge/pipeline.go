package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Endpoint is a place in a pipeline: a connector with its settings bound.
type Endpoint[T any] struct {
	// Type is the name of the connector, for logs and errors.
	Type string
	// Open opens an instance, see [Opener].
	Open func(ctx context.Context, env Env) (T, error)
}

// Defaults of [Pipeline].
const (
	DefaultMaxBatch     = 1024
	DefaultDrainTimeout = 10 * time.Second
)

// Pipeline moves messages from its sources through its steps to all of its
// sinks. Fill in the exported fields, then call Run once; the other methods may be
// called from any goroutine, before, during and after.
type Pipeline struct {
	Name  string
	From  []Endpoint[Source]
	Steps []Endpoint[Step]
	To    []Endpoint[Sink]

	// MaxInFlight is how many batches are written at once. 0 means 1, which keeps
	// the messages in order. Batches are settled in the order of reading anyway.
	MaxInFlight int

	// MaxBatch is the most messages in a batch; 0 means DefaultMaxBatch.
	MaxBatch int

	// DrainTimeout is how long Run goes on delivering what it has read after
	// its context is done; 0 means DefaultDrainTimeout.
	DrainTimeout time.Duration

	counters counters
	gauges   gauges
}

// ErrNotDrained is what Run returns, among others, when it was told to stop and
// could not deliver in time all that it had read.
var ErrNotDrained = errors.New("stopped before everything was delivered")

// Ledger returns what became of the messages so far.
func (p *Pipeline) Ledger() Ledger { return p.counters.ledger() }

// Progress returns how many of how many bytes the sources have read; total is
// 0 unless all of them know it.
func (p *Pipeline) Progress() (done, total int64) { return p.gauges.progress(len(p.From)) }

// Run opens the sinks, then the sources, and moves messages until every source
// is finished (it returns nil), ctx is done (it delivers what has been
// read, up to DrainTimeout or until abort is closed, and returns nil or
// [ErrNotDrained]), or something fails that trying again cannot mend. What is not delivered
// then was given back to its source, as far as the source can take it.
//
// env lends the logger, standard input and output. abort may be nil.
func (p *Pipeline) Run(ctx context.Context, env Env, abort <-chan struct{}) error {
	r := p.newRun(env)
	work, stop := r.workContext(ctx, abort)
	defer stop()
	if err := r.execute(ctx, work); err != nil {
		return fmt.Errorf("pipeline %q: %w", p.Name, err)
	}
	return nil
}

// run is one Run of a pipeline.
type run struct {
	*Pipeline
	env      Env
	outputs  []*output
	steps    []Step
	identity *identity // nil: no sink needs IDs

	turn  sync.Mutex    // orders the batches of several sources: steps, and hand-over to the writers
	slots chan struct{} // one for each batch being written
}

func (p *Pipeline) newRun(env Env) *run {
	if env.Logger == nil {
		env.Logger = slog.New(slog.DiscardHandler)
	}
	if env.Stdin == nil {
		env.Stdin = strings.NewReader("")
	}
	if env.Stdout == nil {
		env.Stdout = io.Discard
	}
	env.Pipeline = p.Name
	env.Logger = env.Logger.With("pipeline", p.Name)
	env.MaxBatch = p.MaxBatch
	if env.MaxBatch <= 0 {
		env.MaxBatch = DefaultMaxBatch
	}
	env.Dropped = p.counters.lost
	r := &run{Pipeline: p, env: env, slots: make(chan struct{}, max(1, p.MaxInFlight))}
	for i, e := range p.To {
		r.outputs = append(r.outputs, &output{endpoint: e, env: r.place(e.Type, "to", i, len(p.To))})
	}
	return r
}

// place returns the Env for the i-th of n endpoints of a direction.
func (r *run) place(connector, dir string, i, n int) Env {
	env := r.env
	env.Instance = r.Name + "-" + dir
	if n > 1 {
		env.Instance += fmt.Sprintf("-%d", i+1)
	}
	env.Logger = env.Logger.With("connector", connector, "dir", dir)
	return env
}

// workContext returns the context of deliveries, which outlives ctx by the drain.
func (r *run) workContext(ctx context.Context, abort <-chan struct{}) (context.Context, func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timeout := r.DrainTimeout
	if timeout <= 0 {
		timeout = DefaultDrainTimeout
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-ctx.Done():
		case <-work.Done():
			return
		}
		deadline := time.NewTimer(timeout)
		defer deadline.Stop()
		select {
		case <-deadline.C:
		case <-abort:
		case <-work.Done():
		}
		cancel(ErrNotDrained)
	})
	return work, func() { cancel(nil); watching.Wait() }
}

func (r *run) execute(ctx, work context.Context) error {
	// A connector that does not heed its context is closed under its feet.
	defer context.AfterFunc(work, r.closeOutputs)()
	defer r.closeOutputs()
	if err := r.open(ctx); err != nil {
		if ctx.Err() != nil && !IsPermanent(err) {
			return nil // told to stop before anything was read
		}
		return err
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	errs := make([]error, len(r.From))
	var sources sync.WaitGroup
	for i, e := range r.From {
		sources.Go(func() {
			in := &input{run: r, endpoint: e, env: r.place(e.Type, "from", i, len(r.From))}
			errs[i] = guard(in.env.Logger, func() error { return in.readAll(reading, work) })
			if errs[i] != nil {
				stopReading()
			}
		})
	}
	sources.Wait()
	return errors.Join(errs...)
}

// open opens the steps and the sinks. Sources come last, so that nothing is read that
// could not be written.
func (r *run) open(ctx context.Context) error {
	for i, e := range r.Steps {
		s, err := openOnce(ctx, e, r.place(e.Type, "step", i, len(r.Steps)))
		if err != nil {
			return Permanent(fmt.Errorf("%s step: %w", e.Type, err))
		}
		r.steps = append(r.steps, s)
	}
	for _, o := range r.outputs {
		s, err := o.open(ctx)
		if err != nil {
			return err
		}
		if i, ok := s.(Identifying); ok && i.NeedsID() && r.identity == nil {
			r.identity = newIdentity()
		}
	}
	return nil
}

func (r *run) closeOutputs() {
	for _, o := range r.outputs {
		o.close()
	}
}

// process runs the steps over b. It is called in turn.
func (r *run) process(ctx context.Context, b Batch) (Batch, error) {
	for i, s := range r.steps {
		n := len(b)
		var err error
		if b, err = s.Process(ctx, b); err != nil {
			return nil, Permanent(fmt.Errorf("%s step: %w", r.Steps[i].Type, err))
		}
		if made := len(b) - n; made > 0 {
			r.counters.read(made)
		} else {
			r.counters.settle(&r.counters.filtered, -made)
		}
	}
	if r.identity != nil {
		r.identity.fill(b)
	}
	return b, nil
}

// deliver writes b to every sink.
func (r *run) deliver(ctx context.Context, b Batch) error {
	if len(b) == 0 {
		return nil
	}
	n, err := r.write(ctx, b)
	r.counters.settle(&r.counters.delivered, n)
	return err
}

// write writes b to every sink, at once if there are several, and returns how
// many messages all of them accepted.
func (r *run) write(ctx context.Context, b Batch) (int, error) {
	if len(r.outputs) == 1 {
		return r.outputs[0].write(ctx, b)
	}
	counts, errs := make([]int, len(r.outputs)), make([]error, len(r.outputs))
	var writers sync.WaitGroup
	for i, o := range r.outputs {
		writers.Go(func() {
			errs[i] = guard(o.env.Logger, func() (err error) {
				counts[i], err = o.write(ctx, b)
				return err
			})
		})
	}
	writers.Wait()
	least := len(b)
	for _, n := range counts {
		least = min(least, n)
	}
	return least, errors.Join(errs...)
}

// guard calls f and turns a panic into a permanent error, so that a broken
// connector stops its own pipeline only.
func guard(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic in a connector", "panic", p, "stack", string(debug.Stack()))
			err = Permanent(fmt.Errorf("panic: %v", p))
		}
	}()
	return f()
}

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
