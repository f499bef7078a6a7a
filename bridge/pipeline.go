package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Endpoint is a place in a pipeline: a connector with its settings bound.
type Endpoint[T any] struct {
	// Type is the name of the connector, for logs and errors.
	Type string
	// Open opens an instance, see [Opener].
	Open func(ctx context.Context, env Env) (T, error)
	// Guarantee and Traffic are what its settings say about it, for people.
	Guarantee Guarantee
	Traffic   Traffic
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

	// OnError says what becomes of messages that a sink cannot take.
	OnError OnError

	// State is where sources leave how far they have come, and what the two fields below need. Nil means that all is forgotten
	// when the process ends.
	State State

	// Buffer, if not nil, asks for a buffer between the sources and the steps. What it has stored is acknowledged to the sources.
	Buffer *BufferSettings

	// MaxInFlight is how many batches are written at once. 0 means 1, which keeps
	// the messages in order. Batches are settled in the order of reading anyway.
	MaxInFlight int

	// MaxBatch is the most messages in a batch; 0 means DefaultMaxBatch.
	MaxBatch int

	// DrainTimeout is how long Run goes on delivering what it has read after
	// its context is done; 0 means DefaultDrainTimeout.
	DrainTimeout time.Duration

	sinkPlace string // of the sinks in the names of their instances; empty: sinkPlace

	counters counters
	gauges   gauges
	halves   atomic.Pointer[halves] // of a pipeline with a buffer that runs or ran
}

// ErrNotDrained is what Run returns, among others, when it was told to stop and
// could not deliver in time all that it had read.
var ErrNotDrained = errors.New("stopped before everything was delivered")

// Ledger returns what became of the messages so far.
func (p *Pipeline) Ledger() Ledger {
	if h := p.halves.Load(); h != nil {
		return h.ledger()
	}
	return p.counters.ledger()
}

// SinkInstance returns the Env.Instance of the i-th sink, which is in its dead letters, too.
func (p *Pipeline) SinkInstance(i int) string { return instanceName(p.Name, sinkPlace, i, len(p.To)) }

// BufferInstance returns what stands in its place in the dead letters of messages that the buffer could not take, which no step has seen.
func (p *Pipeline) BufferInstance() string { return instanceName(p.Name, bufferPlace, 0, 1) }

const (
	sinkPlace   = "to"
	bufferPlace = "buffer"
)

// Progress returns how many of how many bytes the sources have read; total is
// 0 unless all of them know it.
func (p *Pipeline) Progress() (done, total int64) {
	if h := p.halves.Load(); h != nil {
		return h.intake.Progress()
	}
	return p.gauges.progress(len(p.From))
}

// Run opens the sinks, then the sources, and moves messages until every source
// is finished (it returns nil), ctx is done (it delivers what has been
// read, up to DrainTimeout or until abort is closed, and returns nil or
// [ErrNotDrained]), or something fails that trying again cannot mend (it likewise delivers the
// rest of what has been read). What is not delivered then was given back to its source, as far as
// the source can take it.
//
// env lends the logger, standard input and output. abort may be nil.
//
// A pipeline with a buffer that is told to stop leaves in it what has not been delivered.
func (p *Pipeline) Run(ctx context.Context, env Env, abort <-chan struct{}) error {
	run := p.run
	if p.Buffer != nil {
		run = p.runBuffered
	}
	if err := run(ctx, env, abort); err != nil {
		return fmt.Errorf("pipeline %q: %w", p.Name, err)
	}
	return nil
}

func (p *Pipeline) run(ctx context.Context, env Env, abort <-chan struct{}) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	r := p.newRun(env, stopReading)
	work, end := r.workContext(reading, abort)
	defer end()
	return r.execute(reading, work)
}
