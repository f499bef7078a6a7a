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

// Inline returns a configuration of one pipeline, named inline, which is not started again when it
// has failed, from the values of the flags --from, --to and --step, which are
// CONNECTOR[,key=value…], or CONNECTOR=value where a value may stand in place of the settings: that
// is all of the rest, as it is. A key with dots is one in a nested mapping, a key that is repeated
// makes a list, and a comma within a value is written \, unless it is within {{ }}. Values are read
// like those in a file; a path is relative to the working directory. A secret is refused, since a
// command line is no secret, but not one that ${…} stands for. An error is [Errors].
func (l Loader) Inline(from, to string, steps ...string) (*Config, error) {
	r := l.start()
	p := &engine.Pipeline{Name: "inline", Restart: engine.Restart{Off: true}}
	if d, n := r.flag("--from", from); n != nil {
		if e, ok := placed(&builder{document: d}, n, source.alone(), "inline.from", policy{}); ok {
			p.From = append(p.From, e)
		}
	}
	for i, text := range steps {
		if d, n := r.flag("--step", text); n != nil {
			if e, ok := placed(&builder{document: d}, n, step.alone(), fmt.Sprintf("inline.steps.%d", i), policy{}); ok {
				p.Steps = append(p.Steps, e)
			}
		}
	}
	if d, n := r.flag("--to", to); n != nil {
		if e, ok := placed(&builder{document: d}, n, sink.alone(), "inline.to", policy{}); ok {
			p.To = engine.To(e)
		}
	}
	r.config.Pipelines = append(r.config.Pipelines, p)
	return &r.config, r.errs.tidy()
}

// Secret returns the secret that is the value of a flag or a part of it, of which ${…} must stand
// for all, as in [Loader.Inline]. An error is [Errors].
func (l Loader) Secret(flag, text string) (s bridge.Secret, err error) {
	r := l.start()
	d := &document{run: r, file: flag, dir: ".", shown: true}
	r.docs = append(r.docs, d)
	(&walker{document: d}).value(textNode(text), reflect.ValueOf(&s).Elem(), &field{name: "it"})
	return s, r.errs.tidy()
}

// flag parses the value of a flag into the node of an entry, nil after a mistake.
func (r *run) flag(name, text string) (*document, *yaml.Node) {
	d := &document{run: r, file: name, dir: ".", order: len(r.docs), shown: true}
	r.docs = append(r.docs, d)
	before := len(r.errs)
	if i := strings.IndexAny(text, "=,"); i > 0 && text[i] == '=' {
		node := []*yaml.Node{textNode(strings.TrimSpace(text[:i])), textNode(text[i+1:])}
		return d, &yaml.Node{Kind: yaml.MappingNode, Content: node}
	}
	words := splitWords(text)
	settings := make(map[string]any)
	for i, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		key = strings.TrimSpace(key)
		switch {
		case key == "":
			d.fail(nil, "there is a key missing", "write CONNECTOR,key=value,…")
		case !ok:
			// It may be the rest of a secret with a comma in it.
			d.fail(nil, fmt.Sprintf("there is no = after comma %d", i+1),
				`write key=value, \, for a comma within a value, or NAME=value where a value stands for the settings`)
		case !put(settings, strings.Split(key, "."), value):
			d.fail(nil, "the key "+quoteName(key)+" is both a value and a mapping", "")
		}
	}
	typ := strings.TrimSpace(words[0])
	if typ == "" {
		d.fail(nil, "there is no connector", "write CONNECTOR,key=value,…")
	}
	if len(r.errs) > before {
		return d, nil
	}
	return d, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode(typ), nodeOf(settings)}}
}

// splitWords returns what stands between commas that are not escaped, nor within {{ }}.
func splitWords(text string) (words []string) {
	var word strings.Builder
	for len(text) > 0 {
		n, is := 1, text[:1]
		switch {
		case strings.HasPrefix(text, "{{"):
			if end := expr.CodeEnd(text, 2); end > 0 {
				n, is = end+2, strings.ReplaceAll(text[:end+2], `\,`, ",")
			}
		case strings.HasPrefix(text, `\,`):
			n, is = 2, ","
		case is == ",":
			words, is = append(words, word.String()), ""
			word.Reset()
		}
		word.WriteString(is)
		text = text[n:]
	}
	return append(words, word.String())
}

// put sets the value at a path, or adds it to the values there. It returns false if what is there
// is of another kind.
func put(settings map[string]any, path []string, value string) bool {
	last := len(path) - 1
	for _, key := range path[:last] {
		inner, is := settings[key].(map[string]any)
		switch {
		case settings[key] == nil:
			inner = make(map[string]any)
			settings[key] = inner
		case !is:
			return false
		}
		settings = inner
	}
	switch there := settings[path[last]].(type) {
	case nil:
		settings[path[last]] = value
	case string:
		settings[path[last]] = []any{there, value}
	case []any:
		settings[path[last]] = append(there, value)
	default:
		return false
	}
	return true
}

// textNode makes the node of a text, which is never null.
func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}
