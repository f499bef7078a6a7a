package bridge

import (
	"context"
	"fmt"
	"time"
)

// stage is a step of a running pipeline.
type stage struct {
	*place
	node     *node  // that it belongs to
	index    int    // in there
	tag      string // what its messages have in their IDs
	endpoint Endpoint[Step]
	step     Step
	out      Output
	wakeAt   time.Time // when the step wants to be called; zero: not by time

	// marks is what the step held after some of its calls, oldest first, as far as that is still
	// asked for.
	marks []mark
}

// mark says of which call on a step holds something after a call; 0: nothing.
type mark struct{ call, oldest uint64 }

// stepError says that an instance of a step has failed: the pipeline begins anew, with what the
// sources deliver again.
type stepError struct{ error }

func (e stepError) Unwrap() error { return e.error }

// process sends b through the step. Its output is in s.out until the next call.
func (s *stage) process(ctx context.Context, call uint64, b Batch, last bool) error {
	o := &s.out
	o.begin(call, b, last)
	o.tag = s.tag
	err := guard(s.env.Logger, func() error { return s.step.Process(ctx, b, o) })
	if err == nil {
		if wrong := o.finish(); wrong != nil {
			err = Permanent(fmt.Errorf("%w: the step is broken", wrong))
		}
	}
	if err != nil {
		return stepError{fmt.Errorf("%s: %w", s, err)}
	}
	if o.woken {
		s.wakeAt = time.Time{}
		if o.wake > 0 {
			s.wakeAt = time.Now().Add(o.wake)
		}
	}
	if n := len(s.marks); n > 0 && s.marks[n-1].oldest != o.oldest || n == 0 && o.oldest != 0 {
		s.marks = append(s.marks, mark{call, o.oldest})
	}
	return nil
}

// freeUpTo returns up to which call nothing was held after call t. It is asked with growing
// numbers.
func (s *stage) freeUpTo(t uint64) uint64 {
	for len(s.marks) > 1 && s.marks[1].call <= t {
		s.marks = s.marks[1:]
	}
	if len(s.marks) == 0 || s.marks[0].call > t {
		return t
	}
	oldest := s.marks[0].oldest
	if oldest == 0 {
		if len(s.marks) == 1 {
			s.marks = nil
		}
		return t
	}
	return min(t, oldest-1)
}
