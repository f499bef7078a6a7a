package bridge

import (
	"context"
	"fmt"
	"time"
)

// Outcome is what a step said in one call of Process. Slices are in the order in which it did so.
type Outcome struct {
	Origins  []int // of each message that goes on: the index of the one that it is, or that Emit named; -1: it has none
	Passed   []int // those that go on as they are, each the first of its index in Origins
	Emitted  Batch // all others that go on, as the step gave them
	Dropped  []int
	Held     []int
	Refused  Refusals
	Released uint64 // nothing is held any more of calls up to that number

	Wake  time.Duration
	Woken bool // whether Wake was called

	Messages Batch // what goes on, with its identities
}

// StepRunner calls a step as the engine does, for those that do it in its place: the process of a
// plugin, a test. The zero value is ready for use with one step.
type StepRunner struct{ out Output }

// Process calls step with a batch, and returns what it said. An error is that of the step, or says
// that it broke its contract. Numbers of calls grow; one that comes again is that of a call that
// has several batches. The memory of b is given away.
func (r *StepRunner) Process(ctx context.Context, step Step, call uint64, b Batch, last bool) (*Outcome, error) {
	said := new(Outcome)
	r.out.begin(call, b, last)
	r.out.said = said
	if err := step.Process(ctx, b, &r.out); err != nil {
		return nil, err
	}
	if err := r.out.finish(); err != nil {
		return nil, Permanent(fmt.Errorf("%w: the step is broken", err))
	}
	said.Refused, said.Released = r.out.refused, r.out.mark()
	said.Wake, said.Woken, said.Messages = r.out.wake, r.out.woken, r.out.out
	return said, nil
}

// mark returns up to which call nothing is held.
func (o *Output) mark() uint64 {
	if o.oldest == 0 {
		return o.call
	}
	return o.oldest - 1
}
