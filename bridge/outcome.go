package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Outcome is what a step said in one call of Process, valid until the next one. Its slices are in
// the order in which it did so.
type Outcome struct {
	Messages Batch    // what goes on, with its identities
	Origins  []Origin // of each of Messages; empty if these are the first ones of the batch, as they are
	Dropped  []int
	Held     []int
	Refused  Refusals // which the batch still has as they were
	Released uint64   // nothing is held any more of calls up to that number

	Wake  time.Duration
	Woken bool // whether Wake was called
}

// Origin says where a message comes from that goes on behind a step.
type Origin struct {
	Index  int32 // of the message of the batch that it is, or was made of; -1: it was made of what was held
	Passed bool  // it is that message
	More   bool  // it was made beside another one that goes on, or is held, or was left out
}

// Origin returns that of message k of those that go on.
func (o *Outcome) Origin(k int) Origin {
	if len(o.Origins) == 0 {
		return Origin{Index: int32(k), Passed: true}
	}
	return o.Origins[k]
}

// LetsGo reports whether a message goes on that was made of what was held.
func (o *Outcome) LetsGo() bool {
	return slices.ContainsFunc(o.Origins, func(from Origin) bool { return from.Index < 0 })
}

// StepRunner calls the instance of a step and says what comes of it: for the engine, the process
// of a plugin, a test. The zero value is ready for use with one instance.
type StepRunner struct {
	Tag string // what IDs have before the number that tells several messages apart that were made of one

	out Output
}

// Process calls step with a batch, and returns what it said. An error is that of the step, or says
// that it broke its contract. Numbers of calls grow; one that comes again is that of a call that
// has several batches. The memory of b is given away.
func (r *StepRunner) Process(ctx context.Context, step Step, call uint64, b Batch, last bool) (*Outcome, error) {
	o := &r.out
	o.begin(call, b, last, r.Tag)
	if err := step.Process(ctx, b, o); err != nil {
		return nil, err
	}
	if err := o.finish(); err != nil {
		return nil, Permanent(fmt.Errorf("%w: the step is broken", err))
	}
	return &o.said, nil
}
