package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// openTimeout bounds one attempt to open a connector.
const openTimeout = 30 * time.Second

// output is one sink of a running pipeline. It keeps an instance open, and
// replaces one that returned an error.
type output struct {
	*place
	endpoint Endpoint[Sink]
	end      *end            // its state
	leave    <-chan struct{} // once it is closed, nobody waits for an instance any more; nil: never
	share    *queue          // nil: there is one write at a time

	mu      mutex                  // held while opening, so that one goroutine opens and the others wait
	open    atomic.Pointer[opened] // nil: not open; changed with the lock held
	backoff backoff
	next    time.Time // when the next instance may be opened
	closed  bool

	opening *reopening // of an output that has an alternative, nil for others
}

// opened is an open instance.
type opened struct {
	Sink
	at     time.Time
	worked atomic.Bool // something was settled
}

// pause sees to it that the next instance is opened after a while. The lock must be held.
func (o *output) pause(what string, cause error) {
	attempt, wait := o.backoff.next()
	o.env.Logger.Log(context.Background(), level(attempt), what, //nolint:sloglint // one of a few texts
		"err", cause, "attempt", attempt, "wait", wait.Round(time.Millisecond).String())
	o.end.set(PhaseConnecting, cause)
	o.next = time.Now().Add(wait)
}

// wait waits until an instance may be opened.
func (o *output) wait(ctx context.Context, next time.Time) {
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-o.leave:
	}
}

// await returns the open instance, or opens one, trying again until it works,
// the error is permanent or ctx is done.
func (o *output) await(ctx context.Context) (*opened, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.open.Load() == nil {
		o.wait(ctx, o.next)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		select {
		case <-o.leave:
			return nil, ErrNotDrained
		default:
		}
		err := o.openOnce(ctx)
		switch {
		case IsPermanent(err):
			o.end.set(PhaseFailed, err)
			return nil, err
		case err != nil && ctx.Err() != nil:
			o.end.interrupted(err)
		case err != nil:
			o.pause("cannot open, will try again", err)
		}
	}
	return o.open.Load(), nil
}

// openOnce tries to open an instance. The lock must be held.
func (o *output) openOnce(ctx context.Context) error {
	s, err := openOnce(ctx, o.endpoint, o.env)
	if err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	o.isOpen(s)
	return nil
}

// isOpen notes that an instance is open. The lock must be held.
func (o *output) isOpen(s Sink) {
	o.open.Store(&opened{Sink: s, at: time.Now()})
	o.end.set(PhaseRunning, nil)
}

// failed closes the instance s, unless that has been done already. The next one is opened after a
// while.
func (o *output) failed(s *opened, cause error) {
	if !o.uses(s) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.drop(s):
	case o.opening != nil:
		o.lost(cause)
	default:
		o.pause("write failed, will open again", cause)
	}
}

// drop closes the instance s, unless that has been done already. The lock must be held.
func (o *output) drop(s *opened) bool {
	if o.open.Load() != s {
		return false
	}
	o.open.Store(nil)
	closeQuietly(s, o.env.Logger)
	if s.worked.Load() || time.Since(s.at) >= o.backoff.longest() {
		o.backoff.reset()
	}
	return true
}

// uses reports whether s is the instance in use: one that is not was closed by us.
func (o *output) uses(s *opened) bool { return o.open.Load() == s }

// write delivers a batch, through as many instances as it takes. Its error is permanent, or says
// that ctx was done; with once it may be any.
//
// A message is blamed for a failure if it was the first one not settled of a write that had the
// instance for itself. So after a failure the next write is one message alone, and then twice as
// many each time.
func (o *output) write(ctx context.Context, w *write) {
	var failed failure // of message w.done
	few := 0           // how many messages to write at most, after a failure; 0: any number
	for w.done < len(w.batch) && w.err == nil {
		s, err := o.instance(ctx, w.once)
		if err != nil || ctx.Err() != nil {
			w.err = causeOr(ctx, err)
			return
		}
		size := len(w.batch) - w.done
		if few > 0 {
			size = min(size, few)
		}
		t := o.share.take(few > 0)
		if !o.share.enter(ctx, t) {
			w.err = context.Cause(ctx)
			return
		}
		if !o.uses(s) { // it was closed while this one waited
			o.share.leave()
			continue
		}
		settled, err := o.writeOnce(ctx, s, w, size)
		if err == nil && settled < size && w.err == nil {
			err = errors.New("nothing was written, without an error")
		}
		own := o.uses(s)
		if err != nil {
			o.failed(s, err) // before anybody else has it for itself
		}
		o.share.leave()
		switch {
		case w.err != nil:
			return
		case err == nil:
			few, failed = 2*few, failure{}
			continue
		case w.done == len(w.batch):
			return
		case ctx.Err() != nil && !IsPermanent(err):
			w.err = context.Cause(ctx)
			return
		case w.once:
			w.tried, w.err = true, fmt.Errorf("%s: %w", o, err)
			return
		case own && IsPermanent(err):
			w.err = fmt.Errorf("%s: %w", o, err)
			o.end.set(PhaseFailed, w.err)
			return
		}
		if settled > 0 {
			failed = failure{}
		}
		few = 1
		if own && !o.share.shares(t) && settled < size && (size == 1 || settled > 0) {
			failed.note(err)
			m := &w.batch[w.done]
			if failed.attempts >= suspicious {
				o.end.set(PhaseConnecting, failed.named(m, err))
			}
			if o.exhausted(ctx, m, &failed) {
				o.giveUp(ctx, w, &failed)
			}
		}
	}
}

// instance returns an open instance. With once it does not wait for one.
func (o *output) instance(ctx context.Context, once bool) (*opened, error) {
	if !once {
		return o.await(ctx)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open.Load(); s != nil {
		return s, nil
	}
	return nil, o.opening.err
}

// writeOnce writes size messages to an instance and notes what became of them. It returns how many
// it settled.
func (o *output) writeOnce(ctx context.Context, s *opened, w *write, size int) (settled int, err error) {
	b := w.batch[w.done : w.done+size]
	var result Result
	err = guard(o.env.Logger, func() (err error) {
		result, err = s.Write(ctx, b)
		return err
	})
	if broken := result.check(size); broken != nil {
		w.err = Permanent(fmt.Errorf("%s: %w: the connector is broken", o, broken))
		return 0, nil
	}
	if result.Settled == 0 {
		return 0, err
	}
	for _, i := range result.Omitted {
		w.set(w.done+i, dropped)
	}
	if !s.worked.Load() {
		s.worked.Store(true)
	}
	if len(result.Refused) == 0 {
		o.pass(result.Settled)
		w.done += result.Settled
		return result.Settled, err
	}
	bad := refusals(b, result.Refused)
	if w.once {
		for _, r := range bad {
			r.index += w.done
			w.refused = append(w.refused, r)
			w.set(r.index, refused)
		}
		w.done += result.Settled
		return result.Settled, err
	}
	n, out, stop := o.refuse(ctx, result.Settled, bad)
	for _, r := range bad[:n] {
		w.set(w.done+r.index, out)
	}
	if stop != nil {
		w.done += bad[n].index
		w.err = stop
		return bad[n].index, nil //nolint:nilerr // why it stops is told first
	}
	w.done += result.Settled
	return result.Settled, err
}

// giveUp does what is configured with the first message that is not settled.
func (o *output) giveUp(ctx context.Context, w *write, failed *failure) {
	n, out, err := o.refuse(ctx, 1, []refusal{{message: &w.batch[w.done], failure: *failed}})
	if w.err = err; n == 1 {
		w.set(w.done, out)
		w.done++
	}
	*failed = failure{}
}

// check reports what is impossible about the result for n messages.
func (r *Result) check(n int) error {
	if r.Settled < 0 || r.Settled > n {
		return fmt.Errorf("settled %d of %d messages", r.Settled, n)
	}
	if err := r.Refused.check(r.Settled); err != nil {
		return err
	}
	last := -1
	for _, i := range r.Omitted {
		if i <= last || i >= r.Settled {
			return fmt.Errorf("left out message %d of %d settled, or not in order", i, r.Settled)
		}
		last = i
	}
	return nil
}

// check reports what is impossible about refusals of n messages.
func (r Refusals) check(n int) error {
	last := -1
	for _, refused := range r {
		if refused.Index <= last || refused.Index >= n || refused.Err == nil {
			return fmt.Errorf("refused message %d of %d, without a reason or not in order", refused.Index, n)
		}
		last = refused.Index
	}
	return nil
}

func (o *output) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.opening.end()
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open.Swap(nil); s != nil {
		closeQuietly(s, o.env.Logger)
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

// causeOr returns why ctx is done, or else err.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil && !IsPermanent(err) {
		return context.Cause(ctx)
	}
	return err
}
