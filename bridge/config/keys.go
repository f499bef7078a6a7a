package config

import (
	"fmt"
	"reflect"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Key is one key of settings, for help texts.
type Key struct {
	Name     string   // with dots for nesting; NAME stands for a key that the user chooses
	Type     string   // in words: "a text", "a duration like 10s"
	Required bool     // there is no default
	Default  string   // empty if that is the zero value
	Enum     []string // the texts that are allowed; nil if any is
}

// Keys lists the keys of settings, which [bridge.Opener] returned, in the
// order of the fields. It panics if they are no settings.
func Keys(settings any) []Key {
	return keys(nil, "", reflect.ValueOf(settings).Elem(), nil)
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
		name, inner, nested := prefix+f.name, v.FieldByIndex(f.index), false
		for !isScalar(inner.Type()) && !nested {
			switch inner.Kind() {
			case reflect.Pointer, reflect.Slice:
				inner = pointed(inner)
				continue
			case reflect.Map:
				name, inner = name+".NAME", reflect.Zero(inner.Type().Elem())
				continue
			}
			nested = true
		}
		if nested && inner.Kind() == reflect.Struct {
			all = keys(all, name+".", inner, within)
			continue
		}
		all = append(all, Key{
			Name: name, Type: keyType(f), Required: f.required,
			Default: defaultText(v.FieldByIndex(f.index)), Enum: f.enum,
		})
	}
	return all
}

// pointed returns what a pointer points to, or the zero value of what it or a
// slice would hold.
func pointed(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		return v.Elem()
	}
	return reflect.Zero(v.Type().Elem())
}

// keyType says in words what the value of a key is, that of its entries for a map.
func keyType(f *field) string {
	t := f.typ
	if t.Kind() == reflect.Map {
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
	case v.IsZero(), v.Kind() == reflect.Map:
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
