package bridge

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Bridge runs pipelines side by side in one process. Fill in the fields, then
// call Run once.
type Bridge struct {
	Pipelines []*Pipeline

	// FailFast stops every pipeline when one has failed. By default the others go on, and
	// the one that failed is started again after a while, see [Restart].
	FailFast bool

	Logger *slog.Logger // nil discards
	Stdin  io.Reader    // nil is empty
	Stdout io.Writer    // nil discards

	// Abort, if not nil, cuts draining short when it is closed.
	Abort <-chan struct{}
}

// Run runs all pipelines until each has finished or failed for good, or ctx is done; see
// [Pipeline.Run]. It returns the errors of those that failed, joined.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(b.Pipelines))
	var running sync.WaitGroup
	for i, p := range b.Pipelines {
		running.Go(func() {
			p.restarts = !b.FailFast && !p.Restart.Off && !p.ends()
			errs[i] = p.again(ctx, b.Logger, func() error {
				return p.Run(ctx, Env{Logger: b.Logger, Stdin: b.Stdin, Stdout: b.Stdout}, b.Abort)
			})
			if errs[i] != nil && b.FailFast {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// again calls run, and once more after a growing pause if it fails and the pipeline is to be
// started again. What it returns is the last failure.
func (p *Pipeline) again(ctx context.Context, log *slog.Logger, run func() error) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	pause := backoff{
		first: cmp.Or(p.Restart.First, restartFirst), most: cmp.Or(p.Restart.Most, restartMost), jitter: p.Jitter,
	}
	for {
		began := time.Now()
		err := run()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case !p.restarts:
			log.ErrorContext(ctx, "pipeline failed", "pipeline", p.Name, "err", err)
			return err
		}
		p.health.set(PhaseFailed, err)
		if began, well := p.health.runningSince(began); well && time.Since(began) >= pause.longest() {
			pause.reset()
		}
		attempt, wait := pause.next()
		log.ErrorContext(ctx, "pipeline failed, will start it again", "pipeline", p.Name, "err", err,
			"attempt", attempt, "wait", wait.Round(time.Millisecond).String())
		if !sleep(ctx, wait) {
			return err
		}
		p.health.restarted()
	}
}

// ends reports whether the input of the pipeline has an end: what is left of it is for whoever
// started it to decide.
func (p *Pipeline) ends() bool {
	return !slices.ContainsFunc(p.From, func(e Endpoint[Source]) bool { return !e.Ends })
}
