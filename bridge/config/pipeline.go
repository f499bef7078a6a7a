package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"

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

var pipelineKeys = []string{"from", "steps", "to", "buffer", "on_error", "restart", "order_by", "max_in_flight", "max_batch"}

// Bounds of what is kept at once. They are far above what is of use.
const (
	mostInFlight = 10_000
	mostBatch    = 1_000_000
)

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
	keys := make(map[string]pair)
	d.pairs(n, func(key, value *yaml.Node) {
		if !slices.Contains(pipelineKeys, key.Value) {
			d.fail(key, "unknown key "+quoteName(key.Value), hint(key.Value, "keys here", pipelineKeys))
			meant := nearest(key.Value, pipelineKeys)
			if _, given := keys[meant]; !given {
				keys[meant] = pair{} // one mistake, not another for a key that is missing
			}
			return
		}
		keys[key.Value] = pair{key, value}
	})
	for _, key := range []string{"from", "to"} {
		if _, given := keys[key]; !given {
			d.fail(n, "the key "+key+" is missing", "write "+key+": {CONNECTOR: {…}}")
		}
	}
	for key, at := range keys {
		if at.key == nil || d.bad[at.value] {
			delete(keys, key)
		}
	}
	b := &builder{document: d, used: make(map[*yaml.Node]bool)}
	b.build(p, keys)
	b.unused()
	return p
}

// build fills in p with what the keys say.
func (b *builder) build(p *bridge.Pipeline, keys map[string]pair) {
	var around policy
	if k, given := keys["on_error"]; given { // the others need it
		around = b.onError(k, p.Name, sink.name, around)
		p.OnError = around.OnError
	}
	if k, given := keys["from"]; given {
		each(b.document, k.key, k.value, func(i int, n *yaml.Node) {
			if e, ok := placed(b, n, source, fmt.Sprintf("%s.from.%d", p.Name, i), around); ok {
				p.From = append(p.From, e)
			}
		})
	}
	if k, given := keys["steps"]; given {
		p.Steps = b.steps(k.key, k.value, p.Name, around)
	}
	if k, given := keys["to"]; given && k.value.Kind == yaml.SequenceNode {
		b.fail(k.value, "to must be one entry, not a list", "for several sinks write to: {all: [ … ]}")
	} else if given {
		p.To, _, _ = b.branch(k.value, p.Name+".to", around)
	}
	if k, given := keys["buffer"]; given {
		b.buffer(p, k.value)
	}
	if k, given := keys["restart"]; given {
		p.Restart = b.restart(k.value)
	}
	if k, given := keys["order_by"]; given {
		p.OrderBy = (&walker{document: b.document}).key(k.value)
	}
	if k, given := keys["max_in_flight"]; given {
		b.positive(k.key, k.value, &p.MaxInFlight, mostInFlight)
	}
	if k, given := keys["max_batch"]; given {
		b.positive(k.key, k.value, &p.MaxBatch, mostBatch)
	}
}

func (d *document) positive(key, n *yaml.Node, to *int, most int) {
	w := &walker{document: d}
	w.value(n, reflect.ValueOf(to).Elem(), &field{name: key.Value})
	switch {
	case w.failed > 0:
	case *to < 1:
		d.fail(n, key.Value+" must be at least 1", "")
	case *to > most:
		d.fail(n, fmt.Sprintf("%s must be at most %d", key.Value, most), "")
	}
}
