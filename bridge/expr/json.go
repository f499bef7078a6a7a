package expr

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

const (
	errNotJSON = reason("the payload is not JSON")
	errTooMany = reason("the JSON has too many values; split it up before it comes here")
)

// maxValues of one text take some 300 MB once they are parsed, as short as they may be written.
const maxValues = 4 << 20

// parseJSON returns the payload as maps, lists, texts, numbers and bools.
// Whole numbers stay whole, so that a long identity keeps its digits.
func parseJSON(payload []byte) (any, error) {
	if len(payload) > maxValues/4 && values(payload) > maxValues {
		return nil, errTooMany
	}
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

// Names of the variable that holds the document, and of the function that stands in place of json.
// Nobody can write them.
const (
	documentName = "the document"
	parsedName   = "the document parsed"
)

// document is the payload, parsed as JSON once an expression asks for it: what stands before that
// may have said that it is none.
type document struct {
	payload []byte
	parsed  bool
	value   any
	err     error
}

// parse returns the JSON of the document that is its argument.
func parse(args ...any) (any, error) {
	d := args[0].(*document)
	if !d.parsed {
		d.parsed = true
		d.value, d.err = parseJSON(d.payload)
	}
	return d.value, d.err
}

// values returns how many values a JSON text has at most, where a mapping counts as four.
func values(text []byte) int {
	n, quoted := 1, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			n += 4
		case c == ',' || c == '[':
			n++
		}
	}
	return n
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

// number returns an int or float64, with which the language computes. An unsigned number of 64
// bits, which an identity may be, keeps its digits as a [json.Number], of which the language knows
// equality only: a uint64 it takes for an int, which may be a negative one then.
func number(text string) any {
	if isWhole(text) {
		if i, err := strconv.Atoi(text); err == nil {
			return i
		}
		if _, err := strconv.ParseUint(text, 10, 64); err == nil {
			return json.Number(text)
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return json.Number(text)
	}
	return f
}

// isWhole reports whether a number is written without a point and an exponent.
func isWhole(text string) bool {
	for _, c := range []byte(text) {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}
