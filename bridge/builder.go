package bridge

import (
	"cmp"
	"strings"
)

// builder makes the tree of a run out of the branches of its pipeline.
type builder struct {
	*run
	flights int // at once
	dead    map[*OnError]*output
}

// build makes the root, which has the steps of the pipeline.
func (b *builder) build() *node {
	p := b.Pipeline
	limit := max(1, p.MaxInFlight)
	b.flights = limit
	for _, branch := range p.branches() {
		b.flights = max(b.flights, branch.MaxInFlight)
	}
	to := b.branch(p.Name+"-"+cmp.Or(p.sinks, sinkPlace), &p.To, &p.OnError, limit, true, false)
	root := to
	if to.when != nil || len(to.stages) > 0 {
		root = &node{place: to.place, end: to.end, mode: ModeAll, children: []*node{to}}
	}
	b.addStages(root, p.Steps, p.Name, &p.OnError, &b.stages)
	b.simple = root.ends() && len(root.lanes) <= 1
	return root
}

// branch makes a node. Name is what Env.Instance of its sink is, on and limit are what is said
// around it.
func (b *builder) branch(name string, from *Branch, on *OnError, limit int, top, alone bool) *node {
	if from.OnError != nil {
		on = from.OnError
	}
	limit = cmp.Or(max(0, from.MaxInFlight), limit)
	n := &node{mu: newMutex(), mode: from.Mode, when: from.When, by: from.By, order: b.OrderBy, alone: alone}
	if len(from.Branches) == 0 {
		n.output = b.output("sink", name, from.Sink, cmp.Or(from.Sink.OnError, on), limit)
		n.end = n.output.end
		if alone {
			b.identity.need() // it may be opened too late to say so
			n.output.opening = newReopening()
			n.output.share = &queue{most: limit}
		}
		n.place = n.output.place
		b.outputs = append(b.outputs, n.output)
	} else {
		n.place = b.place("sink", from.Mode.String(), from.instance(name), on)
		n.end = new(end)
		if n.mode == ModeAny {
			n.end = b.states().end(n.env.Instance, n.typ)
			n.share = newQueue(max(limit, b.flights))
		}
	}
	if n.when != nil {
		n.gate = b.place("step", whenPlace, n.env.Instance+"-"+whenPlace, on)
	}
	stages := &b.stages
	if alone {
		stages = &b.asides
	}
	b.addStages(n, from.Steps, n.env.Instance, on, stages)
	if n.ends() && !alone && b.flights > 1 {
		n.lanes = makeLanes(limit, b.OrderBy != nil)
	}
	for i := range from.Branches {
		child := &from.Branches[i]
		n.children = append(n.children,
			b.branch(inner(name, i, top, child), child, on, limit, false, alone || from.Mode == ModeAny))
	}
	return n
}

func makeLanes(limit int, keyed bool) []*queue {
	if !keyed || limit == 1 {
		return []*queue{{most: limit}}
	}
	lanes := make([]*queue, limit)
	for i := range lanes {
		lanes[i] = &queue{most: 1}
	}
	return lanes
}

func (b *builder) addStages(n *node, steps []Endpoint[Step], name string, on *OnError, to *[]*stage) {
	for i, e := range steps {
		s := &stage{node: n, index: len(n.stages), endpoint: e}
		s.place = b.place("step", e.Type, instanceName(name+"-"+stepPlace, i), cmp.Or(e.OnError, on))
		s.tag = "~" + strings.TrimPrefix(s.env.Instance, b.Name+"-") + "."
		n.stages = append(n.stages, s)
		*to = append(*to, s)
	}
}

func (b *builder) output(kind, name string, e Endpoint[Sink], on *OnError, writers int) *output {
	o := &output{
		place: b.place(kind, e.Type, name, on), mu: newMutex(), endpoint: e, end: b.states().end(name, e.Type),
		backoff: backoff{first: on.FirstWait, most: on.LongestWait, jitter: b.Jitter},
	}
	o.share = newQueue(writers)
	return o
}

// place returns where messages may be refused.
func (b *builder) place(kind, typ, instance string, on *OnError) *place {
	if on == nil {
		on = &b.OnError
	}
	p := &place{mu: newMutex(), kind: kind, typ: typ, env: b.env, onError: on, identity: b.identity}
	p.env.Instance = instance
	p.env.Logger = b.env.Logger.With("connector", typ, "dir", strings.TrimPrefix(instance, b.Name+"-"))
	b.places = append(b.places, p)
	if on.Then == FateDeadLetter {
		p.dead = b.deadLetters(instance, on)
	}
	return p
}

// deadLetters returns the output for what is refused under on. What it cannot take stops the
// pipeline.
func (b *builder) deadLetters(instance string, on *OnError) *output {
	if o := b.dead[on]; o != nil {
		return o
	}
	name := instance + "-" + deadPlace
	if on == &b.OnError {
		name = b.Name + strings.TrimSuffix("-"+b.sinks, "-") + "-" + deadPlace
	}
	letters := on.DeadLetter
	if letters.Open == nil && b.State != nil {
		letters = b.State.DeadLetters(b.Name)
	}
	o := b.output("sink", name, letters, &OnError{FirstWait: on.FirstWait, LongestWait: on.LongestWait}, 1)
	o.share = &queue{most: 1} // several may refuse at once
	if b.dead == nil {
		b.dead = make(map[*OnError]*output)
	}
	b.dead[on] = o
	b.deads = append(b.deads, o)
	return o
}
