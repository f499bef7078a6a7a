package engine

import (
	"cmp"
	"context"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// builder makes the tree of a run out of the branches of its pipeline.
type builder struct {
	*run
	flights int // at once
	dead    map[*bridge.OnError]*output
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
		root = &node{place: to.place, mode: ModeAll, children: []*node{to}}
	}
	b.addStages(root, p.Steps, p.Name, &p.OnError, &b.stages)
	return root
}

// branch makes a node. Name is what Env.Instance of its sink is, on and limit are what is said
// around it.
func (b *builder) branch(name string, from *Branch, on *bridge.OnError, limit int, top, alone bool) *node {
	if from.OnError != nil {
		on = from.OnError
	}
	limit = cmp.Or(max(0, from.MaxInFlight), limit)
	n := &node{mu: newMutex(), when: from.When, by: from.By, order: b.OrderBy, lanes: []*queue{nil}}
	if len(from.Branches) == 0 {
		n.output = b.output("sink", name, from.Sink, cmp.Or(from.Sink.OnError, on), limit)
		if alone {
			b.identity.needed.Store(true) // it may be opened too late to say so
			n.output.spare = true
			n.output.share = &queue{most: limit}
		}
		n.place = n.output.place
	} else {
		n.place = b.place("sink", from.Mode.String(), from.instance(name), on)
		if n.mode = from.Mode; n.mode == ModeAny {
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

func (b *builder) addStages(n *node, steps []bridge.Endpoint[bridge.Step], name string, on *bridge.OnError, to *[]*stage) {
	for i, e := range steps {
		s := &stage{node: n, index: len(n.stages), endpoint: e}
		s.place = b.place("step", e.Type, instanceName(name+"-"+stepPlace, i), cmp.Or(e.OnError, on))
		s.runner.Tag = "~" + strings.TrimPrefix(s.env.Instance, b.Name+"-") + "."
		n.stages = append(n.stages, s)
		*to = append(*to, s)
	}
}

func (b *builder) output(kind, name string, e bridge.Endpoint[bridge.Sink], on *bridge.OnError, writers int) *output {
	o := &output{
		place: b.place(kind, e.Type, name, on), endpoint: e, end: b.memory().end(name), share: newQueue(writers),
		backoff: b.backoff(on.FirstWait, on.LongestWait),
		changed: &b.opened, lost: make(chan struct{}, 1), err: errNotOpen,
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	b.outputs = append(b.outputs, o)
	return o
}

// place returns where messages may be refused.
func (b *builder) place(kind, typ, instance string, on *bridge.OnError) *place {
	if on == nil {
		on = &b.OnError
	}
	p := &place{mu: newMutex(), kind: kind, typ: typ, env: b.env, onError: on, identity: b.identity}
	p.env.Instance, p.env.Tries = instance, on.Tries
	p.env.Logger = b.env.Logger.With("connector", typ, "dir", strings.TrimPrefix(instance, b.Name+"-"))
	b.places = append(b.places, p)
	if on.Then == bridge.FateDeadLetter {
		p.dead = b.deadLetters(instance, on)
	}
	return p
}

// deadLetters returns the output for what is refused under on. What it cannot take stops the
// pipeline.
func (b *builder) deadLetters(instance string, on *bridge.OnError) *output {
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
	o := b.output("sink", name, letters, &bridge.OnError{FirstWait: on.FirstWait, LongestWait: on.LongestWait}, 1)
	o.share = &queue{most: 1} // several may refuse at once
	if b.dead == nil {
		b.dead = make(map[*bridge.OnError]*output)
	}
	b.dead[on] = o
	return o
}
