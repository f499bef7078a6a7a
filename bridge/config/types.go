package config

import (
	"reflect"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// The types that are written as one text, apart from the basic kinds.
func special(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration like 10s"
	case reflect.TypeFor[bridge.Size]():
		return "a size like 100MB"
	case reflect.TypeFor[bridge.Secret]():
		return "a text"
	case reflect.TypeFor[bridge.URL]():
		return "a URL"
	case reflect.TypeFor[bridge.Template]():
		return "a text"
	case reflect.TypeFor[bridge.Condition]():
		return "a condition"
	}
	return ""
}

// isScalar reports whether values of the type are written as one text.
func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return special(t) != ""
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
	if name := special(t); name != "" {
		return name
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
		if s := listName(t.Elem()); s != "" {
			return typeName(t.Elem()) + " or a list of " + s
		}
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	}
	return "a whole number"
}

func listName(t reflect.Type) string {
	switch typeName(t) {
	case "a text":
		return "texts"
	case "a URL":
		return "URLs"
	case "a whole number":
		return "whole numbers"
	case "a mapping":
		return "mappings"
	}
	return ""
}
