package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// router sends the messages of one flight through the tree, to where they leave it. It is used in
// turn.
//
// Beside a batch there is always which messages of the flight its messages are: units, or nil if
// they are the first ones in order.
type router struct {
	*run
	ctx context.Context //nolint:containedctx // one value for each flight
	f   *flight
}

// unit returns the message of the flight that message i is.
func unit(units []int32, i int) int32 {
	if units == nil {
		return int32(i)
	}
	return units[i]
}

// through sends messages through the stages of a branch from the i-th on, and further.
func (r *router) through(n *node, i int, b bridge.Batch, units []int32) (err error) {
	for ; i < len(n.stages); i++ {
		if len(b) == 0 && !r.f.last {
			return nil
		}
		if b, units, err = r.step(n.stages[i], b, units, r.f.last); err != nil {
			return err
		}
	}
	if n == r.root {
		r.identity.fill(b)
	}
	if len(b) == 0 && (n.ends() || !r.f.last) {
		return nil
	}
	if n.ends() {
		r.leave(n, b, units)
		return nil
	}
	var parts []bridge.Batch
	var of [][]int32
	if n.mode != ModeAll {
		parts, of = r.split(n, b, units)
	}
	for k, c := range n.children {
		mine, its := b, units
		if parts != nil {
			mine, its = parts[k], of[k]
		} else {
			if len(n.children) > 1 && c.changes() {
				mine = slices.Clone(b) // steps work in place
			}
			if c.when != nil {
				mine, its = r.match(c, mine, its)
			}
		}
		if err := r.through(c, 0, mine, its); err != nil {
			return err
		}
	}
	return nil
}

// step sends messages through a stage: each in a call of its own while the next failure is to be
// that of one, and so are those at which the step has failed as often as it may refused.
func (r *router) step(s *stage, b bridge.Batch, units []int32, last bool) (on bridge.Batch, of []int32, _ error) {
	if len(b) == 0 || !r.suspects.wary(r.Clock) {
		return r.call(s, b, units, last)
	}
	failed, tries := &r.suspects.failed, s.onError.Tries
	for i, m := range b {
		one, who, f := []int32{unit(units, i)}, s.suspect(&m), new(failure)
		if known, ok := failed.Load(who); ok {
			f = known.(*failure)
		}
		if tries > 0 && f.attempts >= tries {
			r.refuse(s.place, 1, []refusal{{0, &m, *f}}, one)
			continue
		}
		some, its, err := r.call(s, bridge.Batch{m}, one, false)
		if err != nil {
			switch {
			case r.ctx.Err() != nil || bridge.IsPermanent(err):
			case s.failsAlone(r.ctx, r.f.number, m):
				f.note(err)
				failed.Store(who, f)
				err = stepError{f.named(&m, tries), s}
			default:
				err = stepError{fmt.Errorf("with %s and what it held before: %w", s.identity.about(&m), err), s}
			}
			return nil, nil, err
		}
		failed.Delete(who)
		on, of = append(on, some...), append(of, its[:len(some)]...) // which may be more
	}
	if !last {
		return on, of, nil
	}
	rest, its, err := r.call(s, nil, nil, true)
	return append(on, rest...), append(of, its...), err
}

// call makes one call of a step.
func (r *router) call(s *stage, b bridge.Batch, units []int32, last bool) (bridge.Batch, []int32, error) {
	f := r.f
	said, err := s.process(r.ctx, f.number, b, last)
	if err != nil {
		return nil, nil, err
	}
	if f.once && (len(said.Held) > 0 || said.LetsGo()) {
		return nil, nil, stepError{bridge.Permanent(fmt.Errorf(
			"%s: it holds messages, which it cannot do in a branch of any: put it in front of that", s)), s}
	}
	if len(said.Refused) == 0 {
		s.pass(len(b))
	} else {
		r.refuse(s.place, len(b), refusals(b, said.Refused), units)
	}
	for _, i := range said.Held {
		f.set(unit(units, i), held)
		f.kept = min(f.kept, int(unit(units, i)))
		r.holding = true
	}
	if len(said.Origins) == 0 {
		return said.Messages, units, nil
	}
	made, to := 0, make([]int32, len(said.Messages))
	for k, from := range said.Origins {
		if from.More {
			made++
		}
		if from.More && !f.once {
			to[k] = f.another()
		} else {
			to[k] = unit(units, int(from.Index))
		}
	}
	if made > 0 {
		r.identity.fill(said.Messages)
		if !f.once {
			f.made += made
			r.counters.make(made)
		}
	}
	return said.Messages, to, nil
}

// refuse deals with messages refused on the way. What stops the pipeline is an error of the flight,
// and does not keep the other messages of it from being delivered.
func (r *router) refuse(p *place, n int, bad []refusal, units []int32) {
	done, out, err := len(bad), refused, error(nil)
	if r.f.once { // there is another branch
		for _, b := range bad {
			b.index = int(unit(units, b.index))
			r.f.refused = append(r.f.refused, b)
		}
	} else {
		done, out, err = p.refuse(r.ctx, n, bad)
	}
	for k, b := range bad {
		if k == done {
			out = pending
		}
		r.f.set(unit(units, b.index), out)
	}
	r.f.err = joinOnce(r.f.err, err)
}

// refuseAtSource deals with the messages of a batch that the source refused, and returns the
// others.
func (r *router) refuseAtSource(p *place, b bridge.Batch, said bridge.Refusals) (bridge.Batch, []int32, error) {
	if broken := checkRefusals(said, len(b)); broken != nil {
		return nil, nil, bridge.Permanent(fmt.Errorf("%s: %w: the connector is broken", p, broken))
	}
	r.refuse(p, len(b), refusals(b, said), nil)
	kept, units := make(bridge.Batch, 0, len(b)), make([]int32, 0, len(b))
	for i := range b {
		if len(said) > 0 && said[0].Index == i {
			said = said[1:]
			continue
		}
		kept, units = append(kept, b[i]), append(units, int32(i))
	}
	return kept, units, nil
}

// leave notes that messages leave the tree at n.
func (r *router) leave(n *node, b bridge.Batch, units []int32) {
	if len(n.lanes) == 1 {
		r.f.add(n, b, units, n.lanes[0])
		return
	}
	parts, of := r.divide(n.place, b, units, len(n.lanes), func(i int) (int, error) {
		return hash("order_by", n.order, &b[i], len(n.lanes))
	})
	for k := range parts {
		if len(parts[k]) > 0 {
			r.f.add(n, parts[k], of[k], n.lanes[k])
		}
	}
}
