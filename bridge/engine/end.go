package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// past is what a pipeline remembers over its runs. The zero value is ready.
type past struct {
	ran  atomic.Pointer[time.Time] // since when everything was open last
	ends sync.Map                  // of *end, by instance

	mu       sync.Mutex // guards what follows
	since    time.Time  // of what it does; zero: it has not run
	open     int        // runs of which everything is open: that of a pipeline, or those of its halves
	restarts uint64
	failed   error     // it has failed, and waits
	until    time.Time // so long
}

// end is what is known of a source, a sink or a branch of ModeAny.
type end struct {
	done, total atomic.Int64 // bytes read, and to be read if that is known
	memory      bridge.MemoryCheckpoint
	opened      atomic.Bool // once

	mu     sync.Mutex // guards reason
	reason error      // why it could not be opened
}

// begins notes that ends are being opened.
func (p *past) begins(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.failed = at, nil
}

// running notes that everything is open, until the returned function is called.
func (p *past) running(since time.Time) (end func()) {
	p.ran.Store(&since)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = since
	p.open++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}
}

// waits notes that the pipeline, or the half that delivers, is started again after a while.
func (p *past) waits(why error, at time.Time, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.failed, p.until = at, why, at.Add(wait)
	p.restarts++
}

// runningSince returns since when everything has been open; zero if that was before began.
func (p *past) runningSince(began time.Time) (since time.Time) {
	if ran := p.ran.Load(); ran != nil && ran.After(began) {
		since = *ran
	}
	return since
}

// end returns what is known of an instance.
func (p *past) end(instance string) *end {
	e, _ := p.ends.LoadOrStore(instance, new(end))
	return e.(*end)
}

// failed notes why it could not be opened. If ctx is done, an attempt before says more.
func (e *end) failed(ctx context.Context, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reason == nil || ctx.Err() == nil {
		e.reason = err
	}
}

func (e *end) progress(done, total int64) {
	e.done.Store(done)
	e.total.Store(total)
}

// Progress returns how many of how many bytes the sources have read; total is
// 0 unless all of them know it.
func (p *Pipeline) Progress() (done, total int64) {
	for name := range p.Sources() {
		end := p.past.end(name)
		of := end.total.Load()
		if of == 0 {
			return 0, 0
		}
		done, total = done+end.done.Load(), total+of
	}
	return done, total
}

// neverConnected returns the error for an end that could not be opened before the stop.
func neverConnected(p *place, e *end) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reason == nil {
		return fmt.Errorf("%s: %w", p, ErrNeverConnected)
	}
	return fmt.Errorf("%w: %v", ErrNeverConnected, e.reason) //nolint:errorlint // its kind does not count any more
}

// cut returns the error for an input that has not come to its end, with what that means for the
// next run.
func cut(p *place, e *end, next string) error {
	err := fmt.Errorf("%s: %w", p, ErrCut)
	if total := e.total.Load(); total > 0 {
		err = fmt.Errorf("%w: %d of %d bytes have been read", err, e.done.Load(), total)
	}
	if next != "" {
		err = fmt.Errorf("%w; %s", err, next)
	}
	return err
}
