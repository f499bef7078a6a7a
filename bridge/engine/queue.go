package engine

import (
	"context"
	"slices"
	"sync"
)

// queue lets so many write at once, in the order in which they took their place, or one alone. Nil
// is for who is alone anyway.
type queue struct {
	most int

	mu      sync.Mutex // guards what follows
	writing int
	alone   bool // the one that writes does so alone
	waiting []*ticket
}

// ticket is a place in a queue.
type ticket struct {
	alone bool
	may   chan struct{} // closed when it is its turn
}

func newQueue(most int) *queue {
	if most <= 1 {
		return nil
	}
	return &queue{most: most}
}

// take takes the next place. Each must be passed to enter.
func (q *queue) take(alone bool) *ticket {
	if q == nil {
		return nil
	}
	t := &ticket{alone, make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, t)
	q.next()
	return t
}

// enter waits for the turn of t. It is false if ctx was done first, and the place is given up;
// leave is to be called otherwise.
func (q *queue) enter(ctx context.Context, t *ticket) bool {
	if q == nil {
		return true
	}
	select {
	case <-t.may:
		return true
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.next()
	} else {
		q.release()
	}
	return false
}

func (q *queue) leave() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release()
}

// release ends a turn. The lock must be held.
func (q *queue) release() {
	q.writing, q.alone = q.writing-1, false
	q.next()
}

// next gives turns to those that may have one. The lock must be held.
func (q *queue) next() {
	for len(q.waiting) > 0 {
		t := q.waiting[0]
		if q.alone || q.writing >= q.most || t.alone && q.writing > 0 {
			return
		}
		q.waiting = q.waiting[1:]
		q.writing, q.alone = q.writing+1, t.alone
		close(t.may)
	}
}

// shares reports whether others may write at the same time as t.
func (q *queue) shares(t *ticket) bool { return q != nil && q.most > 1 && !t.alone }
