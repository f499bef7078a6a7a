package config

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// isFree reports whether values of the type are written as any node.
func isFree(t reflect.Type) bool {
	return t == reflect.TypeFor[bridge.Value]() || t == reflect.TypeFor[bridge.Fields]()
}

// free decodes a value that may be any node.
func (w *walker) free(n *yaml.Node, v reflect.Value, f *field) {
	before := w.failed
	var made any
	switch {
	case v.Type() == reflect.TypeFor[bridge.Value]():
		made = w.anyValue(n, f.name)
	case n.Kind == yaml.MappingNode:
		made = w.fields("", n)
	default:
		w.wrong(n, v.Type(), f)
	}
	if w.failed == before {
		v.Set(reflect.ValueOf(made))
	}
}

// anyValue returns the value that n is, nil if there is a mistake in it.
func (w *walker) anyValue(n *yaml.Node, name string) bridge.Value {
	switch {
	case w.bad[n]:
		w.failed++
		return nil
	case n.Kind == yaml.MappingNode:
		return expr.Mapping(w.fields("", n))
	case n.Kind == yaml.SequenceNode:
		items := make([]bridge.Value, 0, len(n.Content))
		for _, item := range n.Content {
			if !w.omits(item) {
				items = append(items, w.anyValue(item, name))
			}
		}
		return expr.List(items)
	case n.Kind != yaml.ScalarNode:
		w.fail(n, name+" must be a value, not "+kind(n), "")
		return nil
	}
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch tag := n.ShortTag(); {
	case quoted:
	case tag == "!!null":
		return expr.Constant(nil)
	case tag == "!!bool":
		return expr.Constant(strings.EqualFold(n.Value, "true"))
	case tag == "!!int" || tag == "!!float":
		if json.Valid([]byte(n.Value)) {
			return expr.Constant(json.Number(n.Value))
		}
		w.fail(n, quote(n.Value)+" is not written as a number of JSON", "write it so, or in quotes to have it as a text")
		return nil
	}
	w.doubtful(n, name)
	made := expr.Constant(nil)
	before := w.failed
	w.guessed(n, reflect.ValueOf(""), new(field), func() { made = w.textValue(n) })
	switch {
	case w.failed > before:
		return nil
	case made == nil: // nobody knows what it will be
		return expr.Constant(nil)
	}
	return made
}

// textValue returns the value that a text is, nil if there is a mistake in it.
func (w *walker) textValue(n *yaml.Node) bridge.Value {
	before := w.failed
	parts, err := expr.Split(n.Value)
	for i := range parts {
		parts[i] = w.expandPart(n, parts[i])
	}
	if w.failed > before {
		return nil
	}
	if err == nil {
		v, e := parts.Value()
		if err = e; err == nil {
			return v
		}
	}
	w.mistake(n, err)
	return nil
}

// fields returns the values of a mapping in order. Those of a command line come as mappings for
// each dot in a name.
func (w *walker) fields(prefix string, n *yaml.Node) (all bridge.Fields) {
	w.pairs(n, func(key, value *yaml.Node) {
		name := prefix + key.Value
		switch {
		case w.omits(value):
		case !w.asWritten(key):
		case n.Line == 0 && !w.verbatim && value.Kind == yaml.MappingNode:
			all = append(all, w.fields(name+".", value)...)
		default:
			w.under(key.Value, func(path string) {
				all = append(all, bridge.Field{Name: name, Value: w.anyValue(value, path)})
			})
		}
	})
	return all
}

// plainFree returns what free reads again.
func plainFree(v reflect.Value) (any, error) {
	made := v.Interface()
	if fields, ok := made.(bridge.Fields); ok {
		made = expr.Mapping(fields)
	}
	b, err := json.Marshal(made)
	return json.RawMessage(b), err
}

// readNode reads the node of a JSON value that a file would have, its keys in their order.
func readNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for d.More() {
			item, err := readNode(d)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		if _, err = d.Token(); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	case string:
		return textNode(t), nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(string(t), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: string(t)}, nil
	case bool:
		if t {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}, nil
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "false"}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
}
