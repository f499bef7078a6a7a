package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// run is one Run of a pipeline.
type run struct {
	*Pipeline
	env      Env
	stop     func() // ends reading, of all sources
	outputs  []*output
	dead     *output // for dead letters, nil if there are none
	steps    []Step
	identity *identity // nil: no sink needs IDs

	turn  sync.Mutex    // orders the batches of several sources: steps, and hand-over to the writers
	slots chan struct{} // one for each batch being written
}

func (p *Pipeline) newRun(env Env, stop func()) *run {
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
	r := &run{Pipeline: p, env: env, stop: stop, slots: make(chan struct{}, max(1, p.MaxInFlight))}
	u := &undertaker{OnError: p.OnError, pipeline: p.Name}
	for i, e := range p.To {
		r.outputs = append(r.outputs, newOutput(e, r.place(e.Type, cmp.Or(p.sinkPlace, sinkPlace), i, len(p.To)), u))
	}
	if p.OnError.Then == FateDeadLetter {
		letters := p.OnError.DeadLetter
		if letters.Open == nil && p.State != nil {
			letters = p.State.DeadLetters(p.Name)
		}
		// What it cannot take stops the pipeline.
		u.dead = newOutput(letters, r.place(letters.Type, "dead", 0, 1), &undertaker{pipeline: p.Name})
		r.dead = u.dead
	}
	return r
}

// checkpoint returns where a source leaves how far it has come.
func (r *run) checkpoint(instance string) Checkpoint {
	if r.State == nil {
		return new(MemoryCheckpoint)
	}
	return r.State.Checkpoint(r.Name, instance)
}

// place returns the Env for the i-th of n endpoints of a direction.
func (r *run) place(connector, dir string, i, n int) Env {
	env := r.env
	env.Instance = instanceName(r.Name, dir, i, n)
	env.Logger = env.Logger.With("connector", connector, "dir", strings.TrimPrefix(env.Instance, r.Name+"-"))
	return env
}

func instanceName(pipeline, dir string, i, n int) string {
	if n > 1 {
		return fmt.Sprintf("%s-%s-%d", pipeline, dir, i+1)
	}
	return pipeline + "-" + dir
}

// workContext returns the context of deliveries, which outlives reading by the drain.
func (r *run) workContext(reading context.Context, abort <-chan struct{}) (context.Context, func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(reading))
	timeout := r.DrainTimeout
	if timeout <= 0 {
		timeout = DefaultDrainTimeout
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-reading.Done():
			crashpoint.Reach(crashpoint.Draining)
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

func (r *run) execute(reading, work context.Context) error {
	if len(r.To) == 0 {
		return Permanent(errors.New("there is no sink"))
	}
	// A connector that does not heed its context is closed under its feet.
	defer context.AfterFunc(work, r.closeOutputs)()
	defer r.closeOutputs()
	if err := r.open(reading); err != nil {
		if reading.Err() != nil && !IsPermanent(err) {
			return nil // told to stop before anything was read
		}
		return err
	}
	errs := make([]error, len(r.From))
	var sources sync.WaitGroup
	for i, e := range r.From {
		sources.Go(func() {
			in := &input{run: r, endpoint: e, env: r.place(e.Type, "from", i, len(r.From))}
			in.env.Checkpoint = r.checkpoint(in.env.Instance)
			if errs[i] = in.readAll(reading, work); errs[i] != nil {
				r.stop()
			}
		})
	}
	sources.Wait()
	return joinOnce(errs...)
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
	for _, o := range r.allOutputs() {
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
	for _, o := range r.allOutputs() {
		o.close()
	}
}

// allOutputs returns the sinks, and that for dead letters if there is one.
func (r *run) allOutputs() []*output {
	if r.dead == nil {
		return r.outputs
	}
	return append(slices.Clip(r.outputs), r.dead)
}

// process runs the steps over b. It is called in turn. An error has stopped reading.
func (r *run) process(ctx context.Context, b Batch) (Batch, error) {
	for i, s := range r.steps {
		n := len(b)
		err := guard(r.env.Logger, func() (err error) {
			b, err = s.Process(ctx, b)
			return err
		})
		if err != nil {
			r.stop()
			return nil, Permanent(fmt.Errorf("%s step: %w", r.Steps[i].Type, err))
		}
		if made := len(b) - n; made > 0 {
			r.counters.read(made)
			r.counters.made.Add(uint64(made))
		} else {
			r.counters.settle(&r.counters.filtered, -made)
		}
	}
	if r.identity != nil {
		r.identity.fill(b)
	}
	return b, nil
}

// deliver writes b to every sink. An error has stopped reading.
func (r *run) deliver(ctx context.Context, b Batch) error {
	if len(b) == 0 {
		return nil
	}
	crashpoint.Reach(crashpoint.Delivering)
	n, err := r.write(ctx, b)
	crashpoint.Reach(crashpoint.Delivered)
	buried := r.take(n, func(o *output) *atomic.Int64 { return &o.buried })
	dropped := r.take(n-buried, func(o *output) *atomic.Int64 { return &o.dropped })
	r.counters.settle(&r.counters.deadLettered, buried)
	r.counters.settle(&r.counters.dropped, dropped)
	r.counters.settle(&r.counters.delivered, n-buried-dropped)
	return err
}

// take returns how many of n messages that all sinks accepted went into that count at one of
// them. What more is there belongs to a batch that is being written at the same time.
func (r *run) take(n int, count func(*output) *atomic.Int64) int {
	most := 0
	for _, o := range r.outputs {
		c := count(o)
		told := int(c.Swap(0))
		if told > n {
			c.Add(int64(told - n))
			told = n
		}
		most = max(most, told)
	}
	return most
}

// write writes b to every sink, at once if there are several, and returns how
// many messages all of them accepted.
func (r *run) write(ctx context.Context, b Batch) (int, error) {
	if len(r.outputs) == 1 {
		return r.writeTo(ctx, r.outputs[0], b)
	}
	counts, errs := make([]int, len(r.outputs)), make([]error, len(r.outputs))
	var writers sync.WaitGroup
	for i, o := range r.outputs {
		writers.Go(func() { counts[i], errs[i] = r.writeTo(ctx, o, b) })
	}
	writers.Wait()
	least := len(b)
	for _, n := range counts {
		least = min(least, n)
	}
	return least, joinOnce(errs...)
}

// writeTo writes b to one sink. It stops reading after an error, and not
// its callers, since the other sinks may take long.
func (r *run) writeTo(ctx context.Context, o *output, b Batch) (n int, err error) {
	err = guard(o.env.Logger, func() (err error) {
		n, err = o.write(ctx, b)
		return err
	})
	if err != nil {
		r.stop()
	}
	return n, err
}

// joinOnce joins errors, each once: that the drain was cut short, all of them may say.
func joinOnce(errs ...error) (joined error) {
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil && !errors.Is(joined, err):
			joined = errors.Join(joined, err)
		}
	}
	return joined
}

// guard makes a call into a connector and turns a panic into a permanent error, so that a broken
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
