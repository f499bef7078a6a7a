package config

import (
	"reflect"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Places knows where the keys of a file are that was decoded, for mistakes that are found later.
type Places struct{ doc *document }

// Error returns a mistake at a key: path has dots for nesting, and numbers, from 0, for the items
// of lists. It is at what is deepest of the path in the file.
func (p Places) Error(path, message, hint string) *Error {
	e := &Error{File: p.doc.file, Message: message, Hint: hint}
	n := p.doc.root
	if n != nil {
		if at := find(n, path); at != nil {
			n = at
		}
		e.Line, e.Col = n.Line, n.Column
	}
	return e
}

// Templates returns the templates in settings that are set, by key, with dots for nesting.
func Templates(settings any) map[string]bridge.Template {
	all := make(map[string]bridge.Template)
	templates(all, "", reflect.ValueOf(settings))
	return all
}

func templates(all map[string]bridge.Template, path string, v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[bridge.Template]():
		if !v.IsNil() {
			all[path] = v.Interface().(bridge.Template)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		templates(all, path, v.Elem())
	case v.Kind() == reflect.Map && !isScalar(v.Type()):
		for _, key := range v.MapKeys() {
			templates(all, under(path, key.String()), v.MapIndex(key))
		}
	case v.Kind() == reflect.Struct && !isScalar(v.Type()):
		s, err := shapeOf(v.Type())
		for i := 0; err == nil && i < len(s.fields); i++ {
			templates(all, under(path, s.fields[i].name), v.FieldByIndex(s.fields[i].index))
		}
	}
}

func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// item returns the item of a list that a part of a path names, nil if there is none.
func item(n *yaml.Node, number string) *yaml.Node {
	for i, item := range n.Content {
		if n.Kind == yaml.SequenceNode && strconv.Itoa(i) == number {
			return item
		}
	}
	return nil
}
