package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// promise is what a pipeline guarantees, as check prints it.
type promise struct {
	Pipeline  string   `json:"pipeline"`
	Route     string   `json:"route"`
	Guarantee string   `json:"guarantee"` // of the weakest place
	Ordered   bool     `json:"ordered"`
	Order     string   `json:"order"` // what is kept of it, and which setting decides
	From      []place  `json:"from"`
	Buffer    *place   `json:"buffer,omitempty"`
	Steps     []stage  `json:"steps,omitempty"`
	To        target   `json:"to"`
	OnError   fate     `json:"on_error"`
	Warnings  []string `json:"warnings,omitempty"`
}

// place is one end of a pipeline.
type place struct {
	Type      string `json:"type,omitempty"`
	Guarantee string `json:"guarantee,omitempty"`
	Why       string `json:"why,omitempty"`
	OnError   *fate  `json:"on_error,omitempty"` // where it is narrowed
}

// stage is a step.
type stage struct {
	Type    string `json:"type"`
	OnError *fate  `json:"on_error,omitempty"`
}

// target is a branch: a sink, or a mode and its entries.
type target struct {
	place
	Mode    string   `json:"mode,omitempty"`
	When    string   `json:"when,omitempty"`
	By      string   `json:"by,omitempty"`
	Steps   []stage  `json:"steps,omitempty"`
	Entries []target `json:"entries,omitempty"`
}

// fate is what becomes of a message that is refused.
type fate struct {
	Then string `json:"then"`
	Why  string `json:"why"`
}

// promised finds out what p guarantees.
func promised(p *bridge.Pipeline, state store.Settings) promise {
	out := promise{Pipeline: p.Name, Route: route(p), Steps: stages(p.Steps), To: targetOf(&p.To), OnError: *fateOf(&p.OnError, true)}
	in, end := bridge.LevelOnce, bridge.LevelOnce
	for _, e := range p.From {
		in = min(in, e.Guarantee.Level)
		out.From = append(out.From, place{e.Type, e.Guarantee.Level.String(), e.Guarantee.Why, fateOf(e.OnError, false)})
	}
	for _, l := range leaves(p) {
		end = min(end, l.sink.Guarantee.Level)
	}
	level := min(in, end)
	if in == bridge.LevelAtLeastOnce && end == bridge.LevelOnce && stable(p) {
		level = bridge.LevelOnce
	}
	if p.Buffer != nil {
		b := bufferPromise(*p.Buffer, state)
		level = min(level, b.Level)
		out.Buffer = &place{Type: "disk", Guarantee: b.Level.String(), Why: b.Why}
	}
	if drops(p) {
		level = min(level, bridge.LevelAtMostOnce)
	}
	out.Guarantee = level.String()
	out.Ordered, out.Order = order(p)
	out.Warnings = warnings(p)
	return out
}

// drops reports whether a message that is refused is dropped, at one place at least.
func drops(p *bridge.Pipeline) bool {
	found := false
	at := func(own, around *bridge.OnError) *bridge.OnError {
		o := cmp.Or(own, around)
		found = found || o.Then == bridge.FateDrop
		return o
	}
	for _, e := range p.From {
		at(e.OnError, &p.OnError)
	}
	for _, e := range p.Steps {
		at(e.OnError, &p.OnError)
	}
	var walk func(b *bridge.Branch, around *bridge.OnError)
	walk = func(b *bridge.Branch, around *bridge.OnError) {
		around = cmp.Or(b.OnError, around)
		if len(b.Branches) == 0 || b.When != nil {
			at(around, nil)
		}
		for _, e := range b.Steps {
			at(e.OnError, around)
		}
		for i := range b.Branches {
			walk(&b.Branches[i], around)
		}
	}
	walk(&p.To, &p.OnError)
	return found
}

// stable reports whether a message that comes again reaches the same sinks with the same id.
func stable(p *bridge.Pipeline) bool {
	unstable := func(s bridge.Endpoint[bridge.Source]) bool { return !s.Guarantee.StableIDs }
	shapes := func(s bridge.Endpoint[bridge.Step]) bool {
		return !slices.Contains([]string{"filter", "dedupe", "origin"}, s.Type)
	}
	spread := func(l leaf) bool { return l.spread }
	return !slices.ContainsFunc(p.From, unstable) && !slices.ContainsFunc(steps(p), shapes) && !slices.ContainsFunc(leaves(p), spread)
}

// order says what p keeps of the order of messages.
func order(p *bridge.Pipeline) (kept bool, text string) {
	all := leaves(p)
	switch {
	case slices.ContainsFunc(all, func(l leaf) bool { return l.shared }):
		return false, "in no order (share)"
	case !overtaking(p):
		return true, "in order"
	case p.OrderBy != nil:
		return false, "in order for each key (order_by)"
	}
	return false, "in no order (max_in_flight)"
}

// overtaking reports whether several batches are written at once to a sink.
func overtaking(p *bridge.Pipeline) bool {
	return slices.ContainsFunc(leaves(p), func(l leaf) bool { return l.inFlight > 1 })
}

// warnings returns what p does that its author may not want.
func warnings(p *bridge.Pipeline) (all []string) {
	if p.OrderBy != nil && !overtaking(p) {
		all = append(all, "order_by does nothing while max_in_flight is 1, which keeps the order of all messages")
	}
	branches(&p.To, func(b *bridge.Branch) {
		rest := func(b bridge.Branch) bool { return b.When == nil }
		if b.Mode == bridge.ModeRoute && len(b.Branches) > 0 && !slices.ContainsFunc(b.Branches, rest) {
			all = append(all, "route "+branchRoute(b)+": what matches no entry is filtered; an entry without when, at the end, takes the rest")
		}
	})
	for _, s := range steps(p) {
		for _, from := range p.From {
			if s.Holds && from.MaxUnacked > 0 && p.Buffer == nil {
				all = append(all, fmt.Sprintf("%s hands over %d messages and then waits for them, so that a step %s that holds more stalls; buffer: disk ends that",
					from.Type, from.MaxUnacked, s.Type))
			}
		}
	}
	return all
}

func stages(all []bridge.Endpoint[bridge.Step]) (out []stage) {
	for _, s := range all {
		out = append(out, stage{s.Type, fateOf(s.OnError, false)})
	}
	return out
}

func targetOf(b *bridge.Branch) target {
	t := target{Steps: stages(b.Steps)}
	if b.When != nil {
		t.When = fmt.Sprint(b.When)
	}
	if b.By != nil {
		t.By = fmt.Sprint(b.By)
		if inner, ok := strings.CutPrefix(t.By, "{{"); ok && strings.Count(t.By, "{{") == 1 {
			t.By = strings.TrimSpace(strings.TrimSuffix(inner, "}}"))
		}
	}
	if len(b.Branches) == 0 {
		t.place = place{Type: b.Sink.Type, Guarantee: b.Sink.Guarantee.Level.String(), Why: b.Sink.Guarantee.Why}
	} else {
		t.Mode = b.Mode.String()
	}
	t.OnError = fateOf(b.OnError, true)
	for i := range b.Branches {
		t.Entries = append(t.Entries, targetOf(&b.Branches[i]))
	}
	return t
}

func bufferPromise(b bridge.BufferSettings, state store.Settings) bridge.Guarantee {
	g := bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "on disk before the source is told, survives power loss"}
	switch {
	case state.NATS != nil:
		g.Why = "confirmed by the JetStream of state.nats before the source is told"
	case state.Durability == "process":
		g.Why = "on disk before the source is told, survives a crash of the process, not of the machine (state.durability: process)"
	}
	switch b.WhenFull {
	case bridge.OverflowDropOldest:
		g.Level, g.Why = bridge.LevelAtMostOnce, g.Why+"; when full the oldest messages go, and are counted (when_full: drop_oldest)"
	case bridge.OverflowReject:
		g.Why += "; when full a message fails for good, and on_error decides (when_full: reject)"
	case bridge.OverflowBlock:
		g.Why += "; when full the sources wait"
	}
	return g
}

// fateOf says what o does; retried says whether what may work another time is tried again there.
func fateOf(o *bridge.OnError, retried bool) *fate {
	if o == nil {
		return nil
	}
	f := new(fate)
	switch {
	case !retried:
	case o.Tries > 0:
		f.Why = fmt.Sprintf("what may work another time is tried %d times; ", o.Tries)
	default:
		f.Why = "what may work another time is tried for ever; "
	}
	switch o.Then {
	case bridge.FateDrop:
		f.Then, f.Why = "drop", f.Why+"what fails for good is dropped, and counted"
	case bridge.FateDeadLetter:
		f.Then, f.Why = "dead_letter", f.Why+"what fails for good goes to "+cmp.Or(o.DeadLetter.Type, "the dead letters of the state: xrtcbridge dead list")
	case bridge.FateStop:
		f.Then, f.Why = "stop", f.Why+"what fails for good stops the pipeline and stays with its source"
	}
	return f
}
