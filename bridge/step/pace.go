package step

import (
	"errors"
	"time"
)

var errKeys = errors.New("there are more keys at a time than max_keys allows")

// pace says when the next message of a key may go, so that a rate is kept.
type pace struct {
	interval  time.Duration // from one message to the next
	tolerance time.Duration // by which those after a pause may be early
	maxKeys   int

	sums  sums
	next  map[sum]time.Time // when a message would be neither early nor late
	swept time.Time
}

func newPace(interval time.Duration, burst, maxKeys int) *pace {
	return &pace{
		interval: interval, tolerance: time.Duration(burst-1) * interval, maxKeys: maxKeys,
		sums: newSums(), next: make(map[sum]time.Time),
	}
}

// at returns when a message of the key may go, which is now or later.
func (p *pace) at(key sum, now time.Time) (time.Time, error) {
	next, known := p.next[key]
	if !known && len(p.next) >= p.maxKeys && !p.sweep(now) {
		return now, errKeys
	}
	if at := next.Add(-p.tolerance); at.After(now) {
		return at, nil
	}
	return now, nil
}

// goes notes that a message of the key goes at that time.
func (p *pace) goes(key sum, at time.Time) {
	if next := p.next[key]; next.After(at) {
		at = next
	}
	p.next[key] = at.Add(p.interval)
}

// sweep forgets the keys that have had a pause, and reports whether there is room. It looks through
// them once a second at most.
func (p *pace) sweep(now time.Time) bool {
	if since := now.Sub(p.swept); since < 0 || since >= time.Second {
		p.swept = now
		for key, next := range p.next {
			if !next.After(now) {
				delete(p.next, key)
			}
		}
	}
	return len(p.next) < p.maxKeys
}
