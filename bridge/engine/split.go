package engine

import (
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// nowhere is the choice of a message that is for nobody.
const nowhere = -1

// divide gives each message to one of n, or to nobody, as choose says, and refuses what it cannot.
func (r *router) divide(p *place, b bridge.Batch, units []int32, n int, choose func(int) (int, error)) (
	[]bridge.Batch, [][]int32,
) {
	var bad []refusal
	choice, counts := make([]int16, len(b)), make([]int, n)
	for i := range b {
		k, err := choose(i)
		if err != nil {
			k, bad = nowhere, append(bad, refusedFor(i, &b[i], err))
		}
		if choice[i] = int16(k); k != nowhere {
			counts[k]++
		}
	}
	if len(bad) > 0 {
		r.refuse(p, len(b), bad, units)
	}
	parts, of := make([]bridge.Batch, n), make([][]int32, n)
	for k, count := range counts {
		if count == len(b) {
			parts[k], of[k] = b, units
			return parts, of
		}
		parts[k], of[k] = make(bridge.Batch, 0, count), make([]int32, 0, count)
	}
	for i, k := range choice {
		if k != nowhere {
			parts[k], of[k] = append(parts[k], b[i]), append(of[k], unit(units, i))
		}
	}
	return parts, of
}

// match keeps the messages that enter a branch.
func (r *router) match(n *node, b bridge.Batch, units []int32) (bridge.Batch, []int32) {
	parts, of := r.divide(n.gate, b, units, 1, func(i int) (int, error) { return n.first(&b[i], n) })
	return parts[0], of[0]
}

// split gives each message to one of the children.
func (r *router) split(n *node, b bridge.Batch, units []int32) ([]bridge.Batch, [][]int32) {
	choose := func(i int) (int, error) { return n.first(&b[i], n.children...) }
	if n.mode == ModeShare {
		choose = func(i int) (int, error) { return hash("by", n.by, &b[i], len(n.children)) }
	}
	if n.mode == ModeShare && n.by == nil {
		first, size := n.turn, (len(b)+len(n.children)-1)/len(n.children) // neighbours stay together
		choose = func(i int) (int, error) {
			k := (first + i/size) % len(n.children)
			n.turn = k + 1
			return k, nil
		}
	}
	return r.divide(n.place, b, units, len(n.children), choose)
}

// first returns the first of several branches that m enters.
func (n *node) first(m *bridge.Message, of ...*node) (int, error) {
	for k, c := range of {
		if c.when == nil {
			return k, nil
		}
		yes, err := c.when.Match(m)
		if err != nil {
			return nowhere, fmt.Errorf("when: %w", err)
		}
		if yes {
			return k, nil
		}
	}
	return nowhere, nil
}

// hash returns a number below n that is the same for the same key.
func hash(name string, key bridge.Template, m *bridge.Message, below int) (int, error) {
	text, err := key.Render(m)
	if err != nil {
		return nowhere, fmt.Errorf("%s: %w", name, err)
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(text) {
		h = (h ^ uint32(text[i])) * 16777619
	}
	return int(h % uint32(below)), nil
}
