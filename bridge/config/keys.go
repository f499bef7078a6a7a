package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Key is one key of settings, for help texts and for [FromKeys].
type Key struct {
	Name     string   // with dots for nesting; NAME stands for a key that the user chooses
	Type     string   // in words: "a text", "a duration like 10s"
	Required bool     // there is no default
	Default  string   // empty if that is the zero value
	Enum     []string // the texts that are allowed; nil if any is
	Doc      string   // what it is for, as the tag doc says

	// Path is the name with [] behind that of a list, and {} behind that of a mapping whose keys
	// the user chooses: headers{}, servers[].url.
	Path string

	// Kind is what the innermost value is: bool, integer, number, duration, size, secret, url,
	// template, condition, one of Go's types of integers, or a text if empty.
	Kind string

	Min, Max *float64 // of a number
	Short    bool     // a value in place of the mapping is this key's
	File     bool     // it is a path
	Own      bool     // if it comes from connections:, it is made different for each instance
}

// Keys lists the keys of settings, which [bridge.Opener] returned, in the
// order of the fields. It panics if they are no settings.
func Keys(settings any) []Key {
	return keys(nil, "", reflect.ValueOf(settings).Elem(), nil)
}

// Whole reports whether the value of their only key is the settings, so that nobody writes the key.
// It panics if they are no settings.
func Whole(settings any) bool {
	s, err := shapeOf(reflect.TypeOf(settings).Elem())
	if err != nil {
		panic(err)
	}
	return s.free()
}

// keys appends those of the struct v. within are the types around it.
func keys(all []Key, prefix string, v reflect.Value, within []reflect.Type) []Key {
	for _, t := range within {
		if t == v.Type() {
			return all
		}
	}
	s, err := shapeOf(v.Type())
	if err != nil {
		panic(err)
	}
	within = append(within, v.Type())
	for i := range s.fields {
		f := &s.fields[i]
		path, inner := prefix+f.name, v.FieldByIndex(f.index)
		for !isScalar(inner.Type()) && inner.Kind() != reflect.Struct && formOf(inner.Type()) == nil {
			switch inner.Kind() {
			case reflect.Slice:
				path += "[]"
			case reflect.Map:
				path += "{}"
			}
			inner = pointed(inner)
		}
		k := Key{
			Name: strings.NewReplacer("[]", "", "{}", ".NAME").Replace(path), Path: path, Required: f.required, Doc: f.doc,
			Default: cmp.Or(defaultText(v.FieldByIndex(f.index)),
				f.fallback), Enum: f.enum, Min: f.min, Max: f.max, Short: f.short, File: f.path, Own: f.own,
		}
		switch form := formOf(inner.Type()); {
		case form != nil:
			k.Type = form.words()
		case isScalar(inner.Type()):
			k.Type, k.Kind = keyType(f), kindOf(inner.Type())
		case len(f.enum) > 0: // a word may stand in place of the mapping
			all = append(all, k)
			fallthrough
		default:
			all = keys(all, path+".", inner, within)
			continue
		}
		all = append(all, k)
	}
	return all
}

// pointed returns what a pointer points to, or the zero value of what it, a slice or a
// map would hold.
func pointed(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		return v.Elem()
	}
	return reflect.Zero(v.Type().Elem())
}

// keyType says in words what the value of a key is, that of its entries for a map.
func keyType(f *field) string {
	t := f.typ
	if t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[bridge.Template]():
		return "a text with {{ }}"
	case reflect.TypeFor[bridge.Secret]():
		return "a secret text"
	}
	return typeName(t)
}

func defaultText(v reflect.Value) string {
	switch {
	case v.IsZero(), v.Kind() == reflect.Map, v.Kind() == reflect.Struct && !isScalar(v.Type()):
		return ""
	case v.Kind() == reflect.Slice && v.Len() == 1:
		return defaultText(v.Index(0))
	case v.Kind() == reflect.Pointer:
		return defaultText(v.Elem())
	}
	if t, ok := reflect.TypeAssert[bridge.Template](v); ok {
		text, _ := t.Constant()
		return text
	}
	return fmt.Sprint(v.Interface())
}
