package pipetest

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// clock is a [bridge.TimeSource] whose time passes when it is told to.
type clock struct {
	mu     sync.Mutex // guards what follows
	now    time.Time
	timers []*timer // that have yet to go off
}

type timer struct {
	at time.Time
	c  chan time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) NewTimer(d time.Duration) *bridge.Timer {
	t := &timer{c: make(chan time.Time, 1)}
	c.set(t, d)
	return &bridge.Timer{
		C:     t.c,
		Stop:  func() bool { return c.stop(t) },
		Reset: func(d time.Duration) bool { defer c.set(t, d); return c.stop(t) },
	}
}

func (c *clock) set(t *timer, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.at = c.now.Add(d); d <= 0 {
		t.c <- c.now
		return
	}
	c.timers = append(c.timers, t)
}

func (c *clock) stop(t *timer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.timers, t)
	if i >= 0 {
		c.timers = slices.Delete(c.timers, i, i+1)
		return true
	}
	select {
	case <-t.c:
	default:
	}
	return false
}

// step lets the time pass until the next timer goes off, or it is end, which it reports.
func (c *clock) step(end time.Time) (over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) > 0 {
		next := slices.MinFunc(c.timers, func(a, b *timer) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
		if !next.at.After(end) {
			c.now = next.at
			c.timers = slices.DeleteFunc(c.timers, func(t *timer) bool { return t == next })
			next.c <- c.now
			return false
		}
	}
	c.now = end
	return true
}
