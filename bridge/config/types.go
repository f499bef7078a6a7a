package config

import (
	"reflect"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// special are the types that are written as one text, apart from basic ones: the [Key.Kind] of
// each, and what its values are in words.
var special = map[reflect.Type]struct{ kind, words string }{
	reflect.TypeFor[time.Duration]():    {"duration", "a duration like 10s"},
	reflect.TypeFor[bridge.Size]():      {"size", "a size like 100MB"},
	reflect.TypeFor[bridge.Secret]():    {"secret", "a text"},
	reflect.TypeFor[bridge.URL]():       {"url", "a URL"},
	reflect.TypeFor[bridge.Template]():  {"template", "a text"},
	reflect.TypeFor[bridge.Condition](): {"condition", "a condition"},
	reflect.TypeFor[bridge.Value]():     {"value", "any value"},
	reflect.TypeFor[bridge.Fields]():    {"fields", "a mapping of names to any values"},
}

// basic are the others.
var basic = []reflect.Type{
	reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[float64](), reflect.TypeFor[int64](),
	reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[uint](),
	reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](),
}

// kindOf returns the [Key.Kind] of a scalar.
func kindOf(t reflect.Type) string {
	if s, is := special[t]; is {
		return s.kind
	}
	switch t.Kind() {
	case reflect.String:
		return ""
	case reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int64:
		return "integer"
	}
	return t.Kind().String()
}

// typeOf returns the type of a [Key.Kind], nil if there is none.
func typeOf(kind string) reflect.Type {
	for t, s := range special {
		if s.kind == kind {
			return t
		}
	}
	for _, t := range basic {
		if kindOf(t) == kind {
			return t
		}
	}
	return nil
}

// isScalar reports whether values of the type are written as one text.
func isScalar(t reflect.Type) bool {
	_, is := special[t]
	return is || t.Kind() == reflect.String || t.Kind() == reflect.Bool || isNumber(t)
}

// isNumber reports whether the type is a number without a unit.
func isNumber(t reflect.Type) bool {
	_, is := special[t]
	return !is && (reflect.Zero(t).CanInt() || reflect.Zero(t).CanUint() || t.Kind() == reflect.Float64)
}

// supported reports whether settings may have fields of the type.
func supported(t reflect.Type) bool {
	switch {
	case isScalar(t), t.Kind() == reflect.Struct:
		return true
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice:
		return supported(t.Elem())
	}
	return t.Kind() == reflect.Map && t.Key().Kind() == reflect.String && supported(t.Elem())
}

// typeName says in words what a value of the type is.
func typeName(t reflect.Type) string {
	if s, is := special[t]; is {
		return s.words
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		switch one := typeName(t.Elem()); one {
		case "a text", "a URL", "a whole number", "a mapping":
			return one + " or a list of " + one[len("a "):] + "s"
		}
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	}
	return "a whole number"
}
