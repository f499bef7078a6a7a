package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// walker decodes nodes of one document into settings.
type walker struct {
	*document
	failed  int     // mistakes found
	foreign int     // those of them that are about the connection, which others keys may stand in
	quiet   bool    // they have been reported before
	path    string  // what the names of keys begin with here: "birth."
	item    *string // what ${list:…} stands for here; nil where no list is wanted
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
	case isNull(n) && !isFree(v.Type()):
		w.fail(n, f.name+" has no value", `remove the key, or write "" for the empty text`)
	case w.omits(n):
	case isScalar(v.Type()):
		w.scalar(n, v, f)
		if v.Type() == reflect.TypeFor[bridge.Template]() {
			w.doubtful(n, f.name)
		}
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
	case n.Kind == yaml.MappingNode && isScalar(elem) && !isFree(elem):
		w.wrong(n, v.Type(), f)
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, len(items))
	add := func(n *yaml.Node, item *string) {
		one := reflect.New(elem).Elem()
		w.item = item
		w.value(n, one, f)
		w.item = nil
		list = reflect.Append(list, one)
	}
	before := w.failed
	for _, item := range items {
		if w.omits(item) {
			continue
		}
		if texts, is := w.list(item); is && isScalar(elem) && !isFree(elem) {
			for i := range texts {
				add(item, &texts[i])
			}
		} else {
			add(item, nil)
		}
	}
	if list.Len() == 0 && f.required && w.failed == before {
		w.fail(n, f.name+" is an empty list", "")
		return
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
		if !w.asWritten(key) {
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		its := *f
		its.required = false
		w.under(key.Value, func(path string) { its.name = path; w.value(value, item, &its) })
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
	v.Set(m)
}

// asWritten reports whether a key of the user's own is that very text, as people will expect.
func (w *walker) asWritten(key *yaml.Node) bool {
	switch {
	case w.verbatim:
	case strings.Contains(key.Value, "${"):
		w.fail(key, "${…} is not filled in within keys", "")
		return false
	case strings.Contains(key.Value, "{{"):
		w.fail(key, "{{ … }} is not filled in within keys",
			`a mapping with such a key is an expression as a whole: "{{ {(topic): 1} }}"`)
		return false
	}
	return true
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
	if n.Kind != yaml.MappingNode || s.free() && !w.verbatim {
		if s.short == nil {
			return false
		}
		set[s.short.name] = true
		before := len(w.errs)
		w.value(n, v.FieldByIndex(s.short.index), s.short)
		if len(allowed) > 1 && n.Kind == yaml.ScalarNode && len(w.errs) > before {
			e := w.errs[before]
			e.Hint = strings.TrimPrefix(e.Hint+"; or under it the keys "+strings.Join(allowed, ", "), "; ")
		}
		return true
	}
	w.pairs(n, func(key, value *yaml.Node) {
		f := s.byName[key.Value]
		if f == nil {
			meant := s.meant(key.Value, allowed)
			mend := hint(cmp.Or(meant, key.Value), "keys here", allowed)
			if slices.Contains(step.beside, key.Value) {
				mend = "it stands beside the connector, not among its settings"
			} else if meant == "" && w.isStep(key.Value) {
				mend = "it is a step, and stands in the list steps beside from and to"
			}
			w.fail(key, "unknown key "+quoteName(key.Value), mend)
			set[meant] = true // one mistake, not another for a key that is missing
			return
		}
		set[f.name] = true
		w.under(f.name, func(path string) {
			inner := *f
			inner.name = path
			w.value(value, v.FieldByIndex(f.index), &inner)
		})
	})
	return true
}

// isStep reports whether there is a step of that name, as far as it is known.
func (w *walker) isStep(name string) bool {
	if w.Registry == nil { // what is decoded is no pipeline file
		return false
	}
	c, ok := w.Registry.Lookup(name)
	return ok && c.Step != nil
}

// under calls f with the path of a key, while errors name what is in its value by longer paths.
func (w *walker) under(key string, f func(path string)) {
	before := w.path
	w.path += key + "."
	f(before + key)
	w.path = before
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
			w.fail(places[0].node, "the key "+w.path+f.name+" is missing", "it must be "+typeName(f.typ))
		}
	}
	if w.failed > before {
		return
	}
	for _, index := range append([][]int{nil}, s.inlines...) {
		w.validate(places, v.FieldByIndex(index))
	}
}

// validate calls the methods OneRun, on a command line, and Validate of v or *v, if there are such.
// Without its connection v may lack what is required.
func (w *walker) validate(places []place, v reflect.Value) {
	defer func() {
		if r := recover(); r != nil {
			w.fail(places[0].node, w.told(fmt.Sprintf("%s.Validate panics: %v", v.Type(), r), "", places), programmers)
		}
	}()
	// An embedded struct may be of an unexported type, which Interface refuses.
	p := reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Interface()
	if once, ok := p.(bridge.OneRunner); ok && w.shown {
		once.OneRun()
	}
	if checked, ok := p.(interface{ Validate() error }); ok {
		w.report(places, checked.Validate())
	}
}

// report records the errors of Validate at the keys that they name. Where the connection is
// missing, that is only of keys that are written.
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
	at, text, key := places[0], err.Error(), ""
	written := false
	if k, ok := errors.AsType[*bridge.KeyError](err); ok {
		key = k.Key
		for _, p := range places {
			if n := find(p.node, key); n != nil && !written {
				at, text, written = place{p.doc, n}, k.Error(), true
			}
		}
	}
	if !written && w.foreign > 0 {
		return
	}
	text = w.told(text, key, places)
	nodes := []*yaml.Node{at.node}
	for _, p := range places {
		if key == "" {
			nodes = append(nodes, p.node)
		}
	}
	if !at.doc.surely(text, nodes...) || w.guesses.only() || w.guesses != nil && strings.Contains(text, "${") {
		return
	}
	w.failed++
	if !w.quiet {
		before := len(w.errs)
		at.doc.fail(at.node, text, "")
		for _, e := range w.errs[before:] {
			e.Key = key
		}
	}
}

// find returns the node of the key with that dotted path, as deep as it is
// written; nil if nothing of it is.
func find(n *yaml.Node, path string) *yaml.Node {
	name, rest, _ := strings.Cut(path, ".")
	if one := item(n, name); one != nil {
		return cmp.Or(find(one, rest), one)
	}
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
	mend := ""
	if t.Kind() == reflect.Struct && !isScalar(t) {
		if s, err := w.shape(t); err == nil {
			if mend = hint("", "its keys", s.names()); len(s.required()) > 0 {
				mend = "write " + f.name + ": {" + strings.Join(s.required(), ": …, ") + ": …}"
			}
		}
	}
	w.fail(n, f.name+" must be "+typeName(t)+", not "+kind(n), mend)
}
