package bridge

import (
	"cmp"
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
type backoff struct {
	first, most time.Duration // 0 means backoffFirst and backoffMost
	attempt     int
}

// next returns the number of the failed attempt, from 1, and how long to wait.
func (b *backoff) next() (attempt int, wait time.Duration) {
	d := cmp.Or(b.most, backoffMost)
	if b.attempt < 16 {
		d = min(d, cmp.Or(b.first, backoffFirst)<<b.attempt)
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
