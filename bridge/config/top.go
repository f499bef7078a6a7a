package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// top reads the top-level keys but for pipelines, which need the connections
// of all files. It keeps in tops where each key is set.
func (d *document) top(tops map[string]place) {
	if d.root == nil || d.bad[d.root] {
		return
	}
	if d.root.Kind != yaml.MappingNode {
		d.fail(d.root, "a configuration must be a mapping, not "+kind(d.root),
			"write pipelines: and under it NAME: {from: …, to: …}")
		return
	}
	d.keys = make(map[string]*yaml.Node)
	d.pairs(d.root, func(key, value *yaml.Node) {
		if strings.HasPrefix(key.Value, "x-") {
			return
		}
		d.keys[key.Value] = value
		if _, known := d.Sections[key.Value]; d.sectionsOnly && !known {
			return
		}
		switch key.Value {
		case "pipelines":
			return
		case "connections":
			d.allConnections(value)
			return
		}
		target, known := d.section(key.Value)
		if !known {
			d.fail(key, "unknown key "+quoteName(key.Value), hint(key.Value, "keys here", d.sections()))
			return
		}
		if first, twice := tops[key.Value]; twice {
			d.fail(key, key.Value+" is set in another file", "it is at "+first.String())
			return
		}
		tops[key.Value] = place{d, key}
		w := &walker{document: d}
		w.value(value, target, &field{name: key.Value})
		if key.Value != "drain_timeout" {
			d.noteContents(value, target)
			d.config.Sections[key.Value] = Fingerprint(d.dir, d.fingerprint(value, nil))
		}
		d.unprepared = d.unprepared || w.failed > 0 && key.Value == d.PluginsKey
	})
}

// section returns what a top-level key is decoded into.
func (r *run) section(key string) (reflect.Value, bool) {
	switch key {
	case "fail_fast":
		return reflect.ValueOf(&r.config.FailFast).Elem(), true
	case "drain_timeout":
		return reflect.ValueOf(&r.drain).Elem(), true
	}
	target, ok := r.Sections[key]
	if !ok {
		return reflect.Value{}, false
	}
	return reflect.ValueOf(target).Elem(), true
}

func (r *run) sections() []string {
	return append(slices.Collect(maps.Keys(r.Sections)), fileShape.names()...)
}

func (d *document) allConnections(n *yaml.Node) {
	if d.bad[n] {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "connections must be a mapping, not "+kind(n), "write NAME: {CONNECTOR: {…}}")
		return
	}
	d.named(n, func(key, value *yaml.Node) {
		c := &connection{name: place{d, key}, value: value}
		d.everyConnection = append(d.everyConnection, c)
		first, taken := d.connections[key.Value]
		switch {
		case !taken:
			d.connections[key.Value] = c
		case !d.bad[key]:
			d.fail(key, "there is a connection "+quoteName(key.Value)+" already", "it is at "+first.name.String())
		}
	})
}
