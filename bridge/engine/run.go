package engine

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// run is one attempt to run a pipeline: from opening everything to closing it.
type run struct {
	*Pipeline
	env      bridge.Env
	work     context.Context //nolint:containedctx // of deliveries; it outlives reading by the drain
	stop     func()          // ends reading, of all sources
	told     func() bool     // whether it was told to stop from outside
	identity *identity

	root    *node
	stages  []*stage             // those that are called by time and at the end
	asides  []*stage             // those in branches of ModeAny, which are not
	paced   []*stage             // those of stages that are
	grows   []func(size int) int // of stages
	outputs []*output            // all sinks, those for dead letters included
	sources []*place             // where they may refuse
	places  []*place             // all of these

	turn    mutex  // orders the flights: what follows, the steps, and the way through the tree
	number  uint64 // of the last flight
	holding bool   // a step has held something
	ended   bool   // nothing comes any more
	broken  error  // what a step has failed with
	alarm   *bridge.Timer
	alarmAt time.Time
	called  signal // the steps that asked for it were called
	door    mutex  // of who waits for room in paced steps, and takes it

	queue    chan *flight  // to be settled; nil with one flight at a time, which settles itself
	slots    chan struct{} // one for each flight that is being delivered
	flying   sync.WaitGroup
	settling mutex // orders the settling with one flight at a time

	owed []*flight // settled, but for the acknowledgement; belongs to who settles

	reading     atomic.Int64 // sources that may read more
	branchCalls atomic.Uint64
	opened      signal // an output was opened, or could not be

	errMu sync.Mutex // guards err
	err   error
}

func (p *Pipeline) newRun(env bridge.Env, stop func()) *run {
	if env.Logger == nil {
		env.Logger = slog.New(slog.DiscardHandler)
	}
	if env.Stdin == nil {
		env.Stdin = strings.NewReader("")
	}
	if env.Stdout == nil {
		env.Stdout = io.Discard
	}
	env.Pipeline, env.Clock = p.Name, p.Clock
	env.Logger = env.Logger.With("pipeline", p.Name)
	env.MaxBatch = p.MaxBatch
	if env.MaxBatch <= 0 {
		env.MaxBatch = bridge.DefaultMaxBatch
	}
	r := &run{
		Pipeline: p, env: env, stop: stop, identity: newIdentity(), turn: newMutex(), settling: newMutex(),
		door: newMutex(),
	}
	env.Dropped, env.Progress, env.NeedID = p.counters.lost, func(int64, int64) {},
		func() { r.identity.needed.Store(true) }
	r.env = env
	r.reading.Store(int64(len(p.From)))
	r.identity.where = make(map[string]func(string) string)
	for name, e := range cmp.Or(p.top, p).Sources() {
		if e.Where != nil {
			r.identity.where[name] = e.Where
		}
	}
	b := builder{run: r}
	for i, e := range p.From {
		r.sources = append(r.sources, b.place("source", e.Type, instanceName(p.Name+"-"+fromPlace, i), e.OnError))
	}
	r.root = b.build()
	if b.flights > 1 {
		r.queue, r.slots = make(chan *flight, b.flights), make(chan struct{}, b.flights)
	}
	return r
}

// execute runs until all sources are finished, reading is done, or something fails.
func (r *run) execute(reading, work context.Context) error {
	r.work = work
	for _, s := range r.stages {
		if s.endpoint.Paced > 0 {
			r.paced = append(r.paced, s)
		}
	}
	for _, s := range r.allStages() {
		if s.endpoint.Grows != nil {
			r.grows = append(r.grows, s.endpoint.Grows)
		}
	}
	// A connector that does not heed its context is closed under its feet.
	defer context.AfterFunc(work, r.closeOutputs)()
	defer r.closeAll()
	if err := r.open(reading); err != nil {
		return err
	}
	defer r.memory().running(r.Clock.Now())()
	var settling, alarms sync.WaitGroup
	if r.queue != nil {
		settling.Go(r.settleAll)
	}
	ring, silence := context.WithCancel(context.Background())
	r.alarm = r.Clock.NewTimer(time.Hour)
	alarms.Go(func() { r.callByTime(ring) })
	var inputs sync.WaitGroup
	for i, e := range r.From {
		inputs.Go(func() {
			in := &input{
				run: r, place: r.sources[i], endpoint: e, backoff: r.backoff(0, 0), portion: 1,
				end: r.memory().end(r.sources[i].env.Instance),
			}
			in.readAll(reading)
		})
	}
	inputs.Wait()
	silence()
	alarms.Wait()
	r.flying.Wait()
	if r.queue != nil {
		close(r.queue)
		settling.Wait()
	}
	r.errMu.Lock()
	defer r.errMu.Unlock()
	return r.err
}

// fail notes why the pipeline stops.
func (r *run) fail(err error) {
	r.errMu.Lock()
	r.err = joinOnce(r.err, err)
	r.errMu.Unlock()
	r.stop()
}

// checkpoint returns where a source leaves how far it has come.
func (r *run) checkpoint(instance string) bridge.Checkpoint {
	if r.State == nil {
		return &r.memory().end(instance).memory
	}
	return r.State.Checkpoint(r.Name, instance)
}

// workContext returns the context of deliveries, which outlives reading by the drain.
func (p *Pipeline) workContext(reading context.Context, abort <-chan struct{}) (context.Context, func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(reading))
	timeout := p.DrainTimeout
	if timeout <= 0 {
		timeout = DefaultDrainTimeout
	}
	if p.delivers {
		timeout = min(timeout, bufferedDrain)
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

// open opens the steps and the sinks. Sources come last, so that nothing is read that
// could not be written.
func (r *run) open(ctx context.Context) error {
	for _, s := range r.allStages() {
		s.env.Stopping = ctx.Done()
		step, err := openOnce(ctx, s.endpoint, s.env)
		if err != nil {
			err = fmt.Errorf("%s: %w", s, err)
			if ctx.Err() != nil && !bridge.IsPermanent(err) {
				return fmt.Errorf("%w: %w", ErrNeverConnected, err)
			}
			return stepError{err, nil}
		}
		s.step = step
	}
	for _, o := range r.outputs {
		if r.delivers && !o.spare {
			o.leave = ctx.Done()
		}
		o.start()
	}
	for _, o := range r.outputs {
		if o.spare {
			continue
		}
		if _, err := o.await(ctx, false); bridge.IsPermanent(err) {
			return err
		} else if err != nil {
			o.close() // it may say what has kept it
			return r.notConnected(o.place, o.end)
		}
	}
	return r.openAny(ctx, r.root)
}

// openAny waits until the outputs in branches of ModeAny have tried to open, and one in each of
// these has.
func (r *run) openAny(ctx context.Context, n *node) error {
	if n.mode != ModeAny {
		for _, c := range n.children {
			if err := r.openAny(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
	for end := r.memory().end(n.env.Instance); ; {
		changed := r.opened.wait()
		tried, open := true, false
		for _, o := range n.below(nil) {
			isTried, why := o.attempted()
			tried, open = tried && isTried, open || why == nil
		}
		if tried && open {
			end.opened.Store(true)
			return nil
		}
		if err := n.hopeless(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r.notConnected(n.place, end)
		}
	}
}

func (r *run) allStages() []*stage { return append(slices.Clip(r.stages), r.asides...) }

func (r *run) closeOutputs() {
	for _, o := range r.outputs {
		o.close()
	}
}

func (r *run) closeAll() {
	r.closeOutputs()
	for _, p := range r.places {
		p.tellRest()
	}
	for _, s := range r.allStages() {
		if s.step != nil {
			closeQuietly(s.step, s.env.Logger)
		}
	}
}

// notConnected returns the error for a stop while an end was being opened.
func (r *run) notConnected(p *place, e *end) error {
	switch {
	case !e.opened.Load():
		return neverConnected(p, e)
	case r.counters.inFlight.Load() > 0:
		return ErrNotDrained
	}
	return nil
}
