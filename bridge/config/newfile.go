package config

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// NewFile returns a commented file of one pipeline with that source, those steps and that sink,
// which are names of connectors in Registry. What a connector wants is there with a value of its
// example, and every other setting is a comment with its default, or such a value. An error without
// a file is about a name; one with a file says what is to be completed by hand.
func (l Loader) NewFile(from string, steps []string, to string) ([]byte, error) {
	d := &document{run: l.start(), file: "a new file"}
	all := []*draft{draftOf(d, from, source)}
	for _, name := range steps {
		all = append(all, draftOf(d, name, step))
	}
	all = append(all, draftOf(d, to, sink))
	if len(d.errs) > 0 {
		return nil, d.errs.tidy()
	}
	for {
		var b bytes.Buffer
		fmt.Fprintf(&b, "# From %s to %s. What is commented out is the default, or an example where there is none.\n",
			from, to)
		fmt.Fprintf(&b, "pipelines:\n  %s-to-%s:\n", from, to)
		for i, one := range all {
			switch i {
			case 0:
				b.WriteString("    from:\n")
			case len(all) - 1:
				b.WriteString("    to:\n")
			case 1:
				b.WriteString("    steps:\n")
			}
			one.write(&b, i > 0 && i < len(all)-1)
		}
		_, err := l.Parse(d.file, b.Bytes())
		// What settings want together, they say when they are asked: a key that is named is given.
		if mistakes, is := err.(Errors); !is || !slices.ContainsFunc(mistakes, func(e *Error) bool { //nolint:errorlint // as Parse says
			return slices.ContainsFunc(all, func(one *draft) bool { return one.give(e) })
		}) {
			return b.Bytes(), err
		}
	}
}

// draft is an entry to be written.
type draft struct {
	name        string
	keys        []draftKey
	whole       string // the settings, if they are no mapping of keys
	first, last int    // the lines where it was written
}

type draftKey struct {
	name, value, doc string
	shown            bool // in the example
	given            bool
}

// draftOf makes the draft of a connector in a role.
func draftOf[T any](d *document, name string, r role[T]) *draft {
	one := &draft{name: name}
	c, ok := connectorFor(d, textNode(name), r)
	if !ok {
		return one
	}
	v := reflect.ValueOf(r.opener(c).Settings()).Elem()
	s, err := d.shape(v.Type())
	if err != nil {
		d.fail(nil, err.Error(), programmers)
		return one
	}
	shown := make(map[string]*yaml.Node)
	var doc yaml.Node
	if yaml.Unmarshal([]byte(c.Example), &doc) == nil {
		examples(&doc, "", name, r.name, func(n *yaml.Node) {
			if shown[""] == nil {
				shown[""] = n
			}
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if key := n.Content[i].Value; shown[key] == nil {
					shown[key] = n.Content[i+1]
				}
			}
			if n.Kind != yaml.MappingNode && s.short != nil && shown[s.short.name] == nil {
				shown[s.short.name] = n
			}
		})
	}
	if s.free() && shown[""] != nil {
		one.whole = flow(shown[""])
		return one
	}
	for i := range s.fields {
		f := &s.fields[i]
		var value string
		switch text := cmp.Or(defaultText(v.FieldByIndex(f.index)), f.fallback); {
		case text != "":
			value = flow(&yaml.Node{Kind: yaml.ScalarNode, Value: text})
		case shown[f.name] != nil:
			value = flow(shown[f.name])
		default:
			value = standIn(f)
		}
		one.keys = append(one.keys, draftKey{f.name, value, f.doc, shown[f.name] != nil, f.required})
	}
	return one
}

// examples calls f for the settings of a connector in a role, and of its connections.
func examples(n *yaml.Node, at, name, role string, f func(settings *yaml.Node)) {
	for i, inner := range n.Content {
		place := at
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue
			}
			switch key := n.Content[i-1].Value; key {
			case "from":
				place = source.name
			case "steps":
				place = step.name
			case "to", "dead_letter":
				place = sink.name
			case "connections":
				place = role
			case name:
				if at == role {
					f(inner)
					continue
				}
			}
		}
		examples(inner, place, name, role, f)
	}
}

// flow is a node on one line.
func flow(n *yaml.Node) string {
	var plain func(n *yaml.Node) *yaml.Node
	plain = func(n *yaml.Node) *yaml.Node {
		c := &yaml.Node{Kind: n.Kind, Value: n.Value, Tag: n.Tag, Style: n.Style &^ (yaml.LiteralStyle | yaml.FoldedStyle)}
		if n.Kind != yaml.ScalarNode {
			c.Style = yaml.FlowStyle
		} else if strings.Contains(n.Value, "\n") {
			c.Style = yaml.DoubleQuotedStyle
		}
		for _, inner := range n.Content {
			c.Content = append(c.Content, plain(inner))
		}
		return c
	}
	text, _ := yaml.Marshal(plain(n)) // a node that was parsed
	return strings.TrimSpace(string(text))
}

// standIn is a value of the type, where no example has one.
func standIn(f *field) string {
	t := innermost(f.typ)
	switch kind := kindOf(t); {
	case len(f.enum) > 0:
		return f.enum[0]
	case isNumber(t) && f.min != nil:
		return fmt.Sprint(*f.min)
	case isNumber(t):
		return "0"
	case !isScalar(t):
		return "{}"
	default:
		return cmp.Or(map[string]string{
			"bool": "false", "duration": "10s", "size": "1MiB", "url": "scheme://host:1234", "condition": "true",
		}[kind], `""`)
	}
}

// write writes the entry, as one of a list or alone.
func (one *draft) write(b *bytes.Buffer, listed bool) {
	one.first = 1 + bytes.Count(b.Bytes(), []byte("\n"))
	indent, dash := "      ", ""
	if listed {
		indent, dash = indent+"  ", "- "
	}
	fmt.Fprintf(b, "      %s%s:", dash, one.name)
	if one.whole != "" {
		b.WriteString(" " + one.whole)
	}
	b.WriteString("\n")
	for _, k := range one.keys {
		comment := ""
		if !k.given {
			comment = "# "
		}
		line := fmt.Sprintf("%s  %s%s: %s", indent, comment, k.name, k.value)
		if k.doc != "" {
			line += " # " + strings.ReplaceAll(k.doc, "\n", " ")
		}
		b.WriteString(line + "\n")
	}
	one.last = bytes.Count(b.Bytes(), []byte("\n"))
}

// give writes the key that a mistake is about, or the next one of the example if it names none,
// from now on. It returns false if it cannot.
func (one *draft) give(e *Error) bool {
	key, _, _ := strings.Cut(e.Key, ".")
	i := slices.IndexFunc(one.keys, func(k draftKey) bool {
		return !k.given && (k.name == key || key == "" && k.shown)
	})
	if e.Line < one.first || e.Line > one.last || i < 0 {
		return false
	}
	one.keys[i].given = true
	return true
}
