package config

import (
	"cmp"
	"context"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// words are the keys that an entry may have apart from its connector.
type words struct {
	beside []string // the connector
	modes  []string // in place of it
}

// role is one of what a connector may be in a pipeline.
type role[T any] struct {
	name   string
	shared bool // its settings may name a connection
	opener func(bridge.Connector) bridge.Opener[T]
	words
}

func sourceOf(c bridge.Connector) bridge.Opener[bridge.Source] { return c.Source }

func stepOf(c bridge.Connector) bridge.Opener[bridge.Step] { return c.Step }

func sinkOf(c bridge.Connector) bridge.Opener[bridge.Sink] { return c.Sink }

var (
	source = role[bridge.Source]{"source", true, sourceOf, words{beside: []string{"on_error"}}}
	step   = role[bridge.Step]{"step", false, stepOf, words{beside: []string{"on_error"}}}
	sink   = role[bridge.Sink]{"sink", true, sinkOf, words{
		beside: []string{"when", "steps", "on_error", "max_in_flight", "by"},
		modes:  []string{"all", "route", "any", "share"},
	}}
	loneSource = role[bridge.Source]{"source", true, sourceOf, words{}}
	loneSink   = role[bridge.Sink]{"sink", true, sinkOf, words{}}
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
	b, ok := d.settings(e.typ, e.value, o.Settings(), r.shared, check)
	if !ok {
		return none, false
	}
	made := endpoint(c.Name, o, b)
	described, ok := b.instance(instance).(bridge.Described)
	if !ok { // settings of plugins have no methods
		described, ok = o.(bridge.Described)
	}
	if ok {
		made.Description = described.Describe()
	}
	made.Guarantee.Why = cmp.Or(made.Guarantee.Why, c.Delivery)
	d.claim(e.typ, made.Exclusive)
	return made, true
}

// connectorFor looks up the connector that typ names, for a role.
func connectorFor[T any](d *document, typ *yaml.Node, r role[T]) (bridge.Connector, bool) {
	what := "connector"
	if r.name == step.name {
		what = r.name
	}
	able := having(d.Registry, r)
	c, ok := d.connector(typ, "unknown "+what+" "+quoteName(typ.Value), hintWith(typ.Value, r.name+"s", able, r.modes))
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

type pair struct{ key, value *yaml.Node }

const entryShape = "write {CONNECTOR: {…}}"

// entry takes apart {CONNECTOR: settings}, with keys beside that, or CONNECTOR alone.
func (d *document) entry(n *yaml.Node, w words) (e entry, ok bool) {
	switch {
	case d.bad[n]:
		return e, false
	case isNull(n):
		d.fail(n, "there is no connector here", entryShape)
		return e, false
	case n.Kind == yaml.ScalarNode:
		return entry{typ: n, value: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}}, true
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
			d.fail(n, "there is no connector here", entryShape)
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
	return max(0, slices.IndexFunc(keys, func(p pair) bool { return nearest(p.key.Value, w.beside) == "" }))
}

// second reports a key that an entry cannot have beside its connector.
func (d *document) second(key *yaml.Node, w words) {
	switch {
	case slices.Contains(sink.beside, key.Value) || nearest(key.Value, w.beside) != "":
		d.fail(key, quoteName(key.Value)+" cannot stand beside the connector here", hint(key.Value, "keys that can", w.beside))
	default:
		d.fail(key, "an entry has one connector, and here is a second key "+quoteName(key.Value), "indent the settings under the connector, or write a list")
	}
}

// connector looks up the connector that typ names. What to say if there is none is given.
func (d *document) connector(typ *yaml.Node, unknown, hint string) (bridge.Connector, bool) {
	c, ok := d.Registry.Lookup(typ.Value)
	if ok {
		return c, true
	}
	if d.Find != nil {
		err, asked := d.missing[typ.Value]
		if !asked {
			err = d.Find(typ.Value)
			d.missing[typ.Value] = err
		}
		if c, ok := d.Registry.Lookup(typ.Value); err == nil && ok {
			return c, true
		}
		if err != nil {
			d.fail(typ, err.Error(), "")
			return c, false
		}
	}
	if d.unprepared {
		return c, false // reported before
	}
	d.fail(typ, unknown, hint)
	return c, false
}

// claim reports what another instance uses that no two may use.
func (d *document) claim(typ *yaml.Node, resource string) {
	if resource == "" {
		return
	}
	if first, taken := d.exclusive[resource]; taken {
		d.fail(typ, resource+" is in use already", "it is used at "+first.String())
		return
	}
	d.exclusive[resource] = place{d, typ}
}
