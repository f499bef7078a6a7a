package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// leaf is a sink of a pipeline with what holds on the way to it.
type leaf struct {
	sink     bridge.Endpoint[bridge.Sink]
	steps    []bridge.Endpoint[bridge.Step] // those of the pipeline, too
	inFlight int
	spread   bool // messages come to one of several sinks, not always the same
	shared   bool // in turn, so that a key has no order
}

// leaves returns the sinks of p.
func leaves(p *bridge.Pipeline) (all []leaf) {
	var walk func(b *bridge.Branch, way leaf)
	walk = func(b *bridge.Branch, way leaf) {
		way.steps = append(slices.Clip(way.steps), b.Steps...)
		way.inFlight = cmp.Or(b.MaxInFlight, way.inFlight)
		if len(b.Branches) == 0 {
			way.sink = b.Sink
			all = append(all, way)
			return
		}
		inTurn := b.Mode == bridge.ModeShare && b.By == nil
		if len(b.Branches) > 1 {
			way.spread = way.spread || b.Mode == bridge.ModeAny || inTurn
			way.shared = way.shared || inTurn
		}
		for i := range b.Branches {
			walk(&b.Branches[i], way)
		}
	}
	walk(&p.To, leaf{steps: p.Steps, inFlight: max(1, p.MaxInFlight)})
	return all
}

// branches calls f for each branch, outer ones first.
func branches(b *bridge.Branch, f func(*bridge.Branch)) {
	f(b)
	for i := range b.Branches {
		branches(&b.Branches[i], f)
	}
}

// steps returns all steps of p.
func steps(p *bridge.Pipeline) []bridge.Endpoint[bridge.Step] {
	all := slices.Clip(p.Steps)
	branches(&p.To, func(b *bridge.Branch) { all = append(all, b.Steps...) })
	return all
}

// between stands between the entries of a mode in a route.
var between = map[bridge.Mode]string{bridge.ModeAll: ", ", bridge.ModeRoute: " | ", bridge.ModeAny: " else ", bridge.ModeShare: " / "}

// route says in short what a pipeline connects.
func route(p *bridge.Pipeline) string {
	stages := []string{types(p.From, ", ")}
	if len(p.Steps) > 0 {
		stages = append(stages, types(p.Steps, " → "))
	}
	return strings.Join(append(stages, branchRoute(&p.To)), " → ")
}

func branchRoute(b *bridge.Branch) string {
	text := b.Sink.Type
	if len(b.Branches) > 0 {
		var entries []string
		for i := range b.Branches {
			inner := &b.Branches[i]
			entry := branchRoute(inner)
			if len(b.Branches) > 1 && (len(inner.Branches) > 1 || len(inner.Steps) > 0) {
				entry = "(" + entry + ")"
			}
			entries = append(entries, entry)
		}
		text = strings.Join(entries, between[b.Mode])
		if len(b.Steps) > 0 && len(b.Branches) > 1 {
			text = "(" + text + ")"
		}
	}
	if len(b.Steps) > 0 {
		return types(b.Steps, " → ") + " → " + text
	}
	return text
}

func types[T any](endpoints []bridge.Endpoint[T], between string) string {
	var names []string
	for _, e := range endpoints {
		names = append(names, e.Type)
	}
	return strings.Join(names, between)
}
