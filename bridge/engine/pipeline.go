package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// DefaultDrainTimeout is that of [Pipeline].
const DefaultDrainTimeout = 10 * time.Second

// Pipeline moves messages from its sources through its steps to its
// sinks. Fill in the exported fields, then call Run; the other methods may be
// called from any goroutine, before, during and after.
type Pipeline struct {
	Name  string
	From  []bridge.Endpoint[bridge.Source]
	Steps []bridge.Endpoint[bridge.Step]
	To    Branch

	// OnError says what becomes of messages that are refused, wherever nothing else is said.
	OnError bridge.OnError

	// State is where sources leave how far they have come, and what the two fields below need. Nil
	// means that all is forgotten when the process ends.
	State bridge.State

	// Buffer, if not nil, asks for a buffer between the sources and the steps. What it has stored
	// is acknowledged to the sources.
	Buffer *bridge.BufferSettings

	// MaxInFlight is how many batches are written at once. 0 means 1, which keeps
	// the messages in order. Batches are settled in the order of reading anyway.
	MaxInFlight int

	// OrderBy, if not nil, gives the key whose messages keep their order though MaxInFlight is
	// above 1.
	OrderBy bridge.Template

	// MaxBatch is the most messages in a batch; 0 means DefaultMaxBatch.
	MaxBatch int

	// DrainTimeout is how long Run goes on delivering what it has read after
	// its context is done; 0 means DefaultDrainTimeout.
	DrainTimeout time.Duration

	// Jitter returns a duration below n, for the random part of waits. Nil means a random one,
	// which is what anybody wants but a test.
	Jitter func(n time.Duration) time.Duration

	// Clock tells the time.
	Clock bridge.Clock

	// Restart says how a Bridge runs the pipeline again when it has failed.
	Restart Restart

	// Optional and StaleAfter are for who looks at it: whether others can do without it, and after
	// how long without a message something is wrong; 0: never.
	Optional   bool
	StaleAfter time.Duration

	counters counters
	suspects suspects
	past     past
	top      *Pipeline  // that this one is a half of; nil: none
	restarts bool       // it is started again when it has failed
	delivers bool       // it is the half that empties a buffer
	sinks    string     // what stands for them in the names of their instances; empty: sinkPlace
	mu       sync.Mutex // guards halves
	halves   *halves    // of a pipeline with a buffer, once it has run
}

// Restart says how a pipeline that failed is started again.
type Restart struct {
	Off         bool
	First, Most time.Duration // bounds of the growing pause; 0 means 1 s and 5 min
}

// ErrNotDrained is what Run returns, among others, when it was told to stop and
// could not deliver in time all that it had read.
var ErrNotDrained = errors.New("stopped before everything was delivered")

// ErrNeverConnected is what Run returns, among others, when it was told to stop while a source or
// sink had not been opened once.
var ErrNeverConnected = errors.New("stopped before everything was connected")

// ErrCut is what Run returns, among others, when it was told to stop while a source whose input has
// an end, see [bridge.Description], had not reached that.
var ErrCut = errors.New("stopped before the end of its input")

// Again returns a pipeline with the same settings that has not run, whose endpoints may be changed
// without a change of those of p.
func (p *Pipeline) Again() *Pipeline {
	return &Pipeline{
		Name: p.Name, From: again(p.From), Steps: again(p.Steps), To: p.To.again(), OnError: p.OnError, State: p.State,
		Buffer: p.Buffer, MaxInFlight: p.MaxInFlight, OrderBy: p.OrderBy, MaxBatch: p.MaxBatch,
		DrainTimeout: p.DrainTimeout, Jitter: p.Jitter, Clock: p.Clock, Restart: p.Restart,
		Optional: p.Optional, StaleAfter: p.StaleAfter,
	}
}

func again[T any](all []bridge.Endpoint[T]) []bridge.Endpoint[T] {
	all = slices.Clone(all)
	for i := range all {
		all[i].OnError = clone(all[i].OnError)
	}
	return all
}

func (b Branch) again() Branch {
	b.OnError, b.Sink.OnError, b.Steps = clone(b.OnError), clone(b.Sink.OnError), again(b.Steps)
	b.Branches = slices.Clone(b.Branches)
	for i := range b.Branches {
		b.Branches[i] = b.Branches[i].again()
	}
	return b
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// BufferInstance returns what stands for the buffer in the dead letters of messages that it could
// not take, which no step has seen.
func (p *Pipeline) BufferInstance() string { return p.Name + "-" + bufferPlace }

// memory returns what the pipeline remembers, which halves do together.
func (p *Pipeline) memory() *past { return &cmp.Or(p.top, p).past }

// Ledger returns what became of the messages so far.
func (p *Pipeline) Ledger() Ledger { return p.Counts().Ledger }

// Drops says why messages count as dropped in the Ledger.
func (p *Pipeline) Drops() Drops { return p.Counts().Drops }

// Counts returns the Ledger and what belongs to it.
func (p *Pipeline) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counters.now()
	if p.halves != nil {
		c = p.halves.now()
	}
	p.past.mu.Lock()
	defer p.past.mu.Unlock()
	c.Restarts = p.past.restarts
	return c
}

// Oldest returns when the oldest message was stored that the buffer holds; zero: there is none.
func (p *Pipeline) Oldest() (t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halves != nil {
		t = p.halves.buffer.Held().Oldest
	}
	return t
}

// Retire counts as Returned what was given back, as another Run would, for a pipeline that has ended
// and will not run again.
func (p *Pipeline) Retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.halves; h != nil {
		h.intake.counters.beginAnew()
		h.delivery.counters.beginAnew()
	}
	p.counters.beginAnew()
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
func (p *Pipeline) Run(ctx context.Context, env bridge.Env, abort <-chan struct{}) error {
	if err := p.run(ctx, env, abort); err != nil {
		return fmt.Errorf("pipeline %q: %w", p.Name, err)
	}
	return nil
}

func (p *Pipeline) run(ctx context.Context, env bridge.Env, abort <-chan struct{}) error {
	if p.Buffer != nil {
		return p.runBuffered(ctx, env, abort)
	}
	pause := p.backoff(0, 0)
	for {
		began := p.Clock.Now()
		err := p.runOnce(ctx, env, abort)
		lost, ok := errors.AsType[stepError](err)
		if !ok || bridge.IsPermanent(err) || ctx.Err() == nil && p.counters.ledger().Received > 0 &&
			slices.ContainsFunc(p.From, isThereOnce) {
			return err
		}
		pause.resetIfWell(p.memory().runningSince(began))
		if lost.at != nil {
			pause.first, pause.most = lost.at.onError.FirstWait, lost.at.onError.LongestWait
		}
		attempt, wait := pause.next()
		if ctx.Err() == nil && env.Logger != nil {
			env.Logger.Log(ctx, level(attempt), "a step has failed, beginning anew with what was not delivered",
				"pipeline", p.Name, "err", lost, "wait", wait.String())
		}
		p.memory().waits(lost, p.Clock.Now(), wait)
		if !p.Clock.Sleep(ctx, wait) {
			if p.counters.inFlight.Load() > 0 {
				err = joinOnce(err, ErrNotDrained)
			}
			return withoutCanceled(err)
		}
		p.suspects.beginAnew(p.Clock.Now())
	}
}

// isThereOnce reports whether a source reads something like standard input, which cannot be reread.
func isThereOnce(e bridge.Endpoint[bridge.Source]) bool {
	return e.Ends && e.Guarantee.Level == bridge.LevelAtMostOnce
}

// withoutCanceled leaves out what failed because of a stop.
func withoutCanceled(err error) error {
	return joinOnce(slices.DeleteFunc(each(err), func(e error) bool { return errors.Is(e, context.Canceled) })...)
}

func (p *Pipeline) runOnce(ctx context.Context, env bridge.Env, abort <-chan struct{}) error {
	p.counters.beginAnew()
	p.memory().begins(p.Clock.Now())
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	r := p.newRun(env, stopReading)
	r.told = func() bool { return ctx.Err() != nil }
	work, end := p.workContext(reading, abort)
	defer end()
	return r.execute(reading, work)
}
