package engine

import (
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// node is a branch of a running pipeline.
type node struct {
	*place          // of its keys and its sink
	gate     *place // of its condition
	mode     Mode
	when     bridge.Condition
	by       bridge.Template // of ModeShare
	order    bridge.Template // the key that keeps its order though there are several lanes
	stages   []*stage
	children []*node
	output   *output // where it ends, if there are no children

	share *queue   // of ModeAny: who is alone
	lanes []*queue // in which its sink, or those of ModeAny, are written to; a nil one is for who is alone anyway
	turn  int      // of ModeShare without a key
	mu    mutex    // of a child of ModeAny: orders the batches through it
}

// ends reports whether messages leave the tree here, as far as a flight is concerned.
func (n *node) ends() bool { return len(n.children) == 0 || n.mode == ModeAny }

// freeUpTo returns up to which flight no step of the branch holds anything, of what it got in
// flights up to t.
func (n *node) freeUpTo(t uint64) uint64 {
	free := t
	if n.mode != ModeAny {
		for _, c := range n.children {
			free = min(free, c.freeUpTo(t))
		}
	}
	for _, s := range slices.Backward(n.stages) {
		free = s.freeUpTo(free)
	}
	return free
}

// below returns the outputs in the branch.
func (n *node) below(to []*output) []*output {
	if n.output != nil {
		return append(to, n.output)
	}
	for _, c := range n.children {
		to = c.below(to)
	}
	return to
}

// changes reports whether the branch may change a batch in place.
func (n *node) changes() bool {
	return len(n.stages) > 0 || slices.ContainsFunc(n.children, (*node).changes)
}
