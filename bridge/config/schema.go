package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Formats of texts in a schema, and the types that they stand for.
var formats = map[reflect.Type]string{
	reflect.TypeFor[time.Duration]():    "duration",
	reflect.TypeFor[bridge.Size]():      "size",
	reflect.TypeFor[bridge.Secret]():    "password",
	reflect.TypeFor[bridge.URL]():       "uri",
	reflect.TypeFor[bridge.Template]():  "template",
	reflect.TypeFor[bridge.Condition](): "condition",
}

// Schema returns the JSON Schema of settings, which [bridge.Opener] returned: an object whose properties are the keys in
// the order of the fields, with their defaults. It panics if they are no settings.
func Schema(settings any) []byte {
	var e encoder
	if err := e.schema(reflect.ValueOf(settings).Elem()); err != nil {
		panic(err)
	}
	return e.Bytes()
}

// schema writes that of the struct v.
func (e *encoder) schema(v reflect.Value) error {
	s, err := shapeOf(v.Type())
	if err != nil {
		return err
	}
	e.WriteString(`{"type":"object","additionalProperties":false,"properties":{`)
	var required []string
	for i := range s.fields {
		f := &s.fields[i]
		if i > 0 {
			e.WriteByte(',')
		}
		e.text(f.name)
		e.WriteByte(':')
		if err := e.property(f, v.FieldByIndex(f.index)); err != nil {
			return err
		}
		if f.required {
			required = append(required, f.name)
		}
	}
	e.WriteByte('}')
	if required != nil {
		e.WriteString(`,"required":`)
		e.json(required)
	}
	e.WriteByte('}')
	return nil
}

// property writes the schema of one key, whose default is v.
func (e *encoder) property(f *field, v reflect.Value) error {
	e.WriteByte('{')
	if err := e.typed(f, v); err != nil {
		return err
	}
	if f.short {
		e.WriteString(`,"x-short":true`)
	}
	if f.own {
		e.WriteString(`,"x-own":true`)
	}
	if v.Kind() == reflect.Pointer && v.IsNil() {
		e.WriteString(`,"x-optional":true`)
	}
	// The defaults of a mapping are those of its keys.
	if k := v.Kind(); !v.IsZero() && (k != reflect.Struct || isScalar(v.Type())) && k != reflect.Pointer {
		e.WriteString(`,"default":`)
		if err := e.value(f.name, v); err != nil {
			return err
		}
	}
	e.WriteByte('}')
	return nil
}

// typed writes type and what belongs to it.
func (e *encoder) typed(f *field, v reflect.Value) error {
	t := v.Type()
	if format := formats[t]; format != "" {
		e.WriteString(`"type":"string","format":"` + format + `"`)
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		e.WriteString(`"type":"string"`)
		if f.enum != nil {
			e.WriteString(`,"enum":`)
			e.json(f.enum)
		}
	case reflect.Bool:
		e.WriteString(`"type":"boolean"`)
	case reflect.Float64:
		e.WriteString(`"type":"number"`)
		e.bounds(f)
	case reflect.Pointer:
		return e.typed(f, pointed(v))
	case reflect.Slice:
		e.WriteString(`"type":"array","items":{`)
		if err := e.typed(f, reflect.Zero(t.Elem())); err != nil {
			return err
		}
		e.WriteByte('}')
	case reflect.Map:
		e.WriteString(`"type":"object","additionalProperties":{`)
		if err := e.typed(f, reflect.Zero(t.Elem())); err != nil {
			return err
		}
		e.WriteByte('}')
	case reflect.Struct:
		var inner encoder
		if err := inner.schema(v); err != nil {
			return err
		}
		text := inner.Bytes()
		e.Write(text[1 : len(text)-1]) // without its braces
	default:
		e.WriteString(`"type":"integer"`)
		e.WriteString(`,"x-kind":"` + t.Kind().String() + `"`)
		e.bounds(f)
	}
	return nil
}

func (e *encoder) bounds(f *field) {
	if f.min != nil {
		e.WriteString(`,"minimum":` + strconv.FormatFloat(*f.min, 'f', -1, 64))
	}
	if f.max != nil {
		e.WriteString(`,"maximum":` + strconv.FormatFloat(*f.max, 'f', -1, 64))
	}
}

func (e *encoder) json(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // lists of texts always can
	}
	e.Write(text)
}
