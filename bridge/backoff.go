package bridge

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Back-off between attempts to open a connector: it doubles from the first value to the second
// and each wait is a random part, at least half, of that. The upper
// value keeps a recovered broker waiting for less than ten seconds.
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

// backoff counts failures in a row. The zero value is ready.
type backoff struct {
	first, most time.Duration // 0 means backoffFirst and backoffMost
	jitter      func(time.Duration) time.Duration
	attempt     int
}

// longest returns the upper bound. What was open for that long was well.
func (b *backoff) longest() time.Duration { return max(leastWait, cmp.Or(b.most, backoffMost)) }

// next returns the number of the failed attempt, from 1, and how long to wait.
func (b *backoff) next() (attempt int, wait time.Duration) {
	d := b.longest()
	first := max(leastWait, cmp.Or(b.first, backoffFirst))
	for range min(b.attempt, 64) {
		if first >= d {
			break
		}
		first *= 2
	}
	d = min(d, first)
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

func (b *backoff) reset() { b.attempt = 0 }

// sleep waits for d and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
