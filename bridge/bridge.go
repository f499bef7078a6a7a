package bridge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
)

// Bridge runs pipelines side by side in one process. Fill in the fields, then
// call Run once.
type Bridge struct {
	Pipelines []*Pipeline

	// FailFast stops every pipeline when one has failed. By default the others go on.
	FailFast bool

	Logger *slog.Logger // nil discards
	Stdin  io.Reader    // nil is empty
	Stdout io.Writer    // nil discards

	// Abort, if not nil, cuts draining short when it is closed.
	Abort <-chan struct{}
}

// Run runs all pipelines until each has finished or failed, or ctx is done; see
// [Pipeline.Run]. It returns the errors of those that failed, joined.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	env := Env{Logger: b.Logger, Stdin: b.Stdin, Stdout: b.Stdout}
	errs := make([]error, len(b.Pipelines))
	var running sync.WaitGroup
	for i, p := range b.Pipelines {
		running.Go(func() {
			errs[i] = p.Run(ctx, env, b.Abort)
			if errs[i] == nil {
				return
			}
			if b.Logger != nil && len(b.Pipelines) > 1 { // long before Run returns
				b.Logger.Error("pipeline failed", "pipeline", p.Name, "err", errs[i])
			}
			if b.FailFast {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
