package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// Encode returns settings as a JSON object that [Loader.DecodeText] reads as the same settings: complete with
// defaults, secrets in plain text, and every ${ written as $${. What is not set, be it a nil pointer, list, template or
// an empty address, is left out. An error names the key that cannot be written.
func Encode(settings any) ([]byte, error) {
	var e encoder
	if err := e.structure("", reflect.ValueOf(settings).Elem()); err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	return e.Bytes(), nil
}

type encoder struct{ bytes.Buffer }

func (e *encoder) structure(path string, v reflect.Value) error {
	s, err := shapeOf(v.Type())
	if err != nil {
		return err
	}
	e.WriteByte('{')
	first := true
	for i := range s.fields {
		f := &s.fields[i]
		inner := v.FieldByIndex(f.index)
		if absent(inner) || inner.IsZero() && f.unset(inner) {
			continue
		}
		if !first {
			e.WriteByte(',')
		}
		first = false
		e.text(f.name)
		e.WriteByte(':')
		if err := e.value(path+f.name, inner); err != nil {
			return err
		}
	}
	e.WriteByte('}')
	return nil
}

// absent reports whether a value is one that cannot be written.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	}
	u, ok := reflect.TypeAssert[bridge.URL](v)
	return ok && u.IsZero()
}

// unset reports whether a zero value could not have been written in a file.
func (f *field) unset(v reflect.Value) bool {
	switch {
	case v.Kind() == reflect.String:
		return len(f.enum) > 0 && !slices.Contains(f.enum, "")
	case isNumber(v.Type()):
		return f.within(0) != ""
	}
	return false
}

func (e *encoder) value(path string, v reflect.Value) error {
	switch {
	case isScalar(v.Type()):
		return e.scalar(path, v)
	case v.Kind() == reflect.Pointer:
		return e.value(path, v.Elem())
	case v.Kind() == reflect.Struct:
		return e.structure(path+".", v)
	case v.Kind() == reflect.Slice:
		e.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				e.WriteByte(',')
			}
			if err := e.value(path, v.Index(i)); err != nil {
				return err
			}
		}
		e.WriteByte(']')
		return nil
	}
	e.WriteByte('{')
	keys := v.MapKeys()
	for i, key := range keys {
		if i > 0 {
			e.WriteByte(',')
		}
		if !utf8.ValidString(key.String()) {
			return fmt.Errorf("%s: a key is not valid UTF-8", path)
		}
		e.text(key.String())
		e.WriteByte(':')
		if err := e.value(path+"."+key.String(), v.MapIndex(key)); err != nil {
			return err
		}
	}
	e.WriteByte('}')
	return nil
}

func (e *encoder) scalar(path string, v reflect.Value) error {
	if !v.CanInterface() {
		return fmt.Errorf("%s: the field is not exported", path)
	}
	var text string
	switch x := v.Interface().(type) {
	case time.Duration:
		text = x.String()
	case bridge.Size:
		text = strconv.FormatInt(int64(x), 10)
	case bridge.Secret:
		text = x.Reveal()
	case bridge.URL:
		text = x.URL.String()
	case bridge.Text:
		text = expr.Literal(string(x))
	case bridge.Template, bridge.Condition:
		s, ok := x.(fmt.Stringer)
		if !ok {
			return fmt.Errorf("%s: a %T does not tell its text", path, x)
		}
		text = s.String()
	default:
		return e.basic(path, v)
	}
	return e.quoted(path, text)
}

func (e *encoder) basic(path string, v reflect.Value) error {
	switch {
	case v.Kind() == reflect.String:
		return e.quoted(path, v.String())
	case v.Kind() == reflect.Bool:
		e.WriteString(strconv.FormatBool(v.Bool()))
	case v.CanInt():
		e.WriteString(strconv.FormatInt(v.Int(), 10))
	case v.CanUint():
		e.WriteString(strconv.FormatUint(v.Uint(), 10))
	default:
		text := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		if !decimalNumber.MatchString(text) {
			return fmt.Errorf("%s: %s is not a number that can be written", path, text)
		}
		e.WriteString(text)
	}
	return nil
}

// quoted writes a text whose ${ must not be filled in.
func (e *encoder) quoted(path, text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%s: the text is not valid UTF-8", path)
	}
	e.text(strings.ReplaceAll(text, "${", "$${"))
	return nil
}

// text writes a JSON string that YAML reads alike: what YAML takes for unprintable is escaped.
func (e *encoder) text(s string) {
	e.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			e.WriteByte('\\')
			e.WriteRune(r)
		case r == '\n':
			e.WriteString(`\n`)
		case r < 0x20, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
			_, _ = fmt.Fprintf(e, `\u%04x`, r)
		default:
			e.WriteRune(r)
		}
	}
	e.WriteByte('"')
}
