package config

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Inline returns a configuration of one pipeline, named inline, which is not started again when it
// has failed, from the values of the flags --from and --to, which are CONNECTOR[,key=value…]. A key
// with dots is one in a nested mapping, a key that is repeated makes a list, and a comma within a
// value is written \, . Values are read like those in a file; a path in ${file:path} is relative to
// the working directory. An error is [Errors].
func (l Loader) Inline(from, to string) (*Config, error) {
	r := l.start()
	p := &bridge.Pipeline{Name: "inline", Restart: bridge.Restart{Off: true}}
	if d, n := r.flag("--from", from); n != nil {
		if e, ok := placed(&builder{document: d}, n, loneSource, "inline.from", policy{}); ok {
			p.From = append(p.From, e)
		}
	}
	if d, n := r.flag("--to", to); n != nil {
		if e, ok := placed(&builder{document: d}, n, loneSink, "inline.to", policy{}); ok {
			p.To = bridge.To(e)
		}
	}
	if len(r.errs) > 0 {
		return nil, r.errs.tidy()
	}
	r.config.Pipelines = append(r.config.Pipelines, p)
	return &r.config, nil
}

// flag parses the value of a flag into the node of an entry, nil after a mistake.
func (r *run) flag(name, text string) (*document, *yaml.Node) {
	d := &document{run: r, file: name, dir: ".", order: len(r.docs)}
	r.docs = append(r.docs, d)
	before := len(r.errs)
	words := splitCommas(text)
	settings := &yaml.Node{Kind: yaml.MappingNode}
	for i, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		key = strings.TrimSpace(key)
		switch {
		case key == "":
			d.fail(nil, "there is a key missing", "write CONNECTOR,key=value,…")
		case !ok:
			// It may be the rest of a secret with a comma in it.
			d.fail(nil, fmt.Sprintf("there is no = after comma %d", i+1), `write key=value, and \, for a comma within a value`)
		case !put(settings, strings.Split(key, "."), textNode(value)):
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
	return d, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode(typ), settings}}
}

// put sets the value at a path in a mapping, or adds it to the values there.
// It returns false if what is there is of another kind.
func put(n *yaml.Node, path []string, value *yaml.Node) bool {
	var there *yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == path[0] {
			there = n.Content[i+1]
		}
	}
	last := len(path) == 1
	switch {
	case there == nil && last:
		n.Content = append(n.Content, textNode(path[0]), value)
	case there == nil:
		there = &yaml.Node{Kind: yaml.MappingNode}
		n.Content = append(n.Content, textNode(path[0]), there)
		return put(there, path[1:], value)
	case there.Kind == yaml.MappingNode:
		return !last && put(there, path[1:], value)
	case !last:
		return false
	case there.Kind == yaml.ScalarNode:
		first := *there
		*there = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{&first, value}}
	default:
		there.Content = append(there.Content, value)
	}
	return true
}

// textNode makes the node of a text, which is never null.
func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

// splitCommas splits at commas, but not at \, which becomes a comma.
func splitCommas(text string) []string {
	words := []string{""}
	for i := 0; i < len(text); i++ {
		last := &words[len(words)-1]
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ',':
			*last += ","
			i++
		case text[i] == ',':
			words = append(words, "")
		default:
			*last += text[i : i+1]
		}
	}
	return words
}
