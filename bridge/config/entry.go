package config

import (
	"cmp"
	"context"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// words are the keys that an entry may have apart from its connector.
type words struct {
	beside []string // the connector
	modes  []string // in place of it
	steps  bool     // the connector is a step
}

// role is one of what a connector may be in a pipeline.
type role[T any] struct {
	name   string
	opener func(bridge.Connector) bridge.Opener[T]
	words
}

// shared reports whether settings of c may name a connection. Some steps have the connections of the
// sources and sinks of their name.
func shared(c bridge.Connector) bool { return c.Source != nil || c.Sink != nil }

// alone returns the role where nothing may stand beside the connector, or in place of it.
func (r role[T]) alone() role[T] {
	r.words = words{steps: r.steps}
	return r
}

var (
	source = role[bridge.Source]{
		"source", func(c bridge.Connector) bridge.Opener[bridge.Source] { return c.Source },
		words{beside: mustShape[besideSource]().names()},
	}
	step = role[bridge.Step]{
		"step", func(c bridge.Connector) bridge.Opener[bridge.Step] { return c.Step },
		words{beside: mustShape[besideStep]().names(), steps: true},
	}
	sink = role[bridge.Sink]{
		"sink", func(c bridge.Connector) bridge.Opener[bridge.Sink] { return c.Sink },
		words{beside: sinkShape.names(), modes: modeShape.names()},
	}
)

// build makes an endpoint of an entry.
func build[T any](d *document, e entry, r role[T], instance string) (bridge.Endpoint[T], bool) {
	var none bridge.Endpoint[T]
	c, ok := connectorFor(d, e.typ, r)
	if !ok {
		return none, false
	}
	o := r.opener(c)
	check := func(settings any) error { return o.Check(context.Background(), settings) }
	b, ok := d.settings(e.typ, e.value, o.Settings(), shared(c), check)
	if !ok {
		return none, false
	}
	made := endpoint(c.Name, o, b)
	made.Description = Describe(o, b.instance(instance))
	made.Guarantee.Why = cmp.Or(made.Guarantee.Why, c.Delivery)
	d.claim(e.typ, made.Exclusive)
	for _, name := range made.Reads {
		d.noteContent(e.typ, name)
	}
	return made, true
}

// Describe returns what settings of an opener say about what they make. Those of plugins have no
// methods: it is the opener that knows.
func Describe(opener, settings any) (d bridge.Description) {
	if described, ok := settings.(bridge.Described); ok {
		return described.Describe()
	}
	if o, ok := opener.(interface {
		DescribeSettings(settings any) bridge.Description
	}); ok {
		return o.DescribeSettings(settings)
	}
	return d
}

// connectorFor looks up the connector that typ names, for a role.
func connectorFor[T any](d *document, typ *yaml.Node, r role[T]) (bridge.Connector, bool) {
	what := "connector"
	if r.name == step.name {
		what = r.name
	}
	able := having(d.Registry, r)
	c, ok := d.connector(typ, "unknown "+what+" "+quoteName(typ.Value), hint(typ.Value, r.name+"s", able, r.modes...))
	if ok && r.opener(c) == nil {
		d.fail(typ, "connector "+quote(c.Name)+" cannot be a "+r.name, r.name+"s: "+names(able))
		return c, false
	}
	return c, ok
}

// having lists the connectors that can play the role.
func having[T any](reg *bridge.Registry, r role[T]) []string {
	var all []string
	for _, name := range reg.Names() {
		if c, _ := reg.Lookup(name); r.opener(c) != nil {
			all = append(all, name)
		}
	}
	return all
}

// entry is {CONNECTOR: settings} taken apart. Each of the keys beside the connector is there with
// its value.
type entry struct {
	typ, value *yaml.Node
	beside     map[string]pair
}

// worth reports whether the settings of an entry that has a mistake are worth checking. Where there
// are none, they stand at a wrong place, perhaps.
func (e entry) worth() bool { return e.typ != nil && !isNull(e.value) }

type pair struct{ key, value *yaml.Node }

const (
	entryShape = "write {CONNECTOR: {…}}"
	stepShape  = "write {STEP: {…}}"
)

// none reports that an entry lacks what it is about.
func (d *document) none(n *yaml.Node, w words) {
	if w.steps {
		d.fail(n, "there is no step here", stepShape)
		return
	}
	d.fail(n, "there is no connector here", entryShape)
}

// entry takes apart {CONNECTOR: settings}, with keys beside that, or CONNECTOR alone.
func (d *document) entry(n *yaml.Node, w words) (e entry, ok bool) {
	switch {
	case d.bad[n]:
		return e, false
	case isNull(n):
		d.none(n, w)
		return e, false
	case n.Kind == yaml.ScalarNode:
		return entry{typ: n, value: nothing(n)}, true
	case n.Kind != yaml.MappingNode:
		d.fail(n, "one entry is wanted here, not "+kind(n), entryShape)
		return e, false
	}
	ok = true
	var rest []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		p := pair{n.Content[i], n.Content[i+1]}
		switch {
		case d.bad[p.key] || d.bad[p.value]:
			ok = false
		case slices.Contains(w.beside, p.key.Value):
			if e.beside == nil {
				e.beside = make(map[string]pair)
			}
			e.beside[p.key.Value] = p
		default:
			rest = append(rest, p)
		}
	}
	if len(rest) == 0 {
		if ok {
			d.none(n, w)
		}
		return e, false
	}
	at := d.subject(rest, w)
	e.typ, e.value = rest[at].key, rest[at].value
	for i, p := range rest {
		if i != at {
			d.second(p.key, w)
			ok = false
		}
	}
	return e, ok
}

// subject returns which of several keys is the connector, or the mode, most likely.
func (d *document) subject(keys []pair, w words) int {
	known := func(p pair) bool {
		_, ok := d.Registry.Lookup(p.key.Value)
		return ok || slices.Contains(w.modes, p.key.Value)
	}
	if i := slices.IndexFunc(keys, known); i >= 0 {
		return i
	}
	return max(0, slices.IndexFunc(keys, func(p pair) bool { return suggest.Nearest(p.key.Value, w.beside) == "" }))
}

// second reports a key that an entry cannot have beside its connector.
func (d *document) second(key *yaml.Node, w words) {
	switch {
	case key.Value == "steps":
		d.fail(key, "steps cannot stand beside the connector here", "those of a pipeline stand beside its from and to")
	case w.steps && suggest.Nearest(key.Value, w.beside) == "":
		d.fail(key, "a step has one key, and here is a second one, "+quoteName(key.Value),
			"begin it with - if it is another step, or indent it under the first")
	case slices.Contains(sink.beside, key.Value) || suggest.Nearest(key.Value, w.beside) != "":
		d.fail(key, quoteName(key.Value)+" cannot stand beside the connector here",
			hint(key.Value, "keys that can", w.beside))
	default:
		d.fail(key, "an entry has one connector, and here is a second key "+quoteName(key.Value),
			"indent the settings under the connector, or write a list")
	}
}

// connector looks up the connector that typ names. What to say if there is none is given.
func (d *document) connector(typ *yaml.Node, unknown, hint string) (bridge.Connector, bool) {
	c, ok := d.Registry.Lookup(typ.Value)
	if ok {
		return c, true
	}
	err, asked := d.missing[typ.Value]
	if d.Find != nil && !asked {
		err = d.Find(typ.Value)
		d.missing[typ.Value] = err
	}
	c, ok = d.Registry.Lookup(typ.Value)
	switch {
	case err != nil:
		d.fail(typ, err.Error(), "")
	case !ok && !d.unprepared: // or it has been reported before
		d.fail(typ, unknown, hint)
	}
	return c, ok && err == nil
}

// claim reports what another instance uses that no two may use.
func (d *document) claim(typ *yaml.Node, resource string) {
	if resource == "" || d.disabled {
		return
	}
	if first, taken := d.exclusive[resource]; taken {
		d.fail(typ, unfilled(resource, d.filled.all())+" is in use already", "it is used at "+first.String())
		return
	}
	d.exclusive[resource] = place{d, typ}
}
