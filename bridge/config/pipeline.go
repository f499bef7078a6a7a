package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

var pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// ValidName reports whether a pipeline may have that name.
func ValidName(name string) bool { return pipelineName.MatchString(name) }

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
	d.named(n, func(key, value *yaml.Node) {
		first, taken := d.pipelines[key.Value]
		switch {
		case d.bad[key]: // reported before
		case !pipelineName.MatchString(key.Value):
			d.fail(key, "a pipeline cannot be called "+quote(key.Value),
				"a name has letters, digits, - and _, and begins with a letter or digit")
		case taken:
			d.fail(key, "there is a pipeline "+quoteName(key.Value)+" already", "it is at "+first.String())
		}
		d.pipelines[key.Value] = place{d, key}
		before := len(d.errs)
		p, whole := d.pipeline(key, value)
		switch {
		case !whole || len(d.errs) > before:
			d.config.Broken = append(d.config.Broken, p)
		case d.disabled:
			d.config.Fingerprints[p.Name] = d.fingerprints(value)
			d.config.Disabled = append(d.config.Disabled, p)
		default:
			d.config.Fingerprints[p.Name] = d.fingerprints(value)
			d.config.Pipelines = append(d.config.Pipelines, p)
		}
	})
}

// pipeline builds one pipeline. What has a mistake is left out, and it is not whole then, be the
// mistake one that has been reported before.
func (d *document) pipeline(name, n *yaml.Node) (p *engine.Pipeline, whole bool) {
	p = &engine.Pipeline{Name: name.Value}
	d.disabled = false
	switch {
	case d.bad[n]:
		return p, false
	case n.Kind != yaml.MappingNode:
		d.fail(n, "pipeline "+quote(p.Name)+" must be a mapping, not "+kind(n), "write from: and to: under it")
		return p, false
	}
	keys := make(map[string]pair)
	d.pairs(n, func(key, value *yaml.Node) {
		if known := pipelineShape.names(); !slices.Contains(known, key.Value) {
			d.fail(key, "unknown key "+quoteName(key.Value), hint(key.Value, "keys here", known))
			meant := *key // which is checked, and not missed
			meant.Value = suggest.Nearest(key.Value, known)
			if _, given := keys[meant.Value]; given {
				return
			}
			key = &meant
		}
		keys[key.Value] = pair{key, value}
	})
	for _, key := range pipelineShape.required() {
		if _, given := keys[key]; !given {
			d.fail(n, "the key "+key+" is missing", "write "+key+": {CONNECTOR: {…}}")
		}
	}
	b := &builder{document: d, used: make(map[*yaml.Node]bool)}
	for key, at := range keys {
		if d.bad[at.value] {
			delete(keys, key)
			b.broken = true
		}
	}
	b.build(p, keys)
	b.unused()
	return p, !b.broken
}

// build fills in p with what the keys say.
func (b *builder) build(p *engine.Pipeline, keys map[string]pair) {
	w := &walker{document: b.document}
	if k, given := keys["enabled"]; given {
		enabled := true
		w.value(k.value, reflect.ValueOf(&enabled).Elem(), pipelineShape.byName["enabled"])
		b.disabled = !enabled
	}
	if k, given := keys["description"]; given {
		var text string
		w.value(k.value, reflect.ValueOf(&text).Elem(), pipelineShape.byName["description"])
		b.config.Descriptions[p.Name] = text
	}
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
		p.OrderBy = w.key(k.value)
	}
	for key, to := range map[string]any{
		"max_in_flight": &p.MaxInFlight, "max_batch": &p.MaxBatch, "stale_after": &p.StaleAfter, "optional": &p.Optional,
	} {
		if k, given := keys[key]; given {
			w.value(k.value, reflect.ValueOf(to).Elem(), pipelineShape.byName[key])
		}
	}
}
