package engine

import (
	"cmp"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Back-off between attempts to open a connector: it doubles from the first value to the second, and
// each wait is a random part, at least half, of that. A recovered broker waits less than ten
// seconds.
const (
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 8 * time.Second
)

// Back-off between starts of a pipeline that failed.
const (
	restartFirst = time.Second
	restartMost  = 5 * time.Minute
)

// leastWait is the shortest wait, whatever is configured: less would be a busy loop.
const leastWait = time.Millisecond

// backoff returns one with these bounds.
func (p *Pipeline) backoff(first, most time.Duration) backoff {
	return backoff{first: first, most: most, clock: p.Clock, jitter: p.Jitter}
}

// backoff counts failures in a row. The zero value is ready.
type backoff struct {
	first, most time.Duration // 0 means backoffFirst and backoffMost
	clock       bridge.Clock
	jitter      func(time.Duration) time.Duration
	attempt     int
}

// longest returns the upper bound.
func (b *backoff) longest() time.Duration { return max(leastWait, cmp.Or(b.most, backoffMost)) }

// next returns the number of the failed attempt, from 1, and how long to wait.
func (b *backoff) next() (attempt int, wait time.Duration) {
	most, d := b.longest(), max(leastWait, cmp.Or(b.first, backoffFirst))
	for n := 0; n < min(b.attempt, 64) && d < most; n++ {
		d *= 2
	}
	d = min(d, most)
	b.attempt++
	if b.jitter == nil {
		b.jitter = rand.N[time.Duration]
	}
	return b.attempt, d/2 + b.jitter(d/2)
}

// level returns how a failed attempt is logged: as an error now and then when it goes on for a
// minute, since nobody who asked for errors only would hear of it otherwise.
func level(attempt int) slog.Level {
	if attempt%10 == 0 {
		return slog.LevelError
	}
	return slog.LevelWarn
}

// resetIfWell begins anew after what was open for long enough; since is zero if it was not open.
func (b *backoff) resetIfWell(since time.Time) {
	if !since.IsZero() && b.clock.Since(since) >= b.longest() {
		b.attempt = 0
	}
}
