package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// promise is what a pipeline guarantees, as check prints it.
type promise struct {
	Pipeline    string   `json:"pipeline"`
	Description string   `json:"description,omitempty"`
	Disabled    bool     `json:"disabled,omitempty"`
	Route       string   `json:"route"`
	Guarantee   string   `json:"guarantee"`       // of the weakest place
	Drops       bool     `json:"drops,omitempty"` // what is refused somewhere
	Ordered     bool     `json:"ordered"`
	Order       string   `json:"order"` // what is kept of it, and which setting decides
	Optional    bool     `json:"optional,omitempty"`
	StaleAfter  string   `json:"stale_after,omitempty"`
	From        []place  `json:"from"`
	Buffer      *place   `json:"buffer,omitempty"`
	Steps       []place  `json:"steps,omitempty"`
	To          target   `json:"to"`
	OnError     fate     `json:"on_error"`
	Warnings    []string `json:"warnings,omitempty"`
	Broken      bool     `json:"broken,omitempty"` // it has mistakes, and there are warnings only
}

// place is an end of a pipeline, or a step.
type place struct {
	Type      string `json:"type,omitempty"`
	Guarantee string `json:"guarantee,omitempty"`
	Why       string `json:"why,omitempty"`
	OnError   *fate  `json:"on_error,omitempty"` // where it is narrowed
}

// target is a branch: a sink, or a mode and its entries.
type target struct {
	place
	Mode    string   `json:"mode,omitempty"`
	When    string   `json:"when,omitempty"`
	By      string   `json:"by,omitempty"`
	Steps   []place  `json:"steps,omitempty"`
	Entries []target `json:"entries,omitempty"`
}

// fate is what becomes of a message that is refused.
type fate struct {
	Then string `json:"then"`
	Why  string `json:"why"`
}

// show has each text in p that may hold what a setting says go through as, which hides what ${…}
// stands for.
func (p *promise) show(as func(string) string) {
	p.Description = as(p.Description)
	for i, text := range p.Warnings {
		p.Warnings[i] = as(text)
	}
	p.To.show(as)
}

func (t *target) show(as func(string) string) {
	t.When, t.By = as(t.When), as(t.By)
	for i := range t.Entries {
		t.Entries[i].show(as)
	}
}

// promised finds out what p guarantees. circle is that in which messages may run through it.
func promised(p *engine.Pipeline, state store.Settings, circle string) promise {
	stopped := stays(p.From, p.Buffer != nil)
	out := promise{
		Pipeline: p.Name, Route: route(p), Steps: stages(p.Steps, stopped), To: targetOf(&p.To, stopped),
		OnError: *fateOf(&p.OnError, true, stopped), Optional: p.Optional,
	}
	if p.StaleAfter > 0 {
		out.StaleAfter = p.StaleAfter.String()
	}
	in, end := bridge.LevelOnce, bridge.LevelOnce
	for _, e := range p.From {
		in = min(in, e.Guarantee.Level)
		out.From = append(out.From, place{
			e.Type, e.Guarantee.Level.String(), e.Guarantee.Why,
			fateOf(e.OnError, false, stays([]bridge.Endpoint[bridge.Source]{e}, false)),
		})
	}
	for _, l := range leaves(p) {
		end = min(end, l.Sink.Guarantee.Level)
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
	out.Drops = slices.ContainsFunc(fates(p), func(o *bridge.OnError) bool { return o.Then == bridge.FateDrop })
	out.Guarantee = level.String()
	out.Ordered, out.Order = order(p)
	out.Warnings = warnings(p)
	if circle != "" {
		out.Warnings = append(out.Warnings, loopWarning+": "+circle)
	}
	return out
}

// fates returns what becomes of a message that is refused, for each place that may.
func fates(p *engine.Pipeline) (all []*bridge.OnError) {
	for _, e := range p.From {
		all = append(all, cmp.Or(e.OnError, &p.OnError))
	}
	for _, e := range p.Steps {
		all = append(all, cmp.Or(e.OnError, &p.OnError))
	}
	for _, l := range limbs(p) {
		if l.ends() || l.When != nil || l.By != nil || l.Mode == engine.ModeRoute || l.Mode == engine.ModeAny {
			all = append(all, l.onError)
		}
		for _, e := range l.Steps {
			all = append(all, cmp.Or(e.OnError, l.onError))
		}
	}
	return all
}

// stable reports whether a message that comes again reaches the same sinks with the same id.
func stable(p *engine.Pipeline) bool {
	unstable := func(s bridge.Endpoint[bridge.Source]) bool { return !s.Guarantee.StableIDs }
	shapes := func(s bridge.Endpoint[bridge.Step]) bool { return !s.Guarantee.StableIDs }
	spread := func(l limb) bool { return l.spread }
	return !slices.ContainsFunc(p.From, unstable) && !slices.ContainsFunc(steps(p), shapes) &&
		!slices.ContainsFunc(leaves(p), spread)
}

// order says what p keeps of the order of messages.
func order(p *engine.Pipeline) (kept bool, text string) {
	all := leaves(p)
	switch {
	case slices.ContainsFunc(all, func(l limb) bool { return l.shared }):
		return false, "in no order (share)"
	case !overtaking(p):
		return true, "in order"
	case p.OrderBy != nil:
		return false, "in order for each key (order_by)"
	}
	return false, "in no order (max_in_flight)"
}

// overtaking reports whether several batches are written at once to a sink.
func overtaking(p *engine.Pipeline) bool {
	return slices.ContainsFunc(leaves(p), func(l limb) bool { return l.inFlight > 1 })
}

// warnings returns what p does that its author may not want.
func warnings(p *engine.Pipeline) (all []string) {
	if p.OrderBy != nil && !overtaking(p) {
		all = append(all, "order_by does nothing while max_in_flight is 1, which keeps the order of all messages")
	}
	all = append(all, surely(p)...)
	for _, s := range steps(p) {
		for _, from := range p.From {
			if s.Holds && from.MaxUnacked > 0 && p.Buffer == nil {
				all = append(all, fmt.Sprintf("%s hands over %d messages and then waits for them, "+
					"so that a step %s that holds more stalls; buffer: disk ends that",
					from.Type, from.MaxUnacked, s.Type))
			}
		}
	}
	return all
}

// surely returns those of the warnings about p that hold whatever else it has, which mistakes may
// hide.
func surely(p *engine.Pipeline) (all []string) {
	rest := func(b engine.Branch) bool { return b.When == nil }
	for _, l := range limbs(p) {
		if l.Mode == engine.ModeRoute && !l.ends() && !slices.ContainsFunc(l.Branches, rest) {
			all = append(all, "route "+branchRoute(l.Branch)+
				": what matches no entry is filtered; an entry without when, at the end, takes the rest")
		}
	}
	for name, s := range p.Sources() {
		all = append(all, notes(name, s.Type, s.Notes)...)
	}
	for name, b := range p.Sinks() {
		all = append(all, notes(name, b.Sink.Type, b.Sink.Notes)...)
	}
	return all
}

func notes(instance, typ string, said []string) (all []string) {
	for _, s := range said {
		all = append(all, fmt.Sprintf("%s (%s): %s", typ, instance, s))
	}
	return all
}

// stays says where a message is that has stopped its pipeline.
func stays(sources []bridge.Endpoint[bridge.Source], buffered bool) string {
	again, lost := 0, 0
	for _, s := range sources {
		switch s.Guarantee.Level {
		case bridge.LevelAtLeastOnce, bridge.LevelOnce:
			again++
		case bridge.LevelAtMostOnce:
			lost++
		case bridge.LevelUnknown:
		}
	}
	switch {
	case buffered:
		return "stays in the buffer"
	case again == len(sources):
		return "stays with its source"
	case lost == len(sources):
		return "is lost, as its source cannot deliver it again"
	}
	return "stays with its source, if that can deliver it again"
}

func stages(all []bridge.Endpoint[bridge.Step], stopped string) (out []place) {
	for _, s := range all {
		kept := ""
		switch {
		case s.Holds:
			kept = "what it holds is owed: a stop lets it go, and after kill -9 it comes again"
		case s.Forgets:
			kept = "what it remembers is forgotten at a restart"
		}
		out = append(out, place{Type: s.Type, Why: kept, OnError: fateOf(s.OnError, false, stopped)})
	}
	return out
}

func targetOf(b *engine.Branch, stopped string) target {
	t := target{Steps: stages(b.Steps, stopped)}
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
	t.OnError = fateOf(b.OnError, true, stopped)
	for i := range b.Branches {
		t.Entries = append(t.Entries, targetOf(&b.Branches[i], stopped))
	}
	return t
}

func bufferPromise(b bridge.BufferSettings, state store.Settings) bridge.Guarantee {
	g := bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "on disk before the source is told, survives power loss"}
	switch {
	case state.NATS != nil:
		g.Why = "confirmed by the JetStream of state.nats before the source is told"
	case state.Durability == "process":
		g.Why = "on disk before the source is told, survives a crash of the process, " +
			"not of the machine (state.durability: process)"
	}
	switch b.WhenFull {
	case bridge.OverflowDropOldest:
		g.Level, g.Why = bridge.LevelAtMostOnce, g.Why+"; when full the oldest messages go, "+
			"and are counted (when_full: drop_oldest)"
	case bridge.OverflowReject:
		g.Why += "; when full a message fails for good, and on_error decides (when_full: reject)"
	case bridge.OverflowBlock:
		g.Why += "; when full the sources wait"
	}
	return g
}

// fateOf says what o does; retried says whether what may work another time is tried again there,
// and stopped where a message is then that stops the pipeline.
func fateOf(o *bridge.OnError, retried bool, stopped string) *fate {
	if o == nil {
		return nil
	}
	f := map[bridge.Fate]fate{
		bridge.FateDrop: {"drop", "what fails for good is dropped, and counted"},
		bridge.FateDeadLetter: {
			"dead_letter",
			"what fails for good goes to " + cmp.Or(o.DeadLetter.Type, "the dead letters of the state: xrtcbridge dead list"),
		},
		bridge.FateStop: {"stop", "what fails for good stops the pipeline and " + stopped},
	}[o.Then]
	switch {
	case retried && o.Tries > 0:
		f.Why = fmt.Sprintf("what may work another time is tried %s; %s", bridge.Plural(o.Tries, "time"), f.Why)
	case retried:
		f.Why = "what may work another time is tried for ever; " + f.Why
	}
	return &f
}
