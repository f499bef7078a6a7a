// Package record turns lines of text into JSON and back: rows of CSV, logfmt, key=value, syslog.
// The steps parse and format have it, and the connectors that read streams.
//
// What is read becomes an object whose keys are in the order of the text. Values are texts, unless
// [Types] says otherwise, and numbers keep their digits. What cannot be read is an [*Error] with
// the place, which shows nothing of the text.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Error says where a text is not what it should be, and why, without quoting it.
type Error struct {
	Line, Column int // from 1, the column in bytes; 0: all of it
	Text         string
}

func (e *Error) Error() string {
	switch {
	case e.Line > 0:
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Text)
	case e.Column > 0:
		return fmt.Sprintf("column %d: %s", e.Column, e.Text)
	}
	return e.Text
}

// wrongAt returns an error about the byte at that index of a text.
func wrongAt(at int, format string, args ...any) error {
	return &Error{Column: at + 1, Text: fmt.Sprintf(format, args...)}
}

// Below returns err as seen from a text in which the one that it is about begins in that line.
func Below(err error, line int) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{max(1, e.Line) + line - 1, max(1, e.Column), e.Text}
	}
	return fmt.Errorf("line %d: %w", line, err)
}

// CheckJSON returns an error with the place unless text is one JSON value.
func CheckJSON(text []byte) error {
	if json.Valid(text) {
		return nil
	}
	var ignored json.RawMessage
	var syntax *json.SyntaxError
	at := int64(len(text))
	if err := json.Unmarshal(text, &ignored); errors.As(err, &syntax) {
		at = min(at, max(1, syntax.Offset))
	}
	before := text[:max(0, at-1)]
	what := "is not JSON from here on"
	if len(bytes.TrimSpace(text)) == 0 {
		what = "is empty, where JSON is wanted"
	}
	return &Error{bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n'), what}
}

// Types says which values are not texts.
type Types struct {
	Default string   `yaml:"default,short" enum:"text|auto" doc:"text, or auto: what is written as a JSON number, true or false is that"`
	Number  []string `yaml:"number" doc:"names of those that are numbers, or empty, which is null"`
	Bool    []string `yaml:"bool" doc:"names of those that are true or false, or empty, which is null"`
	Text    []string `yaml:"text" doc:"names of those that are texts whatever they look like"`
}

// Validate checks that no name has two types.
func (t Types) Validate() error {
	all := slices.Concat(t.Number, t.Bool, t.Text)
	slices.Sort(all)
	if len(slices.Compact(all)) != len(t.Number)+len(t.Bool)+len(t.Text) {
		return bridge.KeyErrorf("number", "a name can have one type only, and stand there once")
	}
	return nil
}

type kind int

const (
	text kind = iota
	auto
	number
	boolean
)

// of returns what the value of that name is.
func (t Types) of(name string) kind {
	switch {
	case slices.Contains(t.Number, name):
		return number
	case slices.Contains(t.Bool, name):
		return boolean
	case t.Default == "auto" && !slices.Contains(t.Text, name):
		return auto
	}
	return text
}

// appendValue appends a value as JSON; a quoted one is a text to auto.
func appendValue(dst, v []byte, k kind, quoted bool) ([]byte, error) {
	switch {
	case k == text:
	case k == auto && quoted:
	case k == auto || len(v) > 0:
		if k != boolean && isNumber(v) || k != number && (string(v) == "true" || string(v) == "false") {
			return append(dst, v...), nil
		}
		if k == number {
			return dst, errors.New("is not a number")
		}
		if k == boolean {
			return dst, errors.New("is neither true nor false")
		}
	default:
		return append(dst, "null"...), nil
	}
	return AppendText(dst, v)
}

// AppendText appends a JSON string. JSON knows UTF-8 only, and nothing of a text may change.
func AppendText(dst, v []byte) ([]byte, error) {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from, ascii := 0, true
	for i, c := range v {
		if c >= ' ' && c != '"' && c != '\\' {
			ascii = ascii && c < utf8.RuneSelf
			continue
		}
		dst = append(dst, v[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	if !ascii && !utf8.Valid(v) {
		return dst, errors.New("is not UTF-8, which JSON must be")
	}
	return append(append(dst, v[from:]...), '"'), nil
}

// isNumber reports whether v is a number as JSON writes it.
func isNumber(v []byte) bool {
	if len(v) > 0 && v[0] == '-' {
		v = v[1:]
	}
	whole := digits(v)
	if whole == 0 || whole > 1 && v[0] == '0' {
		return false
	}
	if v = v[whole:]; len(v) > 0 && v[0] == '.' {
		n := digits(v[1:])
		if v = v[1+n:]; n == 0 {
			return false
		}
	}
	if len(v) > 0 && (v[0] == 'e' || v[0] == 'E') {
		if v = v[1:]; len(v) > 0 && (v[0] == '+' || v[0] == '-') {
			v = v[1:]
		}
		n := digits(v)
		return n > 0 && n == len(v)
	}
	return len(v) == 0
}

// digits returns how many digits v begins with.
func digits(v []byte) (n int) {
	for n < len(v) && v[n] >= '0' && v[n] <= '9' {
		n++
	}
	return n
}

// checkByte returns a [bridge.KeyError] unless the text is one byte that may stand between others.
func checkByte(key, text string) error {
	if len(text) > 1 || text == `"` || text == "\n" || text == "\r" || len(text) == 1 && text[0] >= utf8.RuneSelf {
		return bridge.KeyErrorf(key, `must be one character, such as ";" or "\t", and no quote or end of line`)
	}
	return nil
}
