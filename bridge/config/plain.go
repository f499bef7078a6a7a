package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// Plain returns what is set of settings as a JSON object that [DecodePlain] reads: durations,
// sizes, secrets, addresses, templates and conditions as texts, secrets as they are. What cannot
// have been set, be it a nil pointer, list or template, or an empty address, is left out. An error
// names the key that cannot be written.
func Plain(settings any) ([]byte, error) {
	x, err := plain("", reflect.ValueOf(settings).Elem())
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	return json.Marshal(x)
}

// plain returns v as encoding/json writes it. path is that of the keys around it.
func plain(path string, v reflect.Value) (any, error) {
	switch {
	case isFree(v.Type()):
		return plainFree(v)
	case isScalar(v.Type()):
		return plainScalar(path, v)
	case v.Kind() == reflect.Pointer:
		return plain(path, v.Elem())
	case v.Kind() == reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			item, err := plain(path, v.Index(i))
			if err != nil {
				return nil, err
			}
			list[i] = item
		}
		return list, nil
	case v.Kind() == reflect.Map:
		all := make(map[string]any, v.Len())
		for _, key := range v.MapKeys() {
			if !utf8.ValidString(key.String()) {
				return nil, fmt.Errorf("%s: a key is not valid UTF-8", path)
			}
			item, err := plain(path+"."+key.String(), v.MapIndex(key))
			if err != nil {
				return nil, err
			}
			all[key.String()] = item
		}
		return all, nil
	}
	s, err := shapeOf(v.Type())
	if err != nil {
		return nil, err
	}
	if path != "" {
		path += "."
	}
	all := make(map[string]any, len(s.fields))
	for i := range s.fields {
		f := &s.fields[i]
		if inner := v.FieldByIndex(f.index); !f.unset(inner) {
			if all[f.name], err = plain(path+f.name, inner); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// unset reports whether a value could not have been written in a file.
func (f *field) unset(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	case reflect.String:
		return v.String() == "" && len(f.enum) > 0 && !slices.Contains(f.enum, "")
	}
	if u, ok := reflect.TypeAssert[bridge.URL](v); ok {
		return u.IsZero()
	}
	return isNumber(v.Type()) && v.IsZero() && f.within(0) != ""
}

func plainScalar(path string, v reflect.Value) (any, error) {
	var text string
	switch x := v.Interface().(type) {
	case time.Duration:
		text = x.String()
	case bridge.Size:
		text = strconv.FormatInt(int64(x), 10)
	case bridge.Secret:
		text = x.Reveal()
	case bridge.URL:
		text = x.Reveal()
	case bridge.Text:
		text = expr.Literal(string(x))
	case bridge.Template, bridge.Condition:
		s, ok := x.(fmt.Stringer)
		if !ok {
			return nil, fmt.Errorf("%s: a %T does not tell its text", path, x)
		}
		text = s.String()
	default:
		if v.Kind() != reflect.String {
			return x, nil
		}
		text = v.String()
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s: the text is not valid UTF-8", path)
	}
	return text, nil
}

// DecodePlain reads a JSON object as [Plain] writes it into the struct that target points to, with
// the rules of all configuration, but that ${…} is not filled in. An error is [Errors], without
// lines and columns.
func DecodePlain(text []byte, target any) error {
	r := Loader{}.start()
	r.verbatim = true
	w := &walker{document: &document{run: r, file: "settings"}}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	n, err := readNode(d)
	if _, more := d.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("there is more than one JSON value")
	}
	if err != nil {
		w.fail(nil, err.Error(), "")
	} else {
		w.value(n, reflect.ValueOf(target).Elem(), &field{name: w.file})
	}
	return r.errs.tidy()
}

// nodeOf makes of a JSON value the node that a file would have.
func nodeOf(value any) *yaml.Node {
	switch v := value.(type) {
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v {
			n.Content = append(n.Content, nodeOf(item))
		}
		return n
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, textNode(key), nodeOf(v[key]))
		}
		return n
	}
	return textNode(fmt.Sprint(value))
}
