package bridge

import (
	"context"
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

// backoff counts failures in a row. The zero value is ready.
type backoff struct{ attempt int }

// next returns the number of the failed attempt, from 1, and how long to wait.
func (b *backoff) next() (attempt int, wait time.Duration) {
	d := backoffMost
	if b.attempt < 6 {
		d = min(d, backoffFirst<<b.attempt)
	}
	b.attempt++
	return b.attempt, d/2 + rand.N(d/2)
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
