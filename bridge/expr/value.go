package expr

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Value compiles the parts to a text, or to the value of the expression if they are one alone. It
// marshals as the text that it was compiled from, as all values of this package do. An error is an
// [*Error].
func (ps Parts) Value() (bridge.Value, error) {
	if len(ps) == 1 && ps[0].Code {
		p, err := compile(ps[0])
		if err != nil {
			return nil, err
		}
		return &alone{text: "{{" + ps[0].filled() + "}}", program: p}, nil
	}
	t, err := ps.Template()
	if err != nil {
		return nil, err
	}
	if text, ok := t.Constant(); ok {
		return Constant(text), nil
	}
	return mixed{t.(*template)}, nil
}

// Constant returns the value that is always v: nil, true, false, a text, or a [json.Number], which
// keeps its digits.
func Constant(v any) bridge.Value {
	c := constant{value: v, source: v}
	c.json, _ = appendJSON(nil, v)
	c.text = c.json
	switch v := v.(type) {
	case string:
		c.text, c.source = []byte(v), Literal(v)
	case json.Number:
		c.value = number(string(v))
	}
	return c
}

type constant struct {
	value      any
	source     any // what marshals
	text, json []byte
}

func (c constant) AppendJSON(b []byte, _ *bridge.Message) ([]byte, error) {
	return append(b, c.json...), nil
}

func (c constant) AppendText(b []byte, _ *bridge.Message) ([]byte, error) {
	return append(b, c.text...), nil
}
func (c constant) Eval(*bridge.Message) (any, error) { return c.value, nil }
func (c constant) MarshalJSON() ([]byte, error)      { return json.Marshal(c.source) }

// mixed is a text with expressions in it.
type mixed struct{ *template }

func (x mixed) AppendText(b []byte, m *bridge.Message) ([]byte, error) {
	text, err := x.Render(m)
	return append(b, text...), err
}

func (x mixed) AppendJSON(b []byte, m *bridge.Message) ([]byte, error) {
	text, err := x.Render(m)
	if err != nil {
		return nil, err
	}
	return appendString(b, text)
}

func (x mixed) Eval(m *bridge.Message) (any, error) { return x.Render(m) }
func (x mixed) MarshalJSON() ([]byte, error)        { return json.Marshal(x.text) }

// alone is one expression, whose value keeps its type.
type alone struct {
	text    string
	program *program
	counter
}

func (a *alone) AppendText(b []byte, m *bridge.Message) ([]byte, error) {
	return a.program.append(b, m, a.next(a.program))
}

func (a *alone) AppendJSON(b []byte, m *bridge.Message) ([]byte, error) {
	if raw, ok := a.program.found(m); ok {
		b, err := appendRaw(b, raw)
		if err != nil {
			return nil, a.program.fail(err.Error())
		}
		return b, nil
	}
	v, err := a.program.run(m, a.next(a.program))
	if err != nil {
		return nil, err
	}
	return a.program.json(b, m, v)
}

func (a *alone) Eval(m *bridge.Message) (any, error) {
	v, err := a.program.run(m, a.next(a.program))
	return detached(v), err
}

func (a *alone) MarshalJSON() ([]byte, error) { return json.Marshal(a.text) }

// detached returns v without memory of the payload.
func detached(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = detached(v[i])
		}
		return list
	case map[string]any:
		all := make(map[string]any, len(v))
		for k, item := range v {
			all[strings.Clone(k)] = detached(item)
		}
		return all
	}
	return v
}

// List returns the list of the values.
func List(items []bridge.Value) bridge.Value { return list(items) }

type list []bridge.Value

func (l list) AppendText(b []byte, m *bridge.Message) ([]byte, error) { return l.AppendJSON(b, m) }

func (l list) AppendJSON(b []byte, m *bridge.Message) (_ []byte, err error) {
	b = append(b, '[')
	for i, item := range l {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = item.AppendJSON(b, m); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func (l list) Eval(m *bridge.Message) (_ any, err error) {
	all := make([]any, len(l))
	for i, item := range l {
		if all[i], err = item.Eval(m); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Mapping returns the mapping that has the fields, in their order.
func Mapping(fields bridge.Fields) bridge.Value {
	m := make(mapping, len(fields))
	for i, f := range fields {
		m[i].Field = f
		m[i].key, _ = appendString(nil, f.Name)
		m[i].key = append(m[i].key, ':')
	}
	return m
}

type mapping []struct {
	bridge.Field
	key []byte
}

func (f mapping) AppendText(b []byte, m *bridge.Message) ([]byte, error) { return f.AppendJSON(b, m) }

func (f mapping) AppendJSON(b []byte, m *bridge.Message) (_ []byte, err error) {
	b = append(b, '{')
	for i := range f {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = f[i].Value.AppendJSON(append(b, f[i].key...), m); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (f mapping) Eval(m *bridge.Message) (_ any, err error) {
	all := make(map[string]any, len(f))
	for i := range f {
		if all[f[i].Name], err = f[i].Value.Eval(m); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (f mapping) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i := range f {
		if i > 0 {
			b = append(b, ',')
		}
		item, err := json.Marshal(f[i].Value)
		if err != nil {
			return nil, err
		}
		b = append(append(b, f[i].key...), item...)
	}
	return append(b, '}'), nil
}

// appendString appends text as JSON. What is not UTF-8 becomes U+FFFD, since JSON has no bytes.
func appendString(b []byte, text string) ([]byte, error) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return appendJSON(b, text)
		}
	}
	return append(append(append(b, '"'), text...), '"'), nil
}

// found returns the field of the payload that p is, if it is nothing but one that is there.
func (p *program) found(m *bridge.Message) (raw string, ok bool) {
	if !p.alone {
		return "", false
	}
	raw, ok = p.fields[0].Find(m.Payload)
	return raw, ok && raw != ""
}

// append appends the text of the value for m.
func (p *program) append(b []byte, m *bridge.Message, seq int) ([]byte, error) {
	if raw, ok := p.found(m); ok {
		b, err := appendText(b, raw)
		if err != nil {
			return nil, p.fail(err.Error())
		}
		return b, nil
	}
	v, err := p.run(m, seq)
	if err != nil {
		return nil, err
	}
	return p.text(b, m, v)
}

// json appends value, which p has made of m, as JSON.
func (p *program) json(b []byte, m *bridge.Message, value any) (_ []byte, err error) {
	switch v := value.(type) {
	case string:
		b, err = appendString(b, v)
	case time.Time, time.Duration:
		text, _ := appendValue(nil, v)
		b, err = appendString(b, string(text))
	case nil, bool, int, int64, uint64, float64, json.Number:
		b, err = appendValue(b, v)
	default:
		if err := p.affordable(m, value); err != nil {
			return nil, err
		}
		b, err = appendJSON(b, v)
	}
	if err != nil {
		return nil, p.fail(err.Error())
	}
	return b, nil
}
