package config

import (
	"context"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// role is one of what a connector may be in a pipeline.
type role[T any] struct {
	name   string
	shared bool // its settings may name a connection
	opener func(bridge.Connector) bridge.Opener[T]
}

var (
	source = role[bridge.Source]{"source", true, func(c bridge.Connector) bridge.Opener[bridge.Source] { return c.Source }}
	step   = role[bridge.Step]{"step", false, func(c bridge.Connector) bridge.Opener[bridge.Step] { return c.Step }}
	sink   = role[bridge.Sink]{"sink", true, func(c bridge.Connector) bridge.Opener[bridge.Sink] { return c.Sink }}
)

// build makes an endpoint of an entry {CONNECTOR: settings}.
func build[T any](d *document, n *yaml.Node, r role[T], instance string) (bridge.Endpoint[T], bool) {
	var none bridge.Endpoint[T]
	typ, value, ok := d.entry(n)
	if !ok {
		return none, false
	}
	c, ok := d.connector(typ)
	if !ok {
		return none, false
	}
	o := r.opener(c)
	if o == nil {
		d.fail(typ, "connector "+quote(c.Name)+" cannot be a "+r.name, r.name+"s: "+names(having(d.Registry, r)))
		return none, false
	}
	b, ok := d.settings(typ, value, o.Settings(), r.shared, checker(o))
	if !ok {
		return none, false
	}
	described := b.instance(instance)
	d.claim(typ, described)
	e := endpoint(c.Name, o, b)
	if g, ok := described.(bridge.Guaranteed); ok {
		e.Guarantee = g.Guarantee()
	} else {
		e.Guarantee.Why = c.Delivery
	}
	if l, ok := described.(bridge.Located); ok {
		e.Traffic = l.Traffic()
	}
	return e, true
}

// checker returns the method Check of an opener, nil if it has none.
func checker(opener any) func(settings any) error {
	c, ok := opener.(bridge.Checker)
	if !ok {
		return nil
	}
	return func(settings any) error { return c.Check(context.Background(), settings) }
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

// entry takes {CONNECTOR: settings}, or CONNECTOR alone, apart.
func (d *document) entry(n *yaml.Node) (typ, value *yaml.Node, ok bool) {
	const shape = "write {CONNECTOR: {…}}"
	switch {
	case d.bad[n]:
		return nil, nil, false
	case isNull(n):
		d.fail(n, "there is no connector here", shape)
	case n.Kind == yaml.ScalarNode:
		return n, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}, true
	case n.Kind != yaml.MappingNode:
		d.fail(n, "one entry is wanted here, not "+kind(n), shape)
	case len(n.Content) == 0:
		d.fail(n, "there is no connector here", shape)
	case len(n.Content) > 2:
		d.fail(n.Content[2], "an entry has one connector, and here is a second key "+quoteName(n.Content[2].Value),
			"indent the settings under the connector, or write a list")
	default:
		return n.Content[0], n.Content[1], !d.bad[n.Content[0]] && !d.bad[n.Content[1]]
	}
	return nil, nil, false
}

// connector looks up the connector that typ names.
func (d *document) connector(typ *yaml.Node) (bridge.Connector, bool) {
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
	d.fail(typ, "unknown connector "+quoteName(typ.Value), hint(typ.Value, "connectors", d.Registry.Names()))
	return c, false
}

// claim reports settings whose resource another instance uses.
func (d *document) claim(typ *yaml.Node, settings any) {
	e, ok := settings.(interface{ Exclusive() string })
	if !ok {
		return
	}
	resource := e.Exclusive()
	if resource == "" {
		return
	}
	if first, taken := d.exclusive[resource]; taken {
		d.fail(typ, resource+" is in use already", "it is used at "+first.String())
		return
	}
	d.exclusive[resource] = place{d, typ}
}
