package bridge

import (
	"context"
	"fmt"
	"slices"
)

// router sends the messages of one flight through the tree, to where they leave it. It is used in
// turn.
type router struct {
	*run
	ctx context.Context //nolint:containedctx // one value for each flight
	f   *flight
}

// route sends messages through a branch. units say which messages of the flight they are; nil: all,
// in order.
func (r *router) route(n *node, b Batch, units []int32) error {
	if n.when != nil {
		b, units = r.match(n, b, units)
	}
	return r.through(n, 0, b, units)
}

// through sends messages through the stages of a branch from the i-th on, and further.
func (r *router) through(n *node, i int, b Batch, units []int32) (err error) {
	for ; i < len(n.stages); i++ {
		if len(b) == 0 && !r.f.last {
			return nil
		}
		if b, units, err = r.step(n, n.stages[i], b, units); err != nil {
			return err
		}
	}
	switch {
	case len(b) == 0 && (n.ends() || !r.f.last):
		return nil
	case n.ends():
		r.leave(n, b, units)
		return nil
	}
	switch n.mode {
	case ModeAll:
		for _, c := range n.children {
			mine := b
			if len(n.children) > 1 && c.changes() {
				mine = slices.Clone(b) // steps work in place
			}
			if err := r.route(c, mine, units); err != nil {
				return err
			}
		}
		return nil
	case ModeRoute, ModeShare:
		return r.split(n, b, units)
	case ModeAny:
	}
	return nil
}

// start sends the messages of the flight through the root's steps from the i-th on, which decide
// what the messages of the flight are, and into the tree.
func (r *router) start(from int, b Batch, byTime bool) (err error) {
	f, root := r.f, r.root
	for i := from; i < len(root.stages); i++ {
		if len(b) == 0 && !f.last && (!byTime || i > from) {
			return nil
		}
		if b, err = r.rootStep(root.stages[i], b); err != nil {
			return err
		}
	}
	r.identity.fill(b)
	if !r.simple {
		f.outcomes = make([]outcome, len(b))
	}
	return r.through(root, len(root.stages), b, nil)
}

// rootStep sends messages through a step that stands in front of the tree.
func (r *router) rootStep(s *stage, b Batch) (Batch, error) {
	n := len(b)
	if err := s.process(r.ctx, r.f.number, b, r.f.last); err != nil {
		return nil, err
	}
	o, d, c := &s.out, r.f.debt, &r.counters
	d.count(c, &c.filtered, o.dropped)
	d.held += o.held
	r.holding = r.holding || o.held > 0
	if o.made > 0 {
		d.add(c, o.made)
	}
	if len(o.refused) == 0 {
		s.pass(n)
	} else {
		r.refuseAtRoot(s.place, n, o.refusals())
	}
	return o.out, nil
}

// refuseAtRoot deals with messages that were refused before they came to the tree.
func (r *router) refuseAtRoot(p *place, n int, bad []refusal) {
	done, out, err := p.refuse(r.ctx, n, bad)
	var t tally
	t[out] = done
	r.f.debt.countAll(&r.counters, t)
	r.f.err = joinOnce(r.f.err, err)
}

// refuseAtSource deals with the messages of a batch that the source refused, and returns the
// others.
func (r *router) refuseAtSource(p *place, b Batch, said Refusals) (Batch, error) {
	if broken := said.check(len(b)); broken != nil {
		return nil, Permanent(fmt.Errorf("%s: %w: the connector is broken", p, broken))
	}
	bad := refusals(slices.Clone(b), said)
	kept, next := b[:0], 0
	for i := range b {
		if next < len(said) && said[next].Index == i {
			next++
			continue
		}
		kept = append(kept, b[i])
	}
	r.refuseAtRoot(p, len(b), bad)
	return kept, nil
}

// callOne calls a step in a branch by time.
func (r *router) callOne(s *stage) error {
	b, units, err := r.step(s.node, s, nil, nil)
	if err != nil {
		return err
	}
	return r.through(s.node, s.index+1, b, units)
}

// step sends messages through a stage in a branch.
func (r *router) step(n *node, s *stage, b Batch, units []int32) (Batch, []int32, error) {
	f := r.f
	s.out.keep = true
	if err := s.process(r.ctx, f.number, b, f.last); err != nil {
		return nil, nil, err
	}
	o := &s.out
	if n.alone && (o.held > 0 || slices.Contains(o.origin, -1)) {
		return nil, nil, stepError{Permanent(fmt.Errorf(
			"%s: it holds messages, which it cannot do in a branch of any: put it in front of that", s))}
	}
	if len(o.refused) == 0 {
		s.pass(len(b))
	}
	if len(o.refused) > 0 {
		r.refuse(s.place, len(b), o.refusals(), units)
	}
	for _, i := range o.heldAt {
		f.set(unit(units, int(i)), held)
	}
	if o.held > 0 {
		r.holding = true
	}
	to := make([]int32, len(o.out))
	for k, from := range o.origin {
		switch {
		case from >= 0:
			to[k] = unit(units, int(from))
		case n.alone:
			to[k] = unit(units, int(-2-from))
		default:
			to[k] = f.made()
		}
	}
	if o.made > 0 && !n.alone {
		f.debt.add(&r.counters, o.made)
	}
	if o.made > 0 {
		r.identity.fill(o.out)
	}
	return o.out, to, nil
}

// unit returns the message of the flight that message i is.
func unit(units []int32, i int) int32 {
	if units == nil {
		return int32(i)
	}
	return units[i]
}

// refuse deals with messages refused on the way. What stops the pipeline is an error of the flight,
// and does not keep the other messages of it from being delivered.
func (r *router) refuse(p *place, n int, bad []refusal, units []int32) {
	if r.f.once { // there is another branch
		for _, b := range bad {
			r.f.set(unit(units, b.index), refused)
			copied := *b.message
			r.f.refused = append(r.f.refused, refusal{int(unit(units, b.index)), &copied, b.failure})
		}
		return
	}
	done, out, err := p.refuse(r.ctx, n, bad)
	for _, b := range bad[:done] {
		r.f.set(unit(units, b.index), out)
	}
	for _, b := range bad[done:] {
		r.f.set(unit(units, b.index), pending)
	}
	r.f.err = joinOnce(r.f.err, err)
}

// match keeps the messages that enter the branch.
func (r *router) match(n *node, b Batch, units []int32) (Batch, []int32) {
	var bad []refusal
	kept, to, whole := b, units, true
	for i := range b {
		yes, err := n.when.Match(&b[i])
		if err != nil {
			bad = append(bad, refusal{index: i, message: &b[i]})
			bad[len(bad)-1].failure.note(fmt.Errorf("when: %w", err))
		}
		if yes && err == nil {
			if !whole {
				kept, to = append(kept, b[i]), append(to, unit(units, i))
			}
			continue
		}
		if whole {
			whole = false
			kept, to = append(make(Batch, 0, len(b)-1), b[:i]...), make([]int32, 0, len(b)-1)
			for k := range i {
				to = append(to, unit(units, k))
			}
		}
	}
	if len(bad) > 0 {
		r.refuse(n.gate, len(b), bad, units)
	}
	return kept, to
}
