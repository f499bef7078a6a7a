package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Bridge runs pipelines side by side in one process. Fill in the fields, then call Run once. The
// other methods may be called from any goroutine while it runs.
type Bridge struct {
	Pipelines []*Pipeline // at the start

	// FailFast stops every pipeline when one has failed. By default the others go on, and
	// the one that failed is started again after a while, see [Restart].
	FailFast bool

	Logger *slog.Logger // nil discards
	Stdin  io.Reader    // nil is empty
	Stdout io.Writer    // nil discards

	// Abort, if not nil, cuts draining short when it is closed.
	Abort <-chan struct{}

	changed signal // something below

	mu    sync.Mutex      // guards what follows
	ctx   context.Context //nolint:containedctx // of Run
	stop  context.CancelFunc
	jobs  []*job // in the order of the pipelines
	holds int
}

// job is a pipeline of a bridge, from its start to its end.
type job struct {
	*Pipeline
	ctx    context.Context //nolint:containedctx // until it is to stop
	cancel context.CancelFunc
	abort  chan struct{}
	hurry  func() // closes abort
	done   chan struct{}
	told   atomic.Pointer[time.Time] // when it was to stop
	ended  time.Time                 // once done
	paused bool
	err    error // once done
}

// RefusedError says why a method of a Bridge has not done what it was asked for.
type RefusedError string

func (e RefusedError) Error() string { return string(e) }

func refuse(format string, args ...any) error { return RefusedError(fmt.Sprintf(format, args...)) }

// ErrStopping is what methods of a Bridge return that does not run, or is to stop.
var ErrStopping error = RefusedError("the bridge stops")

// Run runs all pipelines until each has finished or failed for good, or ctx is done; see
// [Pipeline.Run]. It returns the errors of those that failed, joined.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	b.mu.Lock()
	b.ctx, b.stop = ctx, stop
	for _, p := range b.Pipelines {
		b.jobs = append(b.jobs, b.start(p))
	}
	for told := ctx.Done(); ; {
		changed := b.changed.wait()
		if !b.busy() {
			break
		}
		b.mu.Unlock()
		select {
		case <-changed:
		case <-told:
			told = nil
		}
		b.mu.Lock()
	}
	stop() // it takes no more
	defer b.mu.Unlock()
	errs := make([]error, len(b.jobs))
	for i, j := range b.jobs {
		errs[i] = j.err
	}
	return errors.Join(errs...)
}

// busy reports whether there is anything to wait for. The lock must be held.
func (b *Bridge) busy() bool {
	if b.ctx.Err() == nil && b.holds > 0 {
		return true
	}
	return slices.ContainsFunc(b.jobs, func(j *job) bool { return !j.over() || j.paused && b.ctx.Err() == nil })
}

// start starts p. The lock must be held.
func (b *Bridge) start(p *Pipeline) *job {
	j := &job{Pipeline: p, abort: make(chan struct{}), done: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancel(b.ctx)
	context.AfterFunc(j.ctx, func() {
		now := p.Clock.Now()
		j.told.Store(&now)
	})
	j.hurry = sync.OnceFunc(func() { close(j.abort) })
	p.restarts = !b.FailFast && !p.Restart.Off && !p.ends()
	go func() {
		select {
		case <-b.Abort:
			j.hurry()
		case <-j.done:
		}
	}()
	go func() {
		err := p.again(j.ctx, b.Logger, func() error {
			return p.Run(j.ctx, bridge.Env{Logger: b.Logger, Stdin: b.Stdin, Stdout: b.Stdout}, j.abort)
		})
		if err != nil && b.FailFast && j.ctx.Err() == nil {
			b.stop()
		}
		j.ended, j.err = p.Clock.Now(), err
		j.cancel()
		close(j.done)
		b.changed.broadcast()
	}()
	return j
}

func (j *job) over() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// job returns that of a pipeline. The lock must be held.
func (b *Bridge) job(name string) (*job, error) {
	if b.ctx == nil || b.ctx.Err() != nil {
		return nil, ErrStopping
	}
	for _, j := range b.jobs {
		if j.Name == name {
			return j, nil
		}
	}
	return nil, refuse("there is no pipeline %q", name)
}

// Hold keeps Run from returning because all pipelines have ended, until release is called once.
func (b *Bridge) Hold() (release func()) {
	b.add(1)
	return func() { b.add(-1) }
}

func (b *Bridge) add(holds int) {
	b.mu.Lock()
	b.holds += holds
	b.mu.Unlock()
	b.changed.broadcast()
}

// Start starts a pipeline, in place of one of that name, which must have ended.
func (b *Bridge) Start(p *Pipeline) error { return b.place(p, b.start) }

// Place puts a pipeline in place of one of that name, which must have ended, as one that has
// finished or, with pause, that is to go on when it is resumed.
func (b *Bridge) Place(p *Pipeline, pause bool) error {
	return b.place(p, func(p *Pipeline) *job {
		j := &job{Pipeline: p, done: make(chan struct{}), paused: pause, ended: p.Clock.Now(), hurry: func() {}}
		j.ctx, j.cancel = context.WithCancel(b.ctx)
		j.cancel()
		close(j.done)
		return j
	})
}

func (b *Bridge) place(p *Pipeline, start func(*Pipeline) *job) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch j, err := b.job(p.Name); {
	case errors.Is(err, ErrStopping):
		return err
	case err != nil:
		b.jobs = append(b.jobs, start(p))
	case !j.over():
		return refuse("pipeline %q runs", p.Name)
	default:
		b.jobs[slices.Index(b.jobs, j)] = start(p)
	}
	return nil
}

// Stop tells a pipeline to stop, as a stop of the bridge would, and returns when it has, with what
// its Run returned, or a [RefusedError]. Draining is cut short when ctx is done. It can be started
// again or removed; if neither has been done when the bridge stops, Run returns that, too.
func (b *Bridge) Stop(ctx context.Context, name string) error {
	defer b.Hold()()
	_, err := b.halt(ctx, name, false)
	return err
}

// Restart is Stop, and starts the pipeline again, whatever its Run returned.
func (b *Bridge) Restart(ctx context.Context, name string) error {
	defer b.Hold()()
	j, err := b.halt(ctx, name, false)
	if j == nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch at := slices.Index(b.jobs, j); {
	case b.ctx.Err() != nil:
		return ErrStopping
	case at < 0:
		return overtaken(name)
	default:
		b.jobs[at] = b.start(j.Pipeline)
		return err
	}
}

// Pause is Stop for a pipeline that is to go on later, for which Run waits. Its buffer is neither
// filled nor emptied meanwhile.
func (b *Bridge) Pause(ctx context.Context, name string) error {
	j, err := b.halt(ctx, name, true)
	if j == nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now, gone := b.job(name); gone != nil {
		return gone
	} else if !now.paused {
		return overtaken(name)
	}
	return err
}

func overtaken(name string) error {
	return refuse("pipeline %q was started or removed by somebody else meanwhile", name)
}

// halt stops a pipeline. Without a job nothing was done.
func (b *Bridge) halt(ctx context.Context, name string, pause bool) (*job, error) {
	b.mu.Lock()
	j, err := b.job(name)
	if err == nil && pause && j.over() && !j.paused {
		err = refuse("pipeline %q has ended", name)
	}
	if err != nil {
		b.mu.Unlock()
		return nil, err
	}
	j.paused = pause
	b.mu.Unlock()
	j.cancel()
	select {
	case <-j.done:
	case <-ctx.Done():
		j.hurry()
		<-j.done
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err = j.err
	if pause && err == nil && j.ends() && j.Buffer == nil { // what a resume would read anew
		j.paused = false
		b.changed.broadcast()
		return nil, refuse("pipeline %q has ended: all of its input is delivered now", name)
	}
	if pause && b.ctx.Err() == nil { // else Run says it, too, if nothing follows it
		j.err = nil
	}
	return j, err
}

// Resume starts a pipeline again that is paused.
func (b *Bridge) Resume(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	j, err := b.job(name)
	switch {
	case err != nil:
		return err
	case !j.paused:
		return refuse("pipeline %q is not paused", name)
	case !j.over():
		return refuse("pipeline %q is not paused yet: it delivers what it has read", name)
	}
	b.jobs[slices.Index(b.jobs, j)] = b.start(j.Pipeline)
	return nil
}

// Remove takes a pipeline that has ended out of the bridge.
func (b *Bridge) Remove(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	j, err := b.job(name)
	switch {
	case err != nil:
		return err
	case !j.over():
		return refuse("pipeline %q runs", name)
	}
	b.jobs = slices.DeleteFunc(b.jobs, func(o *job) bool { return o == j })
	return nil
}

// again calls run, and once more after a growing pause if it fails and the pipeline is to be
// started again. What it returns is the last failure.
func (p *Pipeline) again(ctx context.Context, log *slog.Logger, run func() error) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	pause := p.backoff(cmp.Or(p.Restart.First, restartFirst), cmp.Or(p.Restart.Most, restartMost))
	for {
		began := p.Clock.Now()
		err := run()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case !p.restarts:
			log.ErrorContext(ctx, "pipeline failed", "pipeline", p.Name, "err", err)
			return err
		}
		pause.resetIfWell(p.past.runningSince(began))
		attempt, wait := pause.next()
		log.ErrorContext(ctx, "pipeline failed, will start it again", "pipeline", p.Name, "err", err,
			"attempt", attempt, "wait", wait.Round(time.Millisecond).String())
		p.memory().waits(err, p.Clock.Now(), wait)
		if !p.Clock.Sleep(ctx, wait) {
			return err
		}
	}
}

// ends reports whether the input of the pipeline has an end: what is left of it is for whoever
// started it to decide.
func (p *Pipeline) ends() bool {
	return !slices.ContainsFunc(p.From, func(e bridge.Endpoint[bridge.Source]) bool { return !e.Ends })
}
