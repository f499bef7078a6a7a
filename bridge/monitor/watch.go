package monitor

import (
	"context"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// Watch sees what p does from now on; p must not run yet, and its State must be set. It goes on
// with the counts of a pipeline of that name that has ended, which Retire has been told of, but not
// with what was wrong with that.
func (m *Monitor) Watch(p *engine.Pipeline) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.pipelines[p.Name]
	if known == nil {
		known = &pipeline{monitor: m, name: p.Name}
		m.pipelines[p.Name] = known
		m.names.Store(p.Name, known)
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	before := known.ends
	known.ends, known.errors, known.stale, known.fresh = nil, nil, p.StaleAfter, time.Time{}
	add := func(shape End) *end {
		e := known.newEnd(shape)
		if i := slices.IndexFunc(before, func(b *end) bool {
			return b.shape.Instance == shape.Instance && b.shape.Type == shape.Type
		}); i >= 0 {
			e = before[i]
			e.renew(shape)
		}
		known.ends = append(known.ends, e)
		return e
	}
	defer func() {
		for _, e := range before {
			if !slices.Contains(known.ends, e) {
				in, out := e.through()
				known.goneIn, known.goneOut = known.goneIn+in, known.goneOut+out
			}
		}
	}()
	var sources []string
	for name, from := range p.Sources() {
		sources = append(sources, name)
		e, inner := add(End{Instance: name, Kind: "source", Type: from.Type}), from.Open
		from.Open = func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
			s, i, err := open(ctx, e, env, inner)
			return source{s, i}, err
		}
	}
	if p.Buffer != nil {
		e := add(End{Instance: p.BufferInstance(), Kind: "buffer", Type: "disk", After: sources})
		p.State = state{p.State, known, e}
	} else if p.State != nil {
		p.State = state{p.State, known, nil}
	}
	p.Walk(func(name string, after []string, at *bridge.Endpoint[bridge.Step]) {
		e, inner := add(End{Instance: name, Kind: "step", Type: at.Type, After: after}), at.Open
		e.holds = at.Holds
		at.Open = func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
			s, i, err := open(ctx, e, env, inner)
			return step{s, i}, err
		}
	}, func(name string, after []string, b *engine.Branch, spare bool) {
		e, inner := add(End{Instance: name, Kind: "sink", Type: b.Sink.Type, Optional: spare, After: after}), b.Sink.Open
		b.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			s, i, err := open(ctx, e, env, inner)
			return sink{s, i}, err
		}
	})
	seen := make(map[*bridge.OnError]bool)
	for _, on := range onErrors(p) {
		if !seen[on] && on.DeadLetter.Open != nil {
			known.letters(&on.DeadLetter)
		}
		seen[on] = true
	}
}

// onErrors returns all that the pipeline has.
func onErrors(p *engine.Pipeline) []*bridge.OnError {
	all := []*bridge.OnError{&p.OnError}
	for _, from := range p.Sources() {
		all = append(all, from.OnError)
	}
	for _, place := range p.Places() {
		if place.OnError != nil {
			all = append(all, *place.OnError)
		}
	}
	for _, b := range p.Sinks() {
		all = append(all, b.Sink.OnError)
	}
	return slices.DeleteFunc(all, func(on *bridge.OnError) bool { return on == nil })
}

// letters wraps a sink for dead letters, whose instance is known when it is opened.
func (p *pipeline) letters(to *bridge.Endpoint[bridge.Sink]) {
	inner, typ := to.Open, to.Type
	to.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
		e := p.end(End{Instance: env.Instance, Kind: "dead_letter", Type: typ})
		s, i, err := open(ctx, e, env, inner)
		return sink{s, i}, err
	}
}

// end returns what is known of an end that is not in the tree.
func (p *pipeline) end(shape End) *end {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.ends {
		if e.shape.Instance == shape.Instance {
			return e
		}
	}
	e := p.newEnd(shape)
	p.ends = append(p.ends, e)
	return e
}
