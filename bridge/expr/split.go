package expr

import (
	"unicode/utf8"
)

// Part is a piece of a template: literal text or an expression.
type Part struct {
	Text   string // the literal, or the expression without its braces
	Code   bool   // Text is an expression
	Offset int    // where Text begins in the template, in characters from 0

	// Source is shown by errors in place of Text, if it is not empty: Text may
	// hold what must not be seen.
	Source string

	World *World // nil: the real one
}

func (p Part) shown() string {
	if p.Source != "" {
		return p.Source
	}
	return p.Text
}

// Parts is a template in pieces.
type Parts []Part

// Split cuts a template into parts without compiling it. An error is an [*Error].
func Split(text string) (Parts, error) {
	var parts Parts
	chars, from := 0, 0 // characters before text[from:], where the current part begins
	add := func(to int, code bool) {
		if to > from || code {
			parts = append(parts, Part{Text: text[from:to], Code: code, Offset: chars})
		}
		chars += utf8.RuneCountInString(text[from:to])
	}
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '{' || text[i+1] != '{' {
			continue
		}
		add(i, false)
		from = i + 2
		end := CodeEnd(text, from)
		if end < 0 {
			return nil, &Error{Offset: chars, Message: "{{ has no closing }}"}
		}
		chars += 2
		add(end, true)
		chars += 2
		from, i = end+2, end+1
	}
	add(len(text), false)
	return parts, nil
}

// CodeEnd returns where the }} stands that ends the expression beginning at i,
// or -1. Braces in quotes and those of maps and predicates do not end it.
func CodeEnd(text string, i int) int {
	depth, quote := 0, byte(0)
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}' && i+1 < len(text) && text[i+1] == '}':
			return i
		}
	}
	return -1
}
