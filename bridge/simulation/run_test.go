package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// mostStarts is how often a pipeline may fail before it is said never to come to its end: each
// fault that is planned makes it fail once.
const mostStarts = 150

// simulate runs a schedule in a bubble, and returns what went wrong, and a trace of what happened.
func (s *schedule) simulate() (faults []string, trace uint64) {
	w := newWorld(s)
	w.place()
	starts := 0
	for w.process = 0; ; w.process++ {
		p := w.pipeline()
		w.returned, w.nacked = 0, false
		from := make([]int, len(w.sources))
		for i, u := range w.sources {
			from[i] = u.next
		}
		for _, n := range w.nodes {
			for _, step := range n.next {
				step.madeNow = nil
			}
		}
		ended, over := w.runProcess(p, &starts)
		ledger := p.Ledger()
		w.mu.Lock()
		if killed := w.process < len(w.Ends) && w.Ends[w.process].Kind == "kill"; ended == nil && !killed {
			w.ledger(ledger, w.process, w.acknowledged(from))
		}
		if over || len(w.faults) > 0 {
			break
		}
		w.mu.Unlock()
	}
	if len(w.faults) == 0 {
		w.verdict()
	}
	faults, trace = w.faults, w.trace
	w.mu.Unlock()
	return faults, trace
}

// runProcess runs a pipeline as a process does until it ends, or the plan ends it. over says that
// nothing is left to do.
func (w *world) runProcess(p *engine.Pipeline, starts *int) (err error, over bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	abort := make(chan struct{})
	ended := make(chan struct{})
	defer func() { <-ended }()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(ended)
		if w.process < len(w.Ends) {
			w.interrupt(w.Ends[w.process], cancel, abort, stop)
		}
	}()
	for {
		*starts++
		err := p.Run(ctx, bridge.Env{}, abort)
		w.mu.Lock()
		killed := ctx.Err() != nil
		w.note("ended", err == nil)
		switch {
		case *starts > mostStarts:
			w.wrong("it does not come to its end: %v", err)
			w.mu.Unlock()
			return err, true
		case err == nil && !killed:
			w.mu.Unlock()
			if w.process < len(w.Ends) {
				<-ctx.Done() // it has finished before the plan ended it
				return err, false
			}
			return nil, true
		case killed:
			w.mu.Unlock()
			return err, false
		}
		w.nacked = true
		w.mu.Unlock()
		if l := p.Ledger(); !l.Balanced() {
			w.mu.Lock()
			w.wrong("after %v the ledger does not balance: %+v", err, l)
			w.mu.Unlock()
		}
		wait := time.NewTimer(time.Second)
		select {
		case <-wait.C:
		case <-ctx.Done():
			return err, false
		}
	}
}

func (w *world) interrupt(e interrupt, cancel func(), abort, stop chan struct{}) {
	after := time.NewTimer(time.Duration(e.At)*time.Millisecond - time.Since(w.began))
	defer after.Stop()
	select {
	case <-after.C:
	case <-stop:
		return
	}
	w.mu.Lock()
	w.note("interrupt", e.Kind)
	if e.Kind == "kill" {
		w.process = -1 - w.process // nothing that this process does counts any more
	}
	w.mu.Unlock()
	if e.Kind == "kill" {
		close(abort)
		cancel()
		<-stop
		w.mu.Lock()
		w.process = -1 - w.process
		w.mu.Unlock()
		return
	}
	cancel()
	if e.Abort > 0 {
		again := time.NewTimer(time.Duration(e.Abort) * time.Millisecond)
		defer again.Stop()
		select {
		case <-again.C:
			close(abort)
		case <-stop:
		}
	}
}

// place makes the spots of the plan.
func (w *world) place() {
	flights := w.flights(&w.To, max(1, w.InFlight))
	root := w.spot("sim-to", &w.To, flights, max(1, w.InFlight), true, nil)
	if w.To.When < 100 || len(w.To.Steps) > 0 {
		outer := &spot{name: "sim", plan: &branchPlan{Mode: "all", When: 100}, inner: []*spot{root}}
		w.nodes = append([]*spot{outer}, w.nodes...)
		root = outer
	}
	own := root.next
	root.next = nil
	w.steps(root, "sim", w.Steps)
	root.next = append(root.next, own...)
	for i, n := range w.nodes { // the root comes first
		if n == root {
			w.nodes[0], w.nodes[i] = w.nodes[i], w.nodes[0]
		}
	}
}

func (w *world) flights(b *branchPlan, n int) int {
	n = max(n, b.InFlight)
	for i := range b.Branches {
		n = w.flights(&b.Branches[i], n)
	}
	return n
}

func (w *world) spot(name string, b *branchPlan, flights, limit int, top bool, around *spot) *spot {
	if b.InFlight > 0 {
		limit = b.InFlight
	}
	p := &spot{
		name: name, plan: b, taken: make(map[string]int), begun: make(map[string]int), settled: make(map[string]int),
		extra: make(map[string]int), last: make(map[string]int),
		poisoned: make(map[string]int), ordered: flights == 1 || limit == 1, keyed: w.Keyed,
	}
	if around != nil {
		p.within = around.within || around.plan.Mode == "any"
		p.retries = around.retries || p.within && (around.plan.Mode != "any" || around.within || len(b.Steps) > 0)
		if p.within {
			p.ordered = p.ordered && around.ordered
			p.keyed = p.keyed && around.keyed && len(b.Steps) == 0 // the key is that of the message that came to any
		}
	}
	w.nodes = append(w.nodes, p)
	w.steps(p, modeName(p), b.Steps)
	for i := range b.Branches {
		inner := fmt.Sprintf("%s_%d", name, i+1)
		if top && (i > 0 || b.Branches[i].Mode == "sink") {
			inner = placeName(name, i)
		}
		p.inner = append(p.inner, w.spot(inner, &b.Branches[i], flights, limit, false, p))
	}
	return p
}

func (w *world) steps(p *spot, name string, plans []stepPlan) {
	for i := range plans {
		p.next = append(p.next, &spot{
			name: placeName(name+"-step", i), step: &plans[i],
			made: make(map[string][]string), failed: make(map[string]int), poisoned: make(map[string]int),
		})
	}
}

// pipeline makes the pipeline of a process.
func (w *world) pipeline() *engine.Pipeline {
	st := &state{world: w, buffer: &buffer{world: w, process: w.process, before: len(w.inBuffer)}}
	p := &engine.Pipeline{
		Name: "sim", State: st, MaxInFlight: w.InFlight, MaxBatch: w.MaxBatch, DrainTimeout: 2 * time.Second,
		OnError: bridge.OnError{
			Tries: w.Tries, Then: bridge.FateDrop, FirstWait: 10 * time.Millisecond,
			LongestWait: time.Second,
		},
		Jitter: func(n time.Duration) time.Duration { return n / 2 },
	}
	if w.Letters {
		p.OnError.Then = bridge.FateDeadLetter
	}
	if w.Keyed {
		p.OrderBy = key{}
	}
	if w.Buffer {
		p.Buffer = new(bridge.BufferSettings)
	}
	for _, u := range w.sources {
		p.From = append(p.From, bridge.Endpoint[bridge.Source]{Type: "source", Open: u.open})
	}
	outer := w.root()
	to := outer
	if outer.name == "sim" {
		to = outer.inner[0]
	}
	own := len(outer.next)
	if to == outer {
		own = len(w.Steps)
	}
	p.Steps = w.endpoints(outer.next[:own])
	p.To = w.branch(to, to.next[len(to.next)-len(to.plan.Steps):])
	return p
}

func (w *world) endpoints(steps []*spot) (es []bridge.Endpoint[bridge.Step]) {
	for _, s := range steps {
		e := bridge.Endpoint[bridge.Step]{Type: "step", Open: w.openStep(s)}
		if s.step.Keep && s.step.Period > 0 { // or it would never let go
			e.Paced = 1 + s.step.Window
		}
		es = append(es, e)
	}
	return es
}

func (w *world) branch(p *spot, steps []*spot) engine.Branch {
	b := engine.Branch{Steps: w.endpoints(steps), MaxInFlight: p.plan.InFlight}
	if p.plan.When < 100 {
		b.When = condition{w, p}
	}
	switch p.plan.Mode {
	case "sink":
		b.Sink = bridge.Endpoint[bridge.Sink]{Type: "sink", Open: w.openSink(p)}
	case "all":
		b.Mode = engine.ModeAll
	case "route":
		b.Mode = engine.ModeRoute
	case "any":
		b.Mode = engine.ModeAny
	case "share":
		b.Mode = engine.ModeShare
		if p.plan.Keyed {
			b.By = key{}
		}
	}
	for _, c := range p.inner {
		b.Branches = append(b.Branches, w.branch(c, c.next))
	}
	return b
}

// key is the template of a message's key.
type key struct{}

func (key) Render(m *bridge.Message) (string, error) { return keyOf(string(m.Payload)), nil }
func (key) Constant() (string, bool)                 { return "", false }
func (key) Prefix(string) string                     { return "" }

// condition says which messages enter a branch.
type condition struct {
	*world
	*spot
}

var errNoAnswer = errors.New("no answer, as planned")

func (c condition) Match(m *bridge.Message) (bool, error) {
	enters, broken := c.enters(c.spot, string(m.Payload))
	if broken {
		return false, errNoAnswer
	}
	return enters, nil
}
