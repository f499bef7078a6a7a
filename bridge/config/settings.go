package config

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// connection is an entry of connections:, client settings with a name.
type connection struct {
	name   place
	typ    string
	value  *yaml.Node
	broken bool // a mistake in it has been reported
}

// check decodes the entry for nobody, so that its mistakes are reported once
// and even if nobody uses it.
func (c *connection) check() {
	d := c.name.doc
	c.broken = true
	e, alone := d.entry(c.value, words{})
	if !alone && !e.worth() {
		return
	}
	c.typ, c.value = e.typ.Value, e.value
	connector, ok := d.connector(e.typ, "unknown connector "+quoteName(c.typ),
		hint(c.typ, "connectors", d.Registry.Names()))
	if !ok {
		return
	}
	settings, common, err := d.connectionSettings(connector)
	if err != nil || settings == nil {
		d.fail(e.typ, "connector "+quote(c.typ)+" takes no connection", "")
		return
	}
	w := &walker{document: d}
	if isNull(c.value) {
		c.broken = false
		return
	}
	v := reflect.ValueOf(settings).Elem()
	s, _ := d.shape(v.Type())
	if c.value.Kind != yaml.MappingNode {
		w.fail(c.value, c.typ+" must be a mapping, not "+kind(c.value), hint("", "a connection has", common))
	} else {
		w.onlyCommon(c.value, s, common)
		w.object(c.value, v, s, make(map[string]bool), common)
	}
	if c.broken = w.failed > 0 || !alone; c.broken {
		d.noteContents(c.value, v) // which nobody uses now
	}
}

// onlyCommon reports the keys that only a source or only a sink has.
func (w *walker) onlyCommon(n *yaml.Node, s *shape, common []string) {
	w.pairs(n, func(key, _ *yaml.Node) {
		if s.byName[key.Value] != nil && !slices.Contains(common, key.Value) {
			w.fail(key, "the key "+key.Value+" cannot be part of a connection",
				"write it in the pipeline; a connection has: "+names(common))
		}
	})
}

// connectionSettings returns settings to try an entry on, and the keys that it
// may have: those which source and sink have in common.
func (r *run) connectionSettings(c bridge.Connector) (settings any, common []string, err error) {
	var both [][]string
	add := func(s any) {
		settings = s
		shape, e := r.shape(reflect.TypeOf(s).Elem())
		if e != nil {
			err = e
			return
		}
		both = append(both, shape.names())
	}
	if c.Sink != nil {
		add(c.Sink.Settings())
	}
	if c.Source != nil {
		add(c.Source.Settings())
	}
	if err != nil || len(both) == 0 {
		return nil, nil, err
	}
	for _, name := range both[0] {
		if len(both) == 1 || slices.Contains(both[1], name) {
			common = append(common, name)
		}
	}
	return settings, common, nil
}

// bound is settings that are ready for opening.
type bound struct {
	value reflect.Value // of the struct
	own   [][]int       // indices of the texts to be made unique
}

// settings decodes n, the value of the entry typ, into the struct that target points to; shared
// says whether it may name a connection. check is asked last. ok is false if there was a mistake.
func (d *document) settings(typ, n *yaml.Node, target any, shared bool, check func(settings any) error) (b bound, ok bool) {
	w := &walker{document: d}
	b.value = reflect.ValueOf(target).Elem()
	s, err := d.shape(b.value.Type())
	if err != nil {
		w.fail(typ, err.Error(), programmers)
		return b, false
	}
	empty := isNull(n)
	if empty {
		n = nothing(typ)
		n.Kind = yaml.MappingNode
	}
	places, set, allowed := []place{{d, n}}, make(map[string]bool), s.names()
	if shared {
		var c *connection
		if c, n = w.connection(typ, n, s, set); c != nil {
			places = append(places, place{c.name.doc, c.value})
			b.inherit(w, c, s, n, set)
		}
		if len(s.fields) > 0 {
			allowed = append(allowed, connectionKey)
		}
	}
	if free := empty && s.free(); !free && !w.object(n, b.value, s, set, allowed) {
		w.wrong(n, b.value.Type(), &field{name: typ.Value})
		return b, false
	}
	w.finish(places, b.value, s, set, w.foreign)
	d.noteContents(typ, b.value) // a file that is not there is a mistake, until it is
	if w.failed == 0 {
		w.report(places, check(target))
	}
	return b, w.failed == 0
}

// inherit sets the keys of the connection c, which has been checked before. n
// is the mapping whose keys override them.
func (b *bound) inherit(w *walker, c *connection, s *shape, n *yaml.Node, set map[string]bool) {
	if isNull(c.value) {
		return
	}
	quiet := &walker{document: c.name.doc, quiet: true}
	known := *c.value // a step may lack what source and sink have
	known.Content = nil
	for i := 0; i+1 < len(c.value.Content); i += 2 {
		if s.byName[c.value.Content[i].Value] != nil {
			known.Content = append(known.Content, c.value.Content[i:i+2]...)
		}
	}
	quiet.object(&known, b.value, s, set, nil)
	w.failed += quiet.failed
	for i := range s.fields {
		f := &s.fields[i]
		if f.own && set[f.name] && find(n, f.name) == nil && reflect.Indirect(b.value.FieldByIndex(f.index)).String() != "" {
			b.own = append(b.own, f.index)
		}
	}
}

// connection returns the connection that n names, if it does, and n without
// that key. If the connection cannot be used, connectionKey is put in set.
func (w *walker) connection(typ, n *yaml.Node, s *shape, set map[string]bool) (*connection, *yaml.Node) {
	if n.Kind != yaml.MappingNode || s.byName[connectionKey] != nil {
		return nil, n
	}
	var c *connection
	rest := *n
	rest.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != connectionKey || w.bad[n.Content[i]] {
			rest.Content = append(rest.Content, n.Content[i:i+2]...)
			continue
		}
		before := w.failed
		c = w.named(typ, n.Content[i+1])
		set[connectionKey], w.foreign = c == nil, w.failed-before
	}
	return c, &rest
}

// named returns the connection of that name and type, nil if it cannot be used.
func (w *walker) named(typ, name *yaml.Node) *connection {
	c := w.connections[name.Value]
	switch {
	case w.bad[name]:
		w.failed++
	case name.Kind != yaml.ScalarNode || isNull(name):
		w.fail(name, "connection must be a name, not "+kind(name), "")
	case c == nil:
		w.fail(name, "there is no connection "+quoteName(name.Value),
			hint(name.Value, "connections", slices.Collect(maps.Keys(w.connections))))
	case c.broken:
		w.failed++
	case c.typ != typ.Value:
		w.fail(name, "connection "+quoteName(name.Value)+" is of type "+c.typ+", not "+typ.Value, "")
	default:
		return c
	}
	return nil
}

// instance returns a pointer to a copy of the settings for that instance.
func (b bound) instance(name string) any {
	p := reflect.New(b.value.Type())
	p.Elem().Set(b.value)
	for _, index := range b.own {
		f := p.Elem().FieldByIndex(index)
		text := reflect.Indirect(f).String() + "-" + name
		if f.Kind() == reflect.Pointer { // which the original shares
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		f.SetString(text)
	}
	return p.Interface()
}

// endpoint binds settings to their opener.
func endpoint[T any](typ string, o bridge.Opener[T], b bound) bridge.Endpoint[T] {
	e := bridge.Endpoint[T]{
		Type: typ,
		Open: func(ctx context.Context, env bridge.Env) (T, error) {
			return o.Open(ctx, b.instance(env.Instance), env)
		},
	}
	if _, keeps := reflect.TypeAssert[bridge.Forgetter](b.value.Addr()); keeps {
		e.Keeps = func(env bridge.Env) string { return b.instance(env.Instance).(bridge.Forgetter).Keeps(env) }
		e.Forget = func(ctx context.Context, env bridge.Env) (bool, error) {
			return b.instance(env.Instance).(bridge.Forgetter).Forget(ctx, env)
		}
	}
	if _, asks := reflect.TypeAssert[bridge.Prober](b.value.Addr()); asks {
		e.Probe = func(ctx context.Context, env bridge.Env) (bridge.Probed, error) {
			return b.instance(env.Instance).(bridge.Prober).Probe(ctx, env)
		}
	}
	return e
}
