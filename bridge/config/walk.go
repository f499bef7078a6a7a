package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// walker decodes nodes of one document into settings.
type walker struct {
	*document
	failed int  // mistakes found
	quiet  bool // they have been reported before
}

func (w *walker) fail(n *yaml.Node, message, hint string) {
	w.failed++
	if !w.quiet {
		w.document.fail(n, message, hint)
	}
}

// value decodes n into v, which holds the default, as the field f says.
func (w *walker) value(n *yaml.Node, v reflect.Value, f *field) {
	switch {
	case w.bad[n]:
		w.failed++
	case isNull(n):
		w.fail(n, f.name+" has no value", `remove the key, or write "" for the empty text`)
	case isScalar(v.Type()):
		w.scalar(n, v, f)
	case v.Kind() == reflect.Pointer:
		// The default that it points to belongs to the connector.
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		w.value(n, p.Elem(), f)
		v.Set(p)
	case v.Kind() == reflect.Struct:
		w.structure(n, v, f)
	case v.Kind() == reflect.Slice:
		w.slice(n, v, f)
	case v.Kind() == reflect.Map:
		w.stringMap(n, v, f)
	}
}

func (w *walker) slice(n *yaml.Node, v reflect.Value, f *field) {
	items := []*yaml.Node{n}
	elem := v.Type().Elem()
	switch {
	case n.Kind == yaml.SequenceNode:
		items = n.Content
	case n.Kind == yaml.MappingNode && isScalar(elem):
		w.wrong(n, v.Type(), f)
		return
	}
	if len(items) == 0 && f.required {
		w.fail(n, f.name+" is an empty list", "")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		w.value(item, list.Index(i), f)
	}
	v.Set(list)
}

func (w *walker) stringMap(n *yaml.Node, v reflect.Value, f *field) {
	if n.Kind != yaml.MappingNode {
		w.wrong(n, v.Type(), f)
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	w.pairs(n, func(key, value *yaml.Node) {
		if strings.Contains(key.Value, "${") {
			w.fail(key, "${…} is not filled in within keys", "")
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		w.value(value, item, &field{name: key.Value, enum: f.enum})
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
	v.Set(m)
}

// structure decodes n into a struct that is not shared with a connection.
func (w *walker) structure(n *yaml.Node, v reflect.Value, f *field) {
	s, err := w.shape(v.Type())
	if err != nil {
		w.fail(n, err.Error(), programmers)
		return
	}
	before := w.failed
	set := make(map[string]bool)
	if !w.object(n, v, s, set, s.names()) {
		w.wrong(n, v.Type(), f)
		return
	}
	w.finish([]place{{w.document, n}}, v, s, set, before)
}

// object decodes the keys of n into the struct v, and notes them in set. It
// returns false if n is neither a mapping nor stands for one.
func (w *walker) object(n *yaml.Node, v reflect.Value, s *shape, set map[string]bool, allowed []string) bool {
	if n.Kind != yaml.MappingNode {
		if s.short == nil {
			return false
		}
		set[s.short.name] = true
		w.value(n, v.FieldByIndex(s.short.index), s.short)
		return true
	}
	w.pairs(n, func(key, value *yaml.Node) {
		f := s.byName[key.Value]
		if f == nil {
			mend := hint(key.Value, "keys here", allowed)
			if slices.Contains(step.beside, key.Value) {
				mend = "it stands beside the connector, not among its settings"
			}
			w.fail(key, "unknown key "+quoteName(key.Value), mend)
			set[nearest(key.Value, allowed)] = true // one mistake, not another for a key that is missing
			return
		}
		set[f.name] = true
		w.value(value, v.FieldByIndex(f.index), f)
	})
	return true
}

// connectionKey is the key that names a connection. It is in the set of keys if
// the connection has a mistake, and nobody can tell which keys are missing.
const connectionKey = "connection"

// programmers is the hint for mistakes in the Go code of a connector.
const programmers = "this is a mistake in the connector"

// finish checks what can be said of v when all keys are set: places are where
// they are written, the first one being that of the mapping.
func (w *walker) finish(places []place, v reflect.Value, s *shape, set map[string]bool, before int) {
	for i := range s.fields {
		if f := &s.fields[i]; f.required && !set[f.name] && !set[connectionKey] {
			w.fail(places[0].node, "the key "+f.name+" is missing", "it must be "+typeName(f.typ))
		}
	}
	if w.failed > before {
		return
	}
	for _, index := range append([][]int{nil}, s.inlines...) {
		w.validate(places, v.FieldByIndex(index))
	}
}

// validate calls the method Validate of v or *v, if there is one.
func (w *walker) validate(places []place, v reflect.Value) {
	// An embedded struct may be of an unexported type, which Interface refuses.
	p := reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Interface()
	if checked, ok := p.(interface{ Validate() error }); ok {
		w.report(places, checked.Validate())
	}
}

// report records the errors of Validate at the keys that they name.
func (w *walker) report(places []place, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			w.report(places, e)
		}
		return
	}
	if k, ok := errors.AsType[*bridge.KeyError](err); ok {
		for _, p := range places {
			if n := find(p.node, k.Key); n != nil {
				w.failed++
				p.doc.fail(n, k.Error(), "")
				w.errs[len(w.errs)-1].Key = k.Key
				return
			}
		}
	}
	w.fail(places[0].node, err.Error(), "")
	if k, ok := errors.AsType[*bridge.KeyError](err); ok && !w.quiet {
		w.errs[len(w.errs)-1].Key = k.Key
	}
}

// find returns the node of the key with that dotted path, as deep as it is
// written; nil if nothing of it is.
func find(n *yaml.Node, path string) *yaml.Node {
	name, rest, _ := strings.Cut(path, ".")
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != name {
			continue
		}
		if deeper := find(n.Content[i+1], rest); rest != "" && deeper != nil {
			return deeper
		}
		return n.Content[i]
	}
	return nil
}

// wrong records that n is not what the type wants.
func (w *walker) wrong(n *yaml.Node, t reflect.Type, f *field) {
	w.fail(n, f.name+" must be "+typeName(t)+", not "+kind(n), "")
}
