package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// openTimeout bounds one attempt to open a connector.
const openTimeout = 30 * time.Second

// output is one sink of a running pipeline. It keeps an instance open, and
// replaces one that returned an error.
type output struct {
	endpoint Endpoint[Sink]
	env      Env
	onError  *undertaker

	delivered atomic.Bool  // something, since the last failure
	dropped   atomic.Int64 // messages that Write left out and counts as delivered, or that onError dropped
	buried    atomic.Int64 // messages that became dead letters
	seen      atomic.Int64 // messages that were delivered or failed for good
	failures  []int64      // numbers of the latest ones that failed for good; guarded by onError.mu

	mu      sync.Mutex // held while opening, so that one goroutine opens and the others wait
	sink    Sink       // nil: not open
	backoff backoff
}

func newOutput(e Endpoint[Sink], env Env, u *undertaker) *output {
	o := &output{endpoint: e, env: env, onError: u, backoff: backoff{first: u.FirstWait, most: u.LongestWait}}
	o.env.Dropped = func(n int) { o.dropped.Add(int64(n)) }
	return o
}

// open returns the open instance, or opens one, trying again until it works,
// the error is permanent or ctx is done.
func (o *output) open(ctx context.Context) (Sink, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.sink == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, err := openOnce(ctx, o.endpoint, o.env)
		switch {
		case err == nil:
			o.sink = s
		case IsPermanent(err):
			return nil, fmt.Errorf("%s sink: %w", o.endpoint.Type, err)
		default:
			attempt, wait := o.backoff.next()
			o.env.Logger.WarnContext(ctx, "cannot open, will try again", "err", err, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
			if !sleep(ctx, wait) {
				return nil, err
			}
		}
	}
	return o.sink, nil
}

// replace closes the instance s and, unless that has been done already, waits
// a little before the next one is opened.
func (o *output) replace(ctx context.Context, s Sink, cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sink != s {
		return
	}
	o.sink = nil
	closeQuietly(s, o.env.Logger)
	if o.delivered.Swap(false) {
		o.backoff.reset()
	}
	attempt, wait := o.backoff.next()
	o.env.Logger.WarnContext(ctx, "write failed, will open again", "err", cause, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
	sleep(ctx, wait)
}

// write delivers the batch, through as many instances as it takes, and returns
// how many messages at its front were delivered. err is permanent, or
// says that ctx was done.
func (o *output) write(ctx context.Context, b Batch) (int, error) {
	done := 0
	var failed failure // of message done
	for done < len(b) {
		s, err := o.open(ctx)
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		if err != nil {
			return done, err
		}
		n, err := s.Write(ctx, b[done:])
		if n < 0 || n > len(b)-done {
			return done, Permanent(fmt.Errorf("%s sink: wrote %d of %d messages: the connector is broken", o.endpoint.Type, n, len(b)-done))
		}
		done += n
		if n > 0 {
			o.seen.Add(int64(n))
			o.delivered.Store(true)
			failed = failure{}
		}
		switch {
		case done == len(b):
			return done, nil // whatever err says, every message is delivered
		case ctx.Err() != nil && !IsPermanent(err):
			return done, context.Cause(ctx)
		case err == nil && n > 0:
			continue
		case err == nil:
			err = errors.New("nothing was written, without an error")
		}
		failed.note(err)
		if !o.onError.final(failed) {
			o.replace(ctx, s, err)
			continue
		}
		if err := o.onError.bury(ctx, o, &b[done], failed); err != nil {
			return done, err
		}
		done++
		if !IsPermanent(err) {
			o.replace(ctx, s, err)
		}
		failed = failure{}
	}
	return done, nil
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sink != nil {
		closeQuietly(o.sink, o.env.Logger)
		o.sink = nil
	}
}

// openOnce opens one instance, within openTimeout.
func openOnce[T any](ctx context.Context, e Endpoint[T], env Env) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var instance T
	err := guard(env.Logger, func() (err error) {
		instance, err = e.Open(ctx, env)
		return err
	})
	if err == nil {
		env.Logger.InfoContext(ctx, "opened")
	}
	return instance, err
}

func closeQuietly(c interface{ Close() error }, log *slog.Logger) {
	if err := guard(log, c.Close); err != nil {
		log.Warn("close", "err", err)
		return
	}
	log.Info("closed")
}
