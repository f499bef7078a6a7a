package bridge

import (
	"fmt"
	"slices"
)

// nowhere is the choice of a message that no branch wants, or that is refused.
const nowhere = 1<<16 - 1

// split gives each message to one of the children.
func (r *router) split(n *node, b Batch, units []int32) error {
	n.choice = slices.Grow(n.choice[:0], len(b))[:len(b)]
	counts := make([]int, len(n.children))
	bad := r.choose(n, b)
	if len(bad) > 0 {
		r.refuse(n.place, len(b), bad, units)
	}
	for _, c := range n.choice {
		if c != nowhere {
			counts[c]++
		}
	}
	parts, indices := make([]Batch, len(n.children)), make([][]int32, len(n.children))
	for k, count := range counts {
		switch count {
		case 0:
		case len(b):
			parts[k], indices[k] = b, units
		default:
			parts[k], indices[k] = make(Batch, 0, count), make([]int32, 0, count)
		}
	}
	for i, c := range n.choice {
		if c != nowhere && counts[c] < len(b) {
			parts[c] = append(parts[c], b[i])
			indices[c] = append(indices[c], unit(units, i))
		}
	}
	for k, c := range n.children {
		if len(parts[k]) == 0 && !r.f.last {
			continue
		}
		// Of a route the condition has been asked.
		if err := r.through(c, 0, parts[k], indices[k]); err != nil {
			return err
		}
	}
	return nil
}

// choose fills in n.choice, and returns the messages that cannot be given to anyone.
func (r *router) choose(n *node, b Batch) (bad []refusal) {
	if n.mode == ModeShare && n.by == nil {
		size := (len(b) + len(n.children) - 1) / len(n.children) // neighbours stay together
		for i := range b {
			n.choice[i] = uint16((n.turn + i/size) % len(n.children))
		}
		if len(b) > 0 {
			n.turn = (n.turn + (len(b)-1)/size + 1) % len(n.children)
		}
		return nil
	}
	for i := range b {
		c, err := n.chosen(&b[i])
		n.choice[i] = c
		if err != nil {
			bad = append(bad, refusal{index: i, message: &b[i]})
			bad[len(bad)-1].failure.note(err)
		}
	}
	return bad
}

func (n *node) chosen(m *Message) (uint16, error) {
	if n.mode == ModeShare {
		k, err := hash(n.by, m, len(n.children))
		if err != nil {
			return nowhere, fmt.Errorf("by: %w", err)
		}
		return uint16(k), nil
	}
	for k, c := range n.children {
		if c.when == nil {
			return uint16(k), nil
		}
		yes, err := c.when.Match(m)
		if err != nil {
			return nowhere, fmt.Errorf("when: %w", err)
		}
		if yes {
			return uint16(k), nil
		}
	}
	return nowhere, nil
}

// hash returns a number below n that is the same for the same key.
func hash(key Template, m *Message, below int) (int, error) {
	text, err := key.Render(m)
	if err != nil {
		return 0, err
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(text) {
		h = (h ^ uint32(text[i])) * 16777619
	}
	return int(h % uint32(below)), nil
}

// leave notes that messages leave the tree at n.
func (r *router) leave(n *node, b Batch, units []int32) {
	switch {
	case n.alone || n.lanes == nil:
		r.f.add(part{node: n, units: units}, b, nil)
		return
	case len(n.lanes) == 1:
		r.f.add(part{node: n, units: units}, b, n.lanes[0])
		return
	}
	parts, indices := make([]Batch, len(n.lanes)), make([][]int32, len(n.lanes))
	var bad []refusal
	for i := range b {
		k, err := hash(n.order, &b[i], len(n.lanes))
		if err != nil {
			bad = append(bad, refusal{index: i, message: &b[i]})
			bad[len(bad)-1].failure.note(fmt.Errorf("order_by: %w", err))
			continue
		}
		parts[k] = append(parts[k], b[i])
		indices[k] = append(indices[k], unit(units, i))
	}
	for k := range parts {
		if len(parts[k]) > 0 {
			r.f.add(part{node: n, units: indices[k]}, parts[k], n.lanes[k])
		}
	}
	if len(bad) > 0 {
		r.refuse(n.place, len(b), bad, units)
	}
}
