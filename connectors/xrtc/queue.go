package xrtc

import (
	"context"
	"errors"
	"sync"

	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

var errClosed = errors.New("the instance is closed")

// queue holds items between the goroutine that receives them and Read, up to a number of bytes.
type queue struct {
	limit int
	ready chan struct{} // holds one after something came
	room  chan struct{} // holds one after something was taken

	mu    sync.Mutex // guards what follows
	items []sdk.Item
	bytes int
	err   error // nothing more comes
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// itemOverhead is about what an item costs in memory beside its payload.
const itemOverhead = 96

// add adds items when there is room; an empty queue has room for any. It returns false if nobody wants them.
func (q *queue) add(ctx context.Context, items []sdk.Item) bool {
	size := 0
	for i := range items {
		size += len(items[i].Payload) + itemOverhead
	}
	for {
		q.mu.Lock()
		switch {
		case q.err != nil:
			q.mu.Unlock()
			return false
		case len(q.items) == 0 || q.bytes+size <= q.limit:
			q.items = append(q.items, items...)
			q.bytes += size
			q.mu.Unlock()
			signal(q.ready)
			return true
		}
		q.mu.Unlock()
		select {
		case <-q.room:
		case <-ctx.Done():
			return false
		}
	}
}

// take waits for items and removes up to most. When none is left it returns what end was told.
func (q *queue) take(ctx context.Context, most int) ([]sdk.Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // even if there are items, which may never end
	}
	for {
		q.mu.Lock()
		if n := min(most, len(q.items)); n > 0 {
			taken := q.items[:n:n]
			q.items = q.items[n:]
			if len(q.items) == 0 {
				q.items = nil
			}
			for i := range taken {
				q.bytes -= len(taken[i].Payload) + itemOverhead
			}
			q.mu.Unlock()
			signal(q.room)
			return taken, nil
		}
		err := q.err
		q.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// end says that nothing more comes, and why.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	if errors.Is(err, errClosed) {
		q.items, q.err = nil, err // they come again
	}
	signal(q.ready)
	signal(q.room)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
