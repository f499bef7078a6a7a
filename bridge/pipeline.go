package bridge

import (
	"context"
	"errors"
	"fmt"
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

	// OnError says what becomes of messages that a sink cannot take.
	OnError OnError

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
// [ErrNotDrained]), or something fails that trying again cannot mend (it likewise delivers the
// rest of what has been read). What is not delivered then was given back to its source, as far as
// the source can take it.
//
// env lends the logger, standard input and output. abort may be nil.
func (p *Pipeline) Run(ctx context.Context, env Env, abort <-chan struct{}) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	r := p.newRun(env, stopReading)
	work, end := r.workContext(reading, abort)
	defer end()
	if err := r.execute(reading, work); err != nil {
		return fmt.Errorf("pipeline %q: %w", p.Name, err)
	}
	return nil
}
