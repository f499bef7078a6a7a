package engine

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// stage is a step of a running pipeline.
type stage struct {
	*place
	node     *node // that it belongs to
	index    int   // in there
	endpoint bridge.Endpoint[bridge.Step]
	step     bridge.Step
	runner   bridge.StepRunner
	wakeAt   time.Time // when the step wants to be called; zero: not by time
	waiting  int       // messages that it holds, if it is paced

	// marks is what the step held after some of its calls, oldest first, as far as that is still
	// asked for.
	marks []mark
}

// mark says up to which call a step holds nothing after a call; all if it holds nothing.
type mark struct{ call, free uint64 }

const all = math.MaxUint64

// stepError says that an instance of a step has failed: the pipeline begins anew, with what the
// sources deliver again.
type stepError struct {
	error
	at *stage // nil: it could not be opened
}

func (e stepError) Unwrap() error { return e.error }

// process sends b through the step. What it returns is valid until the next call.
func (s *stage) process(ctx context.Context, call uint64, b bridge.Batch, last bool) (said *bridge.Outcome, err error) {
	err = guard(s.env.Logger, false, func() (err error) {
		said, err = s.runner.Process(ctx, s.step, call, b, last)
		return err
	})
	if err != nil {
		return nil, stepError{fmt.Errorf("%s: %w", s, err), s}
	}
	if s.endpoint.Paced > 0 {
		s.waiting += len(said.Held)
		for _, from := range said.Origins {
			if from.Index < 0 {
				s.waiting--
			}
		}
	}
	if said.Woken {
		s.wakeAt = time.Time{}
		if said.Wake > 0 {
			s.wakeAt = s.env.Clock.Now().Add(said.Wake)
		}
	}
	free, was := said.Released, uint64(all)
	if free == call {
		free = all
	}
	if n := len(s.marks); n > 0 {
		was = s.marks[n-1].free
	}
	if free != was {
		s.marks = append(s.marks, mark{call, free})
	}
	return said, nil
}

// failsAlone reports whether the step that has failed at m does so whatever it holds: another
// instance, which holds nothing, is asked if need be.
func (s *stage) failsAlone(ctx context.Context, call uint64, m bridge.Message) bool {
	if !s.holds() {
		return true
	}
	closeQuietly(s.step, s.env.Logger)
	fresh, err := openOnce(ctx, s.endpoint, s.env)
	if err != nil {
		return false // the next time, maybe
	}
	s.step = fresh // to be closed
	runner := bridge.StepRunner{Tag: s.runner.Tag}
	return guard(s.env.Logger, false, func() error {
		_, err := runner.Process(ctx, fresh, call, bridge.Batch{m}, false)
		return err
	}) != nil
}

// holds reports whether the step holds anything.
func (s *stage) holds() bool { return len(s.marks) > 0 && s.marks[len(s.marks)-1].free != all }

// freeUpTo returns up to which call nothing was held after call t, which grows.
func (s *stage) freeUpTo(t uint64) uint64 {
	for len(s.marks) > 1 && s.marks[1].call <= t {
		s.marks = s.marks[1:]
	}
	if len(s.marks) == 0 || s.marks[0].call > t {
		return t
	}
	return min(t, s.marks[0].free)
}

// setAlarm sees to it that steps are called when they want to be. The turn must be held.
func (r *run) setAlarm() {
	var next time.Time
	for _, s := range r.stages {
		if !r.ended && !s.wakeAt.IsZero() && (next.IsZero() || s.wakeAt.Before(next)) {
			next = s.wakeAt
		}
	}
	if next != r.alarmAt {
		r.alarmAt = next
		if !next.IsZero() {
			r.alarm.Reset(next.Sub(r.Clock.Now()))
		}
	}
}

// callByTime calls the steps that asked for it, until ctx is done.
func (r *run) callByTime(ctx context.Context) {
	for {
		select {
		case <-r.alarm.C:
		case <-ctx.Done():
			return
		}
		for _, s := range r.stages {
			r.send(new(flight), func(way *router) error {
				if r.ended || s.wakeAt.IsZero() || r.Clock.Now().Before(s.wakeAt) {
					return nil
				}
				s.wakeAt = time.Time{}
				b, units, err := way.step(s, nil, nil, false)
				if err != nil {
					return err
				}
				return way.through(s.node, s.index+1, b, units)
			})
		}
		r.called.broadcast()
	}
}
