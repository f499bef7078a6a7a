package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

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
		s, err := o.await(ctx, w.once)
		if err != nil || ctx.Err() != nil {
			if w.err = err; ctx.Err() != nil && !bridge.IsPermanent(err) {
				w.err = context.Cause(ctx)
			}
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
		case ctx.Err() != nil && !bridge.IsPermanent(err):
			w.err = context.Cause(ctx)
			return
		case w.once:
			w.tried, w.err = true, fmt.Errorf("%s: %w", o, err)
			return
		case own && bridge.IsPermanent(err):
			w.err = fmt.Errorf("%s: %w", o, err)
			return
		}
		if settled > 0 {
			failed = failure{}
		}
		few = 1
		if own && !o.share.shares(t) && settled < size && (size == 1 || settled > 0) {
			failed.note(err)
			if o.exhausted(ctx, &w.batch[w.done], &failed) {
				o.giveUp(ctx, w, &failed)
			}
		}
	}
}

// writeOnce writes size messages to an instance and notes what became of them. It returns how many
// it settled.
func (o *output) writeOnce(ctx context.Context, s *opened, w *write, size int) (settled int, err error) {
	b := w.batch[w.done : w.done+size]
	var result bridge.Result
	err = guard(o.env.Logger, false, func() (err error) {
		result, err = s.Write(ctx, b)
		return err
	})
	if broken := checkResult(&result, size); broken != nil {
		w.err = bridge.Permanent(fmt.Errorf("%s: %w: the connector is broken", o, broken))
		return 0, nil
	}
	if result.Settled == 0 {
		return 0, err
	}
	for _, i := range result.Omitted {
		w.set(w.done+i, omitted)
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

// checkResult reports what is impossible about the result for n messages.
func checkResult(r *bridge.Result, n int) error {
	if r.Settled < 0 || r.Settled > n {
		return fmt.Errorf("settled %d of %d messages", r.Settled, n)
	}
	if err := checkRefusals(r.Refused, r.Settled); err != nil {
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

// checkRefusals reports what is impossible about refusals of n messages.
func checkRefusals(r bridge.Refusals, n int) error {
	last := -1
	for _, refused := range r {
		if refused.Index <= last || refused.Index >= n || refused.Err == nil {
			return fmt.Errorf("refused message %d of %d, without a reason or not in order", refused.Index, n)
		}
		last = refused.Index
	}
	return nil
}
