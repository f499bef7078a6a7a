package bridge

import (
	"iter"
	"strconv"
)

// Branch is an entry of the tree that a pipeline delivers to: one sink, or several branches.
type Branch struct {
	// Sink is where the branch ends. Its Open is nil if Branches are given.
	Sink Endpoint[Sink]

	// Mode says which of Branches get a message.
	Mode     Mode
	Branches []Branch

	// When, if not nil, says which messages enter the branch. What enters no branch counts as
	// filtered.
	When Condition

	// Steps are what the messages of this branch go through.
	Steps []Endpoint[Step]

	// OnError says what becomes of messages that are refused in the branch; nil: what is said
	// around it.
	OnError *OnError

	// MaxInFlight is how many batches are written at once to each sink in it; 0: as around it.
	MaxInFlight int

	// By, in ModeShare, gives the key whose messages all go to the same branch, which keeps their
	// order.
	By Template
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
func To(sink Endpoint[Sink]) Branch { return Branch{Sink: sink} }

// All returns the branch that delivers to all of the sinks.
func All(sinks ...Endpoint[Sink]) Branch {
	b := Branch{Mode: ModeAll}
	for _, s := range sinks {
		b.Branches = append(b.Branches, To(s))
	}
	return b
}

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

// Places returns where messages may be refused behind the sources, which is at steps, conditions
// and sinks: the Env.Instance of each, and its OnError.
func (p *Pipeline) Places() iter.Seq2[string, **OnError] {
	return func(yield func(string, **OnError) bool) {
		for i := range p.Steps {
			if !yield(instanceName(p.Name+"-"+stepPlace, i), &p.Steps[i].OnError) {
				return
			}
		}
		for name, b := range p.branches() {
			if !yield(name, &b.OnError) {
				return
			}
			for i := range b.Steps {
				if !yield(instanceName(name+"-"+stepPlace, i), &b.Steps[i].OnError) {
					return
				}
			}
		}
	}
}

// Rest returns what a message has before it that was refused at an instance, as a dead letter names
// it: from the step that refused it, or of the branch whose condition, key or sink did. ok is false
// if there is no such instance.
func (p *Pipeline) Rest(instance string) (steps []Endpoint[Step], to Branch, ok bool) {
	if instance == p.BufferInstance() {
		return p.Steps, p.To, true
	}
	for i := range p.From {
		if instance == instanceName(p.Name+"-"+fromPlace, i) {
			return p.Steps, p.To, true
		}
	}
	for i := range p.Steps {
		if instance == instanceName(p.Name+"-"+stepPlace, i) {
			return p.Steps[i:], p.To, true
		}
	}
	for name, b := range p.branches() {
		to = *b
		switch instance {
		case name + "-" + whenPlace:
			return nil, to, true
		case name:
			to.When, to.Steps = nil, nil // they are behind it
			return nil, to, true
		}
		for i := range b.Steps {
			if instance == instanceName(name+"-"+stepPlace, i) {
				to.When, to.Steps = nil, b.Steps[i:]
				return nil, to, true
			}
		}
	}
	return nil, Branch{}, false
}
