package engine

import (
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Branch is an entry of the tree that a pipeline delivers to: one sink, or several branches.
type Branch struct {
	// Sink is where the branch ends. Its Open is nil if Branches are given.
	Sink bridge.Endpoint[bridge.Sink]

	// Mode says which of Branches get a message.
	Mode     Mode
	Branches []Branch

	// When, if not nil, says which messages enter the branch. What enters no branch counts as
	// filtered.
	When bridge.Condition

	// Steps are what the messages of this branch go through.
	Steps []bridge.Endpoint[bridge.Step]

	// OnError says what becomes of messages that are refused in the branch; nil: what is said
	// around it.
	OnError *bridge.OnError

	// MaxInFlight is how many batches are written at once to each sink in it; 0: as around it.
	MaxInFlight int

	// By, in ModeShare, gives the key whose messages all go to the same branch, which keeps their
	// order.
	By bridge.Template
}

// Mode is how messages are given to several branches.
type Mode int

// The modes.
const (
	ModeAll   Mode = iota // to every one; a message is settled when all of them have settled it
	ModeRoute             // to the first whose When holds
	ModeAny               // to the first that takes it, and to the first again when that is well again
	ModeShare             // to one of them, in turn or by key
)

func (m Mode) String() string { return [...]string{"all", "route", "any", "share"}[m] }

// To returns the branch that ends in a sink.
func To(sink bridge.Endpoint[bridge.Sink]) Branch { return Branch{Sink: sink} }

// Places of instances in a pipeline.
const (
	fromPlace   = "from"
	stepPlace   = "step"
	sinkPlace   = "to"
	deadPlace   = "dead"
	whenPlace   = "when"
	bufferPlace = "buffer"
)

// instanceName names the i-th of what stands in one place. The first has the name of the place
// alone, so that nothing is called otherwise when another is added at the end.
func instanceName(place string, i int) string {
	if i == 0 {
		return place
	}
	return place + "-" + strconv.Itoa(i+1)
}

// inner returns the name of the i-th branch in one of that name. Those at the top are named like
// sources and steps, but for a first one that has others in it, which has that of the one around it
// otherwise.
func inner(name string, i int, top bool, b *Branch) string {
	if top && (i > 0 || len(b.Branches) == 0) {
		return instanceName(name, i)
	}
	return name + "_" + strconv.Itoa(i+1)
}

// Sources returns the sources with their Env.Instance.
func (p *Pipeline) Sources() iter.Seq2[string, *bridge.Endpoint[bridge.Source]] {
	return func(yield func(string, *bridge.Endpoint[bridge.Source]) bool) {
		for i := range p.From {
			if !yield(instanceName(p.Name+"-"+fromPlace, i), &p.From[i]) {
				return
			}
		}
	}
}

// Sinks returns the branches that end in a sink with their Env.Instance, in the order of the tree.
func (p *Pipeline) Sinks() iter.Seq2[string, *Branch] {
	return func(yield func(string, *Branch) bool) {
		for name, b := range p.branches() {
			if len(b.Branches) == 0 && !yield(name, b) {
				return
			}
		}
	}
}

// Walk calls step and sink for each of the pipeline in the order of the tree, with its Env.Instance
// and those of the ends whose messages it gets. One that is spare is in a branch of ModeAny, where
// another one may do.
func (p *Pipeline) Walk(
	step func(name string, after []string, e *bridge.Endpoint[bridge.Step]),
	sink func(name string, after []string, b *Branch, spare bool),
) {
	chain := func(name string, steps []bridge.Endpoint[bridge.Step], after []string) []string {
		for i := range steps {
			instance := instanceName(name+"-"+stepPlace, i)
			step(instance, after, &steps[i])
			after = []string{instance}
		}
		return after
	}
	var walk func(name string, b *Branch, top, spare bool, after []string)
	walk = func(name string, b *Branch, top, spare bool, after []string) {
		instance := b.instance(name)
		after = chain(instance, b.Steps, after)
		if len(b.Branches) == 0 {
			sink(instance, after, b, spare)
		}
		for i := range b.Branches {
			walk(inner(name, i, top, &b.Branches[i]), &b.Branches[i], false, spare || b.Mode == ModeAny, after)
		}
	}
	after := []string{p.BufferInstance()}
	if p.Buffer == nil {
		after = slices.Collect(maps.Keys(maps.Collect(p.Sources())))
		slices.Sort(after)
	}
	walk(p.Name+"-"+sinkPlace, &p.To, true, false, chain(p.Name, p.Steps, after))
}

// branches returns all branches with their names, outer ones first.
func (p *Pipeline) branches() iter.Seq2[string, *Branch] {
	return func(yield func(string, *Branch) bool) {
		var walk func(name string, b *Branch, top bool) bool
		walk = func(name string, b *Branch, top bool) bool {
			if !yield(b.instance(name), b) {
				return false
			}
			for i := range b.Branches {
				if !walk(inner(name, i, top, &b.Branches[i]), &b.Branches[i], false) {
					return false
				}
			}
			return true
		}
		walk(p.Name+"-"+sinkPlace, &p.To, true)
	}
}

// instance returns what the branch is called in dead letters, if its sink would have that name.
// Several branches have the mode in it, since the first of them may have that name.
func (b *Branch) instance(name string) string {
	if len(b.Branches) == 0 {
		return name
	}
	return name + "-" + b.Mode.String()
}

// Place is where a message may be refused.
type Place struct {
	Instance string           // as a dead letter names it
	OnError  **bridge.OnError // of a step or sink; nil: it has none of its own

	// What a message has before it that was refused there: from the step that refused it, or of the
	// branch whose condition, key or sink did.
	Steps []bridge.Endpoint[bridge.Step]
	To    Branch
}

// Places returns where messages may be refused, in the order of the tree. OnError points into the
// pipeline, and To is a copy.
func (p *Pipeline) Places() []Place {
	all := []Place{{p.BufferInstance(), nil, p.Steps, p.To}}
	for name := range p.Sources() {
		all = append(all, Place{name, nil, p.Steps, p.To})
	}
	for i := range p.Steps {
		all = append(all, Place{instanceName(p.Name+"-"+stepPlace, i), &p.Steps[i].OnError, p.Steps[i:], p.To})
	}
	for name, b := range p.branches() {
		behind := *b
		behind.When, behind.Steps = nil, nil
		all = append(all, Place{name + "-" + whenPlace, nil, nil, *b}, Place{name, &b.OnError, nil, behind})
		for i := range b.Steps {
			behind.Steps = b.Steps[i:]
			all = append(all, Place{instanceName(name+"-"+stepPlace, i), &b.Steps[i].OnError, nil, behind})
		}
	}
	return all
}
