package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errNobody = errors.New("no branch takes it")

// seeker is a batch that looks for branches of ModeAny. What nobody has taken is pending.
type seeker struct {
	*write
	node    *node
	out     []outcome
	down    []bool          // a branch would have taken the message, had it been well
	refused map[int]failure // why the last branch that refused the message did
	left    []int           // messages that are to be tried
	tried   bool            // a sink that was open was asked
	why     error           // a branch did not take all
}

// writeAny writes to the first branch that takes a message, then what is left to the next one, and
// begins again at the first for the next batch. A message that nobody takes is blamed as in
// [output.write]: if it was tried alone.
func (r *run) writeAny(ctx context.Context, n *node, w *write) {
	first := n.children[0]
	s := &seeker{write: w, node: n}
	if first.plain() { // nearly always that is all
		if t := n.share.take(false); !n.share.enter(ctx, t) {
			w.err = context.Cause(ctx)
			return
		}
		r.tryPlain(ctx, first, s)
		n.share.leave()
		if w.done == len(w.batch) || w.err != nil {
			return
		}
	} else {
		s.begin()
	}
	var failed failure // of the first of left
	few := 0           // how many to try at most, after a failure; 0: any number
	for ahead := first.plain(); len(s.left) > 0 && w.err == nil; ahead = false {
		changed, rest := r.opened.wait(), []int(nil)
		if few > 0 && few < len(s.left) {
			s.left, rest = s.left[:few:few], s.left[few:]
		}
		t := n.share.take(few > 0)
		if !n.share.enter(ctx, t) {
			w.err = context.Cause(ctx)
			break
		}
		alone, at := len(s.left) == 1 && !n.share.shares(t), s.left[0]
		if !ahead {
			s.tried, s.why = false, nil
		}
		r.round(ctx, s, ahead)
		n.share.leave()
		stuck := len(s.left) > 0
		s.left = append(s.left, rest...)
		switch {
		case ctx.Err() != nil && stuck:
			w.err = context.Cause(ctx)
		case w.err != nil:
		case !stuck:
			few, failed = 2*few, failure{}
		case w.once:
			w.tried, w.err = s.tried, s.why
		default:
			if few = 1; s.left[0] != at {
				failed = failure{}
			}
			if alone && s.tried {
				failed.note(s.why)
				s.why = failed.named(&w.batch[at], s.why)
				if n.exhausted(ctx, &w.batch[at], &failed) {
					r.refuseOne(ctx, s, at, &failed)
					s.keep()
					continue
				}
			}
			n.end.set(PhaseConnecting, s.why)
			r.awaitBranch(ctx, s, changed)
		}
	}
	n.end.set(PhaseRunning, nil)
	s.finish()
}

// plain reports whether everything that comes to the branch goes to its sink as it is.
func (n *node) plain() bool { return n.output != nil && n.when == nil && len(n.stages) == 0 }

// tryPlain writes the whole batch to a plain branch, and begins to seek another only for what that
// does not take.
func (r *run) tryPlain(ctx context.Context, c *node, s *seeker) {
	first := write{batch: s.batch, once: true}
	c.output.write(ctx, &first)
	if len(first.refused) == 0 && (first.done == len(s.batch) || ctx.Err() != nil) {
		s.done, s.outcomes, s.err = first.done, first.outcomes, first.err
		return
	}
	s.begin()
	for i := range s.batch {
		s.out[i] = first.of(i)
		s.down[i] = s.out[i] == pending
	}
	for _, bad := range first.refused {
		s.refused[bad.index] = bad.failure
	}
	s.tried, s.why = first.tried, first.err
	s.keep()
}

func (s *seeker) begin() {
	s.out, s.down, s.refused = make([]outcome, len(s.batch)), make([]bool, len(s.batch)), make(map[int]failure)
	for i := range s.batch {
		s.out[i] = pending
		s.left = append(s.left, i)
	}
}

// keep leaves what nobody has taken.
func (s *seeker) keep() {
	left := s.left[:0]
	for _, i := range s.left {
		if s.out[i] >= refused {
			left = append(left, i)
		}
	}
	s.left = left
}

// round tries one branch after the other, but for the first one if that is done, and deals with
// what all have refused.
func (r *run) round(ctx context.Context, s *seeker, ahead bool) {
	for k, c := range s.node.children {
		if k == 0 && ahead {
			continue
		}
		if len(s.left) == 0 || s.err != nil {
			break
		}
		r.try(ctx, c, s)
		s.keep()
	}
	for _, i := range s.left {
		why, was := s.refused[i]
		switch {
		case s.down[i] || s.err != nil:
			s.out[i], s.down[i] = pending, false
		case !was:
			s.out[i] = filtered // it is for no branch
		case s.once:
			s.out[i] = refused
			s.write.refused = append(s.write.refused, refusal{i, &s.batch[i], why})
		default:
			r.refuseOne(ctx, s, i, &why)
		}
	}
	left := s.left[:0]
	for _, i := range s.left {
		if s.out[i] == pending {
			left = append(left, i)
		}
	}
	s.left = left
	if s.why == nil {
		s.why = errNobody
	}
}

// refuseOne does with a message what is configured.
func (r *run) refuseOne(ctx context.Context, s *seeker, i int, why *failure) {
	n, out, err := s.node.refuse(ctx, 1, []refusal{{message: &s.batch[i], failure: *why}})
	if s.err = err; n == 1 {
		s.out[i] = out
	} else {
		s.out[i] = pending
	}
	*why = failure{}
}

// finish notes the outcomes up to the first message that is left.
func (s *seeker) finish() {
	s.done = len(s.batch)
	for i, out := range s.out {
		if out == pending {
			s.done = i
			return
		}
		if out != delivered {
			s.set(i, out)
		}
	}
}

// awaitBranch waits until an output was opened, or it is time to look again. It is an error if none
// can be, ever.
func (r *run) awaitBranch(ctx context.Context, s *seeker, changed <-chan struct{}) {
	if hopeless := s.node.hopeless(); hopeless != nil {
		s.err = hopeless
		return
	}
	again := time.NewTimer(backoffMost)
	defer again.Stop()
	select {
	case <-changed:
	case <-again.C:
	case <-ctx.Done():
		s.err = context.Cause(ctx)
	}
}

// hopeless returns why no output of the branch can be opened, if that is permanent for all.
func (n *node) hopeless() error {
	var errs []error
	for _, o := range n.below(nil) {
		tried, open, err := o.attempted()
		if !tried || open || !IsPermanent(err) {
			return nil
		}
		errs = append(errs, err)
	}
	return joinOnce(errs...)
}

// try writes to one branch what is left and meant for it.
func (r *run) try(ctx context.Context, c *node, s *seeker) {
	b, mine := make(Batch, 0, len(s.left)), make([]int, 0, len(s.left))
	for _, i := range s.left {
		yes := true
		if c.when != nil {
			var err error
			if yes, err = c.when.Match(&s.batch[i]); err != nil {
				var why failure
				why.note(fmt.Errorf("when: %w", err))
				s.refused[i] = why
				continue
			}
		}
		if yes {
			b, mine = append(b, s.batch[i]), append(mine, i)
		}
	}
	if len(b) == 0 {
		return
	}
	f := &flight{once: true, outcomes: make([]outcome, len(b))}
	c.mu.Lock()
	f.number = r.branchCalls.Add(1)
	err := (&router{r, ctx, f}).through(c, 0, b, nil)
	c.mu.Unlock()
	if err != nil {
		s.err = err // of a step, which no other branch makes good
		return
	}
	if err = r.deliver(ctx, f); err != nil {
		s.why = err
	}
	if failed, ok := errors.AsType[stepError](err); ok {
		s.err = failed
	}
	for i := range f.parts {
		s.tried = s.tried || f.parts[i].write.tried
	}
	for k, i := range mine {
		s.out[i] = f.outcomes[k]
		s.down[i] = s.down[i] || f.outcomes[k] == pending
	}
	for _, bad := range f.refused {
		s.refused[mine[bad.index]] = bad.failure
	}
}
