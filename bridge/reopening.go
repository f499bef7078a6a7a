package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// reopening opens the instances of an output in the background, since messages have another way
// meanwhile.
type reopening struct {
	err    error           // why it is not open; guarded by the mutex of the output
	tried  bool            // guarded likewise
	lost   chan time.Time  // has one when the instance was lost: when to open the next
	ctx    context.Context //nolint:containedctx // until end
	cancel context.CancelFunc
	done   sync.WaitGroup
}

var errNotOpen = errors.New("it is not open yet")

func newReopening() *reopening {
	r := &reopening{err: errNotOpen, lost: make(chan time.Time, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// openInBackground keeps the output open until it is closed. changed is called after each attempt.
func (o *output) openInBackground(changed func()) {
	r := o.opening
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	r.done.Go(func() {
		for r.ctx.Err() == nil {
			next, open := o.attempt(r.ctx)
			changed()
			if open {
				select {
				case next = <-r.lost:
				case <-r.ctx.Done():
				}
			}
			o.wait(r.ctx, next)
		}
	})
}

// attempt opens an instance, without the lock, which those who look for another way need. It returns
// when to try again if it is not open.
func (o *output) attempt(ctx context.Context) (next time.Time, open bool) {
	s, err := openOnce(ctx, o.endpoint, o.env)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opening.tried = true
	if err != nil {
		o.opening.err = fmt.Errorf("%s: %w", o, err)
		o.pause("cannot open, will try again; another branch takes the messages", err)
		return o.next, false
	}
	o.isOpen(s)
	return time.Time{}, true
}

// lost has another instance opened. The lock must be held.
func (o *output) lost(cause error) {
	o.opening.err = fmt.Errorf("%s: %w", o, cause)
	o.pause("write failed, will open again; another branch takes the messages", cause)
	select {
	case o.opening.lost <- o.next:
	default:
	}
}

// end stops it. It may be nil.
func (r *reopening) end() {
	if r != nil {
		r.cancel()
		r.done.Wait()
	}
}

// attempted reports whether the output has been tried to open, whether it is open, and if not, why.
func (o *output) attempted() (tried, open bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tried = o.opening.tried
	if open = o.open.Load() != nil; !open {
		err = o.opening.err
	}
	return tried, open, err
}
