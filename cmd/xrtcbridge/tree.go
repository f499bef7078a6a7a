package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// limb is a branch of a pipeline with what holds there and on the way to it.
type limb struct {
	*engine.Branch
	way      []bridge.Endpoint[bridge.Step] // with those of the pipeline and its own
	onError  *bridge.OnError
	inFlight int
	spread   bool // messages come to one of several branches, not always the same
	shared   bool // in turn, so that a key has no order
}

// ends reports whether the branch is a sink.
func (l limb) ends() bool { return len(l.Branches) == 0 }

// limbs returns the branches of p, outer ones first.
func limbs(p *engine.Pipeline) (all []limb) {
	var walk func(b *engine.Branch, l limb)
	walk = func(b *engine.Branch, l limb) {
		l.Branch = b
		l.way = append(slices.Clip(l.way), b.Steps...)
		l.onError = cmp.Or(b.OnError, l.onError)
		l.inFlight = cmp.Or(b.MaxInFlight, l.inFlight)
		all = append(all, l)
		if len(b.Branches) > 1 {
			inTurn := b.Mode == engine.ModeShare && b.By == nil
			l.spread = l.spread || b.Mode == engine.ModeAny || inTurn
			l.shared = l.shared || inTurn
		}
		for i := range b.Branches {
			walk(&b.Branches[i], l)
		}
	}
	walk(&p.To, limb{way: p.Steps, onError: &p.OnError, inFlight: max(1, p.MaxInFlight)})
	return all
}

// leaves returns the branches of p that are sinks.
func leaves(p *engine.Pipeline) []limb {
	return slices.DeleteFunc(limbs(p), func(l limb) bool { return !l.ends() })
}

// steps returns all steps of p.
func steps(p *engine.Pipeline) []bridge.Endpoint[bridge.Step] {
	all := slices.Clip(p.Steps)
	for _, l := range limbs(p) {
		all = append(all, l.Steps...)
	}
	return all
}

// between stands between the entries of a mode in a route.
var between = map[engine.Mode]string{
	engine.ModeAll: ", ", engine.ModeRoute: " | ", engine.ModeAny: " else ",
	engine.ModeShare: " / ",
}

// route says in short what a pipeline connects.
func route(p *engine.Pipeline) string {
	stages := []string{types(p.From, ", ")}
	if len(p.Steps) > 0 {
		stages = append(stages, types(p.Steps, " → "))
	}
	return strings.Join(append(stages, branchRoute(&p.To)), " → ")
}

func branchRoute(b *engine.Branch) string {
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
