package config

import (
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

var modes = map[string]engine.Mode{
	"all": engine.ModeAll, "route": engine.ModeRoute, "any": engine.ModeAny, "share": engine.ModeShare,
}

// builder builds one pipeline.
type builder struct {
	*document
	said []*yaml.Node        // where on_error names a sink for dead letters
	used map[*yaml.Node]bool // those of them that letters go to

	broken bool // something is left out
}

// branch builds an entry of the tree. around is what on_error says around it.
func (b *builder) branch(n *yaml.Node, name string, around policy) (br engine.Branch, e entry, ok bool) {
	e, ok = b.entry(n, sink.words)
	own := b.narrow(e, name, sink.name, around)
	if own.key != around.key {
		br.OnError = &own.OnError
	}
	w := &walker{document: b.document}
	if p, given := e.beside["when"]; given {
		w.value(p.value, reflect.ValueOf(&br.When).Elem(), &field{name: "when"})
	}
	if p, given := e.beside["steps"]; given {
		br.Steps = b.steps(p.key, p.value, name, own)
	}
	if p, given := e.beside["max_in_flight"]; given {
		w.value(p.value, reflect.ValueOf(&br.MaxInFlight).Elem(), sinkShape.byName["max_in_flight"])
	}
	if p, given := e.beside["by"]; given {
		br.By = w.key(p.value)
		if e.typ != nil && e.typ.Value != "share" {
			b.fail(p.key, "by goes with share", "write {share: [ … ], by: EXPRESSION}")
		}
	}
	b.broken = b.broken || !ok
	if !ok && !e.worth() {
		return br, e, false
	}
	mode, inner := modes[e.typ.Value]
	if !inner {
		var made bool
		br.Sink, made = build(b.document, e, sink, name)
		b.broken = b.broken || !made
		return br, e, ok
	}
	br.Mode = mode
	if e.value.Kind != yaml.SequenceNode {
		b.fail(e.value, e.typ.Value+" must be a list of entries, not "+kind(e.value),
			"write "+e.typ.Value+": [{CONNECTOR: {…}}, …]")
		return br, e, ok
	}
	own.any = own.any || mode == engine.ModeAny
	b.entries(&br, e, name, own)
	return br, e, ok
}

// entries builds the entries of a branch that has several.
func (b *builder) entries(br *engine.Branch, of entry, name string, around policy) {
	rest := false // an entry has been there that takes everything
	each(b.document, of.typ, of.value, func(i int, n *yaml.Node) {
		if rest {
			b.fail(n, "this entry is never reached, since one before it takes everything",
				"give that one a when, or move it to the end")
		}
		one, e, ok := b.branch(n, fmt.Sprintf("%s.%d", name, i), around)
		when, given := e.beside["when"]
		if given && br.Mode == engine.ModeShare {
			b.fail(when.key, "when cannot stand in share, which spreads everything", "write it beside share, or write route")
		}
		rest = br.Mode == engine.ModeRoute && (rest || ok && !given)
		br.Branches = append(br.Branches, one)
	})
}

// steps builds a list of steps.
func (b *builder) steps(key, n *yaml.Node, name string, around policy) (steps []bridge.Endpoint[bridge.Step]) {
	if b.bad[n] {
		return nil
	}
	if isNull(n) {
		b.fail(n, "steps is empty", "leave it out, or write steps: []")
		return nil
	}
	each(b.document, key, n, func(i int, n *yaml.Node) {
		if s, ok := placed(b, n, step, fmt.Sprintf("%s.steps.%d", name, i), around); ok {
			steps = append(steps, s)
		}
	})
	return steps
}

// placed builds an entry that may narrow what on_error says around it.
func placed[T any](b *builder, n *yaml.Node, r role[T], name string, around policy) (bridge.Endpoint[T], bool) {
	e, ok := b.entry(n, r.words)
	own := b.narrow(e, name, r.name, around)
	b.broken = b.broken || !ok
	if !ok && !e.worth() {
		return bridge.Endpoint[T]{}, false
	}
	made, ok := build(b.document, e, r, name)
	b.broken = b.broken || !ok
	if own.key != around.key {
		made.OnError = &own.OnError
	}
	return made, ok
}

// each calls f for each entry of a list, or for the only one.
func each(d *document, key, n *yaml.Node, f func(i int, n *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		f(0, n)
		return
	}
	if len(n.Content) == 0 && key.Value != "steps" {
		d.fail(n, key.Value+" is an empty list", entryShape)
	}
	for i, item := range n.Content {
		f(i+1, item)
	}
}

// key compiles an expression for the text by which messages are told apart. A text with {{ }} is
// taken, too.
func (w *walker) key(n *yaml.Node) bridge.Template {
	var t bridge.Template
	v := reflect.ValueOf(&t).Elem()
	switch {
	case w.bad[n]:
	case n.Kind != yaml.ScalarNode || isNull(n):
		w.fail(n, "an expression is wanted here, not "+kind(n), "write topic, say, or json.device")
	case strings.Contains(n.Value, "{{"):
		w.guessed(n, v, &field{}, func() { w.template(n, v, &field{}) })
	default:
		w.guessed(n, v, &field{}, func() {
			w.compile(n, v, &field{}, expr.Parts{{Text: n.Value, Code: true}}, nil)
		})
	}
	return t
}
