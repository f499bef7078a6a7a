package server

import (
	"fmt"
	"sync"
	"time"
)

// bucket is a token bucket that begins full. It belongs to the lock of its key.
type bucket struct {
	spent float64 // tokens that are missing
	last  time.Duration
}

// take takes a token and returns 0, or how long there will be none.
func (b *bucket) take(now time.Duration, perSecond int) time.Duration {
	rate := float64(perSecond)
	b.spent = max(0, b.spent-(now-b.last).Seconds()*rate)
	b.last = now
	if over := b.spent + 1 - rate; over > 0 {
		return time.Duration(over / rate * float64(time.Second))
	}
	b.spent++
	return 0
}

// quota counts the requests of an account in a calendar month.
type quota struct {
	mu    sync.Mutex // guards what follows
	month time.Time  // its beginning
	used  int
}

// allow counts a request against the limits of its key and account.
func (k *key) allow(s *Server) error {
	l := &s.limits
	if l.RequestsPerSecond == 0 && l.RequestsPerMonth == 0 {
		return nil
	}
	if l.RequestsPerSecond > 0 {
		k.mu.Lock()
		wait := k.bucket.take(s.mono(), l.RequestsPerSecond)
		k.mu.Unlock()
		if wait > 0 {
			return &refusal{
				group: groupSystem, code: codeRate, retryAfter: wait,
				text: fmt.Sprintf("too many requests: %d a second with one key are the most", l.RequestsPerSecond),
			}
		}
	}
	if l.RequestsPerMonth > 0 {
		if err := k.account.quota.take(s.now().UTC(), l.RequestsPerMonth); err != nil {
			k.mu.Lock()
			k.bucket.spent = max(0, k.bucket.spent-1) // a refused request does not count
			k.mu.Unlock()
			return err
		}
	}
	return nil
}

func (q *quota) take(now time.Time, perMonth int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	if month.After(q.month) { // a clock that steps back gives no second quota
		q.month, q.used = month, 0
	}
	if q.used >= perMonth {
		return &refusal{
			group: groupSystem, code: codeQuota, retryAfter: max(time.Second, q.month.AddDate(0, 1, 0).Sub(now)),
			text: fmt.Sprintf("the quota of %d requests a month is used up", perMonth),
		}
	}
	q.used++
	return nil
}
