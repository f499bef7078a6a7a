package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Defaults of [Pipeline].
const (
	DefaultMaxBatch     = 1024
	DefaultDrainTimeout = 10 * time.Second
)

// Pipeline moves messages from its sources through its steps to its
// sinks. Fill in the exported fields, then call Run; the other methods may be
// called from any goroutine, before, during and after.
type Pipeline struct {
	Name  string
	From  []Endpoint[Source]
	Steps []Endpoint[Step]
	To    Branch

	// OnError says what becomes of messages that are refused, wherever nothing else is said.
	OnError OnError

	// State is where sources leave how far they have come, and what the two fields below need. Nil
	// means that all is forgotten when the process ends.
	State State

	// Buffer, if not nil, asks for a buffer between the sources and the steps. What it has stored
	// is acknowledged to the sources.
	Buffer *BufferSettings

	// MaxInFlight is how many batches are written at once. 0 means 1, which keeps
	// the messages in order. Batches are settled in the order of reading anyway.
	MaxInFlight int

	// OrderBy, if not nil, gives the key whose messages keep their order though MaxInFlight is
	// above 1.
	OrderBy Template

	// MaxBatch is the most messages in a batch; 0 means DefaultMaxBatch.
	MaxBatch int

	// DrainTimeout is how long Run goes on delivering what it has read after
	// its context is done; 0 means DefaultDrainTimeout.
	DrainTimeout time.Duration

	// Jitter returns a duration below n, for the random part of waits. Nil means a random one,
	// which is what anybody wants but a test.
	Jitter func(n time.Duration) time.Duration

	// Restart says how a Bridge runs the pipeline again when it has failed.
	Restart Restart

	counters counters
	health   health
	top      *Pipeline  // that this one is a half of; nil: none
	restarts bool       // it is started again when it has failed
	delivers bool       // it is the half that empties a buffer
	sinks    string     // what stands for them in the names of their instances; empty: sinkPlace
	mu       sync.Mutex // guards halves
	halves   *halves    // of a pipeline with a buffer, once it has run
}

// ErrNotDrained is what Run returns, among others, when it was told to stop and
// could not deliver in time all that it had read.
var ErrNotDrained = errors.New("stopped before everything was delivered")

// ErrNeverConnected is what Run returns, among others, when it was told to stop while a source or
// sink had not been opened once.
var ErrNeverConnected = errors.New("stopped before everything was connected")

// ErrCut is what Run returns, among others, when it was told to stop while a source whose input has
// an end, see [Description], had not reached that.
var ErrCut = errors.New("stopped before the end of its input")

// BufferInstance returns what stands for the buffer in the dead letters of messages that it could
// not take, which no step has seen.
func (p *Pipeline) BufferInstance() string { return p.Name + "-" + bufferPlace }

// states returns the state of the ends, which halves keep together.
func (p *Pipeline) states() *health {
	if p.top != nil {
		return &p.top.health
	}
	return &p.health
}

// Ledger returns what became of the messages so far.
func (p *Pipeline) Ledger() Ledger {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halves != nil {
		return p.halves.ledger()
	}
	return p.counters.ledger()
}

// Run opens the sinks, then the sources, and moves messages until every source is finished (it
// returns nil), ctx is done (it delivers what has been read, up to DrainTimeout or until abort is
// closed, and returns nil, or [ErrNotDrained], [ErrNeverConnected], [ErrCut] or several of them),
// or something fails that trying again cannot mend (it likewise delivers the rest of what has been
// read). What is not delivered then was given back to its source, as far as the source can take it.
// Run may be called again after that, and goes on counting.
//
// env lends the logger, standard input and output. abort may be nil.
//
// A pipeline with a buffer that is told to stop leaves in it what has not been delivered.
func (p *Pipeline) Run(ctx context.Context, env Env, abort <-chan struct{}) error {
	p.health.set(PhaseConnecting, nil)
	defer context.AfterFunc(ctx, func() { p.health.stopping() })()
	err := p.run(ctx, env, abort)
	if err != nil {
		err = fmt.Errorf("pipeline %q: %w", p.Name, err)
		p.health.set(PhaseFailed, err)
		return err
	}
	p.health.set(PhaseFinished, nil)
	return nil
}

func (p *Pipeline) run(ctx context.Context, env Env, abort <-chan struct{}) error {
	if p.Buffer != nil {
		return p.runBuffered(ctx, env, abort)
	}
	pause := backoff{jitter: p.Jitter}
	for {
		began := time.Now()
		err := p.runOnce(ctx, env, abort)
		lost, ok := errors.AsType[stepError](err)
		if !ok || IsPermanent(err) {
			return err
		}
		if began, well := p.states().runningSince(began); well && time.Since(began) >= pause.longest() {
			pause.reset()
		}
		_, wait := pause.next()
		if ctx.Err() == nil && env.Logger != nil {
			env.Logger.WarnContext(ctx, "a step has failed, beginning anew with what was not delivered",
				"pipeline", p.Name, "err", lost, "wait", wait.String())
		}
		p.states().set(PhaseConnecting, err)
		if !sleep(ctx, wait) {
			if p.counters.inFlight.Load() > 0 {
				err = joinOnce(err, ErrNotDrained)
			}
			return withoutCanceled(err)
		}
	}
}

// withoutCanceled leaves out what failed because of a stop.
func withoutCanceled(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case ok:
		var rest []error
		for _, e := range joined.Unwrap() {
			rest = append(rest, withoutCanceled(e))
		}
		return joinOnce(rest...)
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

func (p *Pipeline) runOnce(ctx context.Context, env Env, abort <-chan struct{}) error {
	p.counters.beginAnew()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	r := p.newRun(env, stopReading)
	r.told = func() bool { return ctx.Err() != nil }
	work, end := p.workContext(reading, abort)
	defer end()
	return r.execute(reading, work)
}
