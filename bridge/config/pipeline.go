package config

import (
	"fmt"
	"reflect"
	"regexp"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// allPipelines builds the pipelines of the document.
func (d *document) allPipelines() {
	n := d.keys["pipelines"]
	if n == nil || d.bad[n] {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "pipelines must be a mapping, not "+kind(n), "write NAME: {from: …, to: …}")
		return
	}
	if len(n.Content) == 0 {
		d.fail(n, "pipelines is empty", "write NAME: {from: …, to: …}")
	}
	d.pairs(n, func(key, value *yaml.Node) {
		first, taken := d.pipelines[key.Value]
		switch {
		case !pipelineName.MatchString(key.Value):
			d.fail(key, "a pipeline cannot be called "+quote(key.Value), "a name has letters, digits, - and _, and begins with a letter or digit")
		case taken:
			d.fail(key, "there is a pipeline "+quoteName(key.Value)+" already", "it is at "+first.String())
		}
		d.pipelines[key.Value] = place{d, key}
		d.config.Pipelines = append(d.config.Pipelines, d.pipeline(key, value))
	})
}

var pipelineKeys = []string{"from", "steps", "to", "buffer", "on_error", "max_in_flight", "max_batch"}

// pipeline builds one pipeline. What has a mistake is left out.
func (d *document) pipeline(name, n *yaml.Node) *bridge.Pipeline {
	p := &bridge.Pipeline{Name: name.Value}
	switch {
	case d.bad[n]:
		return p
	case n.Kind != yaml.MappingNode:
		d.fail(n, "pipeline "+quote(p.Name)+" must be a mapping, not "+kind(n), "write from: and to: under it")
		return p
	}
	has := make(map[string]bool)
	d.pairs(n, func(key, value *yaml.Node) {
		has[key.Value] = true
		if d.bad[value] {
			return
		}
		switch key.Value {
		case "from":
			each(d, key, value, func(i int, n *yaml.Node) { d.source(p, i, n) })
		case "steps":
			each(d, key, value, func(i int, n *yaml.Node) { d.step(p, i, n) })
		case "to":
			d.sinks(p, value)
		case "buffer":
			d.buffer(p, value)
		case "on_error":
			d.onError(p, value)
		case "max_in_flight":
			d.positive(key, value, &p.MaxInFlight)
		case "max_batch":
			d.positive(key, value, &p.MaxBatch)
		default:
			d.fail(key, "unknown key "+quoteName(key.Value), hint(key.Value, "keys here", pipelineKeys))
			has[nearest(key.Value, pipelineKeys)] = true // one mistake, not another for a key that is missing
		}
	})
	for _, key := range []string{"from", "to"} {
		if !has[key] {
			d.fail(n, "the key "+key+" is missing", "write "+key+": {CONNECTOR: {…}}")
		}
	}
	return p
}

func (d *document) positive(key, n *yaml.Node, to *int) {
	w := &walker{document: d}
	w.value(n, reflect.ValueOf(to).Elem(), &field{name: key.Value})
	if w.failed == 0 && *to < 1 {
		d.fail(n, key.Value+" must be at least 1", "")
	}
}

// each calls f for each entry of a list, or for the only one.
func each(d *document, key, n *yaml.Node, f func(i int, n *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		f(0, n)
		return
	}
	if len(n.Content) == 0 {
		d.fail(n, key.Value+" is an empty list", "write {CONNECTOR: {…}}")
	}
	for i, item := range n.Content {
		f(i+1, item)
	}
}

func (d *document) sinks(p *bridge.Pipeline, n *yaml.Node) {
	switch {
	case n.Kind == yaml.SequenceNode:
		d.fail(n, "to must be one entry, not a list", "for several sinks write to: {all: [ … ]}")
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "all":
		all := n.Content[1]
		if d.bad[all] {
			return
		}
		if all.Kind != yaml.SequenceNode {
			d.fail(all, "all must be a list of entries, not "+kind(all), "write all: [{CONNECTOR: {…}}, …]")
			return
		}
		each(d, n.Content[0], all, func(i int, n *yaml.Node) { d.sink(p, i, n) })
	default:
		d.sink(p, 0, n)
	}
}

func (d *document) source(p *bridge.Pipeline, i int, n *yaml.Node) {
	if e, ok := build(d, n, source, instance(p, "from", i)); ok {
		p.From = append(p.From, e)
	}
}

func (d *document) step(p *bridge.Pipeline, i int, n *yaml.Node) {
	if e, ok := build(d, n, step, instance(p, "steps", i)); ok {
		p.Steps = append(p.Steps, e)
	}
}

func (d *document) sink(p *bridge.Pipeline, i int, n *yaml.Node) {
	if e, ok := build(d, n, sink, instance(p, "to", i)); ok {
		p.To = append(p.To, e)
	}
}

// instance names a place for telling whether two are alike.
func instance(p *bridge.Pipeline, key string, i int) string {
	return fmt.Sprintf("%s.%s.%d", p.Name, key, i)
}
