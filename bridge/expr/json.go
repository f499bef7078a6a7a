package expr

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

const errNotJSON = reason("the payload is not JSON")

// parseJSON returns the payload as maps, lists, texts, numbers and bools.
// Whole numbers stay whole, so that a long identity keeps its digits.
func parseJSON(payload []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, errNotJSON
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNotJSON
	}
	return numbers(value), nil
}

// numbers replaces every json.Number within v.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case map[string]any:
		for k, item := range v {
			switch item.(type) {
			case json.Number, map[string]any, []any:
				v[k] = numbers(item)
			}
		}
	case []any:
		for i, item := range v {
			v[i] = numbers(item)
		}
	}
	return v
}

func number(text string) any {
	if i, err := strconv.Atoi(text); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return u
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return json.Number(text)
	}
	return f
}
