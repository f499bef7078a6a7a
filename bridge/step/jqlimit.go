package step

import (
	"context"
	"runtime"
	"time"
)

// stepLimit ends a program, which asks Done before each of its steps.
//
// Steps are counted, and what is known to be dear counts as many; time is for the rest. A busy
// machine should refuse nothing: once the clock says that a program had its time, it gets as much
// of its processor, too. So those that are done before, all but a few, do not pay for the question
// how much they had. Those that run for some time are asked for their memory, too.
type stepLimit struct {
	context.Context //nolint:containedctx // it is one itself, for the time of a call

	left   int
	asked  uint
	budget time.Duration
	look   time.Time     // when to look at what it holds, and
	next   time.Time     // at what it took
	began  time.Duration // of the processor's time, once locked
	locked bool          // to its thread, whose time is measured
	late   bool

	memory memoryLimit
	large  bool // it holds too much
}

// Each step may take so long on average, and something is for those that few steps are left for.
const (
	timeOfStep = time.Microsecond
	timeOfAny  = time.Second / 4
	timeOfLook = 10 * time.Millisecond
)

func newStepLimit(ctx context.Context, steps int) *stepLimit {
	budget := timeOfAny + time.Duration(steps)*timeOfStep
	now := time.Now()
	return &stepLimit{Context: ctx, left: steps, budget: budget, look: now.Add(timeOfLook), next: now.Add(budget)}
}

func (l *stepLimit) Done() <-chan struct{} {
	l.left--
	l.asked++
	if l.left < 0 || l.asked%16 == 0 && l.tooMuch() {
		done := make(chan struct{})
		close(done)
		return done
	}
	if l.asked%1024 == 0 {
		return l.Context.Done()
	}
	return nil
}

func (l *stepLimit) tooMuch() bool {
	now := time.Now()
	if now.Before(l.look) {
		return false
	}
	l.look = now.Add(timeOfLook)
	l.large = l.memory.reached()
	return l.large || l.tooLate(now)
}

func (l *stepLimit) tooLate(now time.Time) bool {
	if now.Before(l.next) {
		return false
	}
	if !l.locked {
		runtime.LockOSThread()
		l.locked, l.began = true, threadTime()
	}
	rest := l.budget - (threadTime() - l.began)
	l.late = rest <= 0
	l.next = now.Add(max(rest, time.Millisecond))
	return l.late
}

// end is for when the program has ended.
func (l *stepLimit) end() {
	if l.locked {
		runtime.UnlockOSThread()
	}
}

func (l *stepLimit) Err() error {
	switch {
	case l.large:
		return errHeld
	case l.late:
		return errTimeUp
	case l.left < 0:
		return errSteps
	}
	return l.Context.Err()
}
