package generate

import "time"

// backlog is how far behind the clock a pace may fall, or one period if that is longer.
const backlog = time.Second

// pace says when messages are due, the first of them one period after the
// start. Times are counted from the start, lest rounding add up.
type pace struct {
	period float64 // nanoseconds from one message to the next; 0 is without pace
	start  time.Time
	done   int // messages since start
}

// next returns when the next message is due.
func (p *pace) next() time.Time { return p.start.Add(time.Duration(float64(p.done+1) * p.period)) }

// delay returns how long to wait for the next message.
func (p *pace) delay(now time.Time) time.Duration {
	if p.period == 0 {
		return 0
	}
	if p.start.IsZero() {
		p.start = now
	}
	if start := now.Add(-max(backlog, time.Duration(p.period))); start.After(p.next()) {
		p.start, p.done = start, 0
	}
	return p.next().Sub(now)
}

// due returns how many messages are due, from 1 to most. Delay has said that there is one.
func (p *pace) due(now time.Time, most int) int {
	if p.period == 0 {
		return most
	}
	n := float64(now.Sub(p.start))/p.period - float64(p.done)
	return int(min(max(1, n), float64(most)))
}

func (p *pace) sent(n int) { p.done += n }
