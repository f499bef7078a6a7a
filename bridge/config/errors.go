package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one mistake in a configuration. It shows no secret: of values, only
// those that cannot be one are quoted, and as they are written, with ${…}.
type Error struct {
	File      string // or the command-line flag
	Line, Col int    // from 1; 0 if there is none
	Message   string
	Hint      string // what to do, may be empty
	Key       string // that a method Validate named, with dots for nesting; empty for other mistakes

	order int // of the file
}

// Error returns "file:line:col: message; hint".
func (e *Error) Error() string {
	text := e.Place() + ": " + e.Message
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Place returns "file:line:col", as far as that is known.
func (e *Error) Place() string {
	switch {
	case e.Line == 0:
		return e.File
	case e.Col == 0:
		return fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Col)
}

// Errors is all mistakes of a configuration, by file, line and column.
type Errors []*Error

// Error returns one line for each mistake.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes.
func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

// tidy returns the errors sorted and without repetitions, nil if there is none: two pipelines with
// one connection, or several aliases of one value, find the same mistake in it.
func (es Errors) tidy() error {
	if len(es) == 0 {
		return nil
	}
	return es.sorted()
}

func (es Errors) sorted() Errors {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	type mistake struct {
		order, line, col int
		message          string
	}
	seen := make(map[mistake]bool)
	return slices.DeleteFunc(es, func(e *Error) bool {
		m := mistake{e.order, e.Line, e.Col, e.Message}
		again := seen[m]
		seen[m] = true
		return again
	})
}

// quote quotes text for an error, shortened.
func quote(text string) string {
	const most = 40
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return strconv.Quote(text)
}

// quoteName quotes a name, up to the first character that names do not have:
// where a space is forgotten, a key has its value in it, which may be secret.
func quoteName(name string) string {
	i := strings.IndexFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.<$/", r)
	})
	if i >= 0 {
		name = name[:i] + "…"
	}
	return quote(name)
}
