package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var errNobody = errors.New("no branch takes it")

// seeker is a batch that looks for branches of ModeAny.
type seeker struct {
	*write
	node    *node
	out     []outcome       // of each message; of one that is left the worst that a branch has said of it in this round
	refused map[int]failure // why the last branch that refused the message did
	left    []int           // messages that are to be tried
	tried   bool            // a sink that was open was asked
	why     error           // a branch did not take all
}

// writeAny writes to the first branch that takes a message, then what is left to the next one, and
// begins again at the first for the next batch. A message that nobody takes is blamed as in
// [output.write]: if it was tried alone.
func (r *run) writeAny(ctx context.Context, n *node, w *write) {
	s := &seeker{write: w, node: n, out: make([]outcome, len(w.batch)), left: make([]int, len(w.batch))}
	for i := range s.left {
		s.left[i] = i
	}
	var failed failure // of the first of left
	few := 0           // how many to try at most, after a failure; 0: any number
	for len(s.left) > 0 && w.err == nil {
		changed, rest := r.opened.wait(), []int(nil)
		if few > 0 && few < len(s.left) {
			s.left, rest = s.left[:few:few], s.left[few:]
		}
		t := n.share.take(few > 0)
		if !n.share.enter(ctx, t) {
			w.err = context.Cause(ctx)
			s.left = append(s.left, rest...)
			break
		}
		alone, at := len(s.left) == 1 && !n.share.shares(t), s.left[0]
		r.round(ctx, s)
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
				if n.exhausted(ctx, &w.batch[at], &failed) {
					r.refuseOne(ctx, s, at, &failed)
					s.left = s.left[1:]
					continue
				}
			}
			r.awaitBranch(ctx, s, changed)
		}
	}
	s.finish()
}

// round tries one branch after the other, and deals with what all have refused.
func (r *run) round(ctx context.Context, s *seeker) {
	s.tried, s.why = false, nil
	for _, i := range s.left {
		s.out[i] = filtered // if it is for no branch
	}
	for _, c := range s.node.children {
		if len(s.left) > 0 && s.err == nil {
			r.try(ctx, c, s)
		}
	}
	s.left = slices.DeleteFunc(s.left, func(i int) bool {
		why := s.refused[i]
		switch {
		case s.err != nil:
			s.out[i] = pending
		case s.out[i] == refused && s.once:
			s.write.refused = append(s.write.refused, refusal{i, &s.batch[i], why})
		case s.out[i] == refused:
			r.refuseOne(ctx, s, i, &why)
		}
		return s.out[i] != pending
	})
	if s.why == nil {
		s.why = errNobody
	}
}

// try writes to one branch what is left and meant for it.
func (r *run) try(ctx context.Context, c *node, s *seeker) {
	b, mine := s.batch, s.left
	if c.when != nil || len(mine) < len(b) || c.changes() {
		b, mine = make(bridge.Batch, 0, len(mine)), make([]int, 0, len(mine))
		for _, i := range s.left {
			k, err := c.first(&s.batch[i], c)
			if err != nil {
				s.refuse(i, refusedFor(i, &s.batch[i], err).failure)
			} else if k != nowhere {
				b, mine = append(b, s.batch[i]), append(mine, i)
			}
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
	for _, bad := range f.refused {
		s.refuse(mine[bad.index], bad.failure)
	}
	k, left := 0, s.left[:0]
	for _, i := range s.left {
		if k < len(mine) && mine[k] == i {
			out := f.outcomes[k]
			if k++; out < refused {
				s.out[i] = out
				continue
			}
			s.out[i] = max(s.out[i], out)
		}
		left = append(left, i)
	}
	s.left = left
}

// refuse notes that a branch refused a message.
func (s *seeker) refuse(i int, why failure) {
	if s.refused == nil {
		s.refused = make(map[int]failure)
	}
	s.refused[i] = why
	s.out[i] = max(s.out[i], refused)
}

// refuseOne does with a message what is configured.
func (r *run) refuseOne(ctx context.Context, s *seeker, i int, why *failure) {
	n, out, err := s.node.refuse(ctx, 1, []refusal{{message: &s.batch[i], failure: *why}})
	if s.err = err; n == 0 {
		out = pending
	}
	s.out[i] = out
	*why = failure{}
}

// finish notes the outcomes up to the first message that is left.
func (s *seeker) finish() {
	for _, i := range s.left {
		s.out[i] = pending
	}
	for i, out := range s.out {
		if out == pending {
			return
		}
		if s.done = i + 1; out != delivered {
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
	again := r.Clock.NewTimer(backoffMost)
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
		tried, err := o.attempted()
		if !tried || !bridge.IsPermanent(err) {
			return nil
		}
		errs = append(errs, err)
	}
	return joinOnce(errs...)
}
