package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// promise is what a pipeline guarantees, as check prints it.
type promise struct {
	Pipeline  string   `json:"pipeline"`
	Route     string   `json:"route"`
	Guarantee string   `json:"guarantee"` // of the weakest place
	Ordered   bool     `json:"ordered"`
	From      []place  `json:"from"`
	Buffer    *place   `json:"buffer,omitempty"`
	To        []place  `json:"to"`
	OnError   fate     `json:"on_error"`
	Warnings  []string `json:"warnings,omitempty"`
}

// place is one of a pipeline.
type place struct {
	Type      string `json:"type"`
	Guarantee string `json:"guarantee"`
	Why       string `json:"why"`
}

// fate is what becomes of a message that a sink cannot take.
type fate struct {
	Then string `json:"then"`
	Why  string `json:"why"`
}

// promised finds out what p guarantees.
func promised(p *bridge.Pipeline, state store.Settings) promise {
	out := promise{Pipeline: p.Name, Route: route(p), Ordered: p.MaxInFlight <= 1}
	in, from := weakest(p.From)
	end, to := weakest(p.To)
	out.From, out.To = from, to
	level := min(in, end)
	if in == bridge.LevelAtLeastOnce && end == bridge.LevelOnce && stable(p) {
		level = bridge.LevelOnce
	}
	if p.Buffer != nil {
		b := bufferPromise(*p.Buffer, state)
		level = min(level, b.Level)
		out.Buffer = &place{"disk", b.Level.String(), b.Why}
	}
	if p.OnError.Then == bridge.FateDrop {
		level = min(level, bridge.LevelAtMostOnce)
	}
	out.OnError = fateOf(p.OnError)
	out.Guarantee = level.String()
	return out
}

// stable reports whether a message that comes again reaches the sinks with the same id.
func stable(p *bridge.Pipeline) bool {
	unstable := func(s bridge.Endpoint[bridge.Source]) bool { return !s.Guarantee.StableIDs }
	shapes := func(s bridge.Endpoint[bridge.Step]) bool {
		return !slices.Contains([]string{"filter", "dedupe", "origin"}, s.Type)
	}
	return !slices.ContainsFunc(p.From, unstable) && !slices.ContainsFunc(p.Steps, shapes)
}

func weakest[T any](endpoints []bridge.Endpoint[T]) (bridge.Level, []place) {
	level := bridge.LevelOnce
	var places []place
	for _, e := range endpoints {
		level = min(level, e.Guarantee.Level)
		places = append(places, place{e.Type, e.Guarantee.Level.String(), e.Guarantee.Why})
	}
	return level, places
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

func fateOf(o bridge.OnError) fate {
	f := fate{Why: "what may work another time is tried for ever"}
	if o.Tries > 0 {
		f.Why = fmt.Sprintf("what may work another time is tried %d times", o.Tries)
	}
	switch o.Then {
	case bridge.FateDrop:
		f.Then, f.Why = "drop", f.Why+"; what fails for good is dropped, and counted"
	case bridge.FateDeadLetter:
		f.Then, f.Why = "dead_letter", f.Why+"; what fails for good goes to "+cmp.Or(o.DeadLetter.Type, "the dead letters of the state: xrtcbridge dead list")
	case bridge.FateStop:
		f.Then, f.Why = "stop", f.Why+"; what fails for good stops the pipeline and stays with its source"
	}
	return f
}

// print writes p for people.
func (p promise) print(w io.Writer) error {
	order := "in order"
	if !p.Ordered {
		order = "in no order (max_in_flight)"
	}
	_, err := fmt.Fprintf(w, "%s: %s\n  %s, %s\n", p.Pipeline, p.Route, p.Guarantee, order)
	line := func(what string, at place) {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s %s: %s: %s\n", what, at.Type, at.Guarantee, at.Why)
		}
	}
	for _, at := range p.From {
		line("from", at)
	}
	if p.Buffer != nil {
		line("buffer", *p.Buffer)
	}
	for _, at := range p.To {
		line("to", at)
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "  on_error %s: %s\n", p.OnError.Then, p.OnError.Why)
	}
	for _, text := range p.Warnings {
		if err == nil {
			_, err = fmt.Fprintf(w, "  warning: %s\n", text)
		}
	}
	return err
}
