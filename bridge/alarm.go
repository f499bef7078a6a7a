package bridge

import (
	"context"
	"time"
)

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
			r.alarm.Reset(time.Until(next))
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
			r.turn.Lock()
			if r.ended || s.wakeAt.IsZero() || time.Now().Before(s.wakeAt) {
				r.turn.Unlock()
				continue
			}
			s.wakeAt = time.Time{}
			r.send(r.newFlight(new(debt)), func(way *router) error {
				if s.node == r.root {
					return way.start(s.index, nil, true)
				}
				way.f.outcomes = []outcome{}
				return way.callOne(s)
			})
		}
		r.turn.Lock()
		r.alarmAt = time.Time{}
		r.setAlarm()
		r.turn.Unlock()
	}
}
