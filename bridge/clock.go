package bridge

import (
	"context"
	"time"
)

// Clock tells the time, and wakes who waits for it. The zero value is the clock of the system; a
// test of pipelines has one of its own, see [NewClock]. It may be copied, and used from any
// goroutine.
type Clock struct{ source TimeSource }

// TimeSource is where a [Clock] has the time from.
type TimeSource interface {
	Now() time.Time

	// NewTimer returns a timer that goes off after d, as [time.NewTimer] does.
	NewTimer(d time.Duration) *Timer
}

// Timer is a [time.Timer] of a [Clock]: nothing that was sent before Stop or Reset is received
// after it.
type Timer struct {
	C     <-chan time.Time
	Stop  func() bool
	Reset func(time.Duration) bool
}

// NewClock returns the clock that has the time from there.
func NewClock(source TimeSource) Clock { return Clock{source} }

// Now returns the time.
func (c Clock) Now() time.Time {
	if c.source != nil {
		return c.source.Now()
	}
	return time.Now()
}

// Since returns how long ago that was.
func (c Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// NewTimer returns a timer that goes off after d.
func (c Clock) NewTimer(d time.Duration) *Timer {
	if c.source != nil {
		return c.source.NewTimer(d)
	}
	t := time.NewTimer(d)
	return &Timer{t.C, t.Stop, t.Reset}
}

// Sleep waits for d and reports whether ctx let it.
func (c Clock) Sleep(ctx context.Context, d time.Duration) bool {
	t := c.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
