package expr

import (
	"errors"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/file"
)

// Error is a mistake in the text of a template or condition.
type Error struct {
	Offset  int    // where in the text, in characters from 0
	Message string // what is wrong
	Hint    string // what to do, may be empty
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

var (
	unknownName = regexp.MustCompile(`^unknown name (\S+)$`)
	unexpected  = regexp.MustCompile(`^unexpected token \w+\((".*")\)$`)
)

// compileError translates what the compiler says about the expression p.
func compileError(p Part, err error) *Error {
	e := &Error{Offset: p.Offset, Message: err.Error()}
	if at, ok := errors.AsType[*file.Error](err); ok {
		e.Offset += at.From
		e.Message = strings.TrimSpace(at.Message)
	}
	if p.shown() != p.Text {
		// The text holds expanded variables, which may be secret.
		return &Error{Offset: p.Offset, Message: "the expression does not compile with its ${…} filled in"}
	}
	if e.Message == "unexpected token EOF" {
		e.Message = "the expression is not complete"
	}
	if m := unexpected.FindStringSubmatch(e.Message); m != nil {
		e.Message = "unexpected " + m[1]
		if m[1] == `"="` {
			e.Hint = "write == to compare"
		}
	}
	if m := unknownName.FindStringSubmatch(e.Message); m != nil {
		e.Message, e.Hint = "unknown name "+m[1], nameHint(m[1])
	}
	if strings.Contains(e.Message, "is not callable") {
		e.Hint = "variables are written without ()"
	}
	return e
}

// reason is an error of our own functions, fit to be shown.
type reason string

func (r reason) Error() string { return string(r) }

var (
	fetch      = regexp.MustCompile(`^cannot fetch (.+) from (\S+)(?: \{\})?$`)
	notType    = regexp.MustCompile(`^interface conversion: interface \{\} is (\S+), not (\S+)$`)
	conversion = regexp.MustCompile(`^invalid operation: (int|float)\(`)
	operation  = regexp.MustCompile(`^invalid operation: (\S+) (\S+) (\S+)$`)
	typesOnly  = regexp.MustCompile(`^(invalid argument for \w+ \(type \S+\)|` +
		`memory budget exceeded|` +
		`index out of range: -?\d+ \(array length is \d+\)|runtime error: .*|integer divide by zero)$`)
)

// runReason says why running the expression failed, without the values that
// the compiler's messages quote: they come from the message.
func runReason(expression string, err error) string {
	if own, ok := errors.AsType[reason](err); ok {
		return own.Error()
	}
	text := err.Error()
	if at, ok := errors.AsType[*file.Error](err); ok {
		text = at.Message
	}
	if m := fetch.FindStringSubmatch(text); m != nil {
		if !strings.Contains(expression, m[1]) {
			m[1] = "such item"
		}
		return "there is no " + m[1] + " in " + kindName(m[2])
	}
	if m := notType.FindStringSubmatch(text); m != nil {
		return kindName(m[1]) + " stands where " + kindName(m[2]) + " is wanted"
	}
	if m := operation.FindStringSubmatch(text); m != nil {
		hint := ""
		if m[1] == "<nil>" || m[3] == "<nil>" {
			hint = "; write … ?? 0 if it may be missing"
		}
		return kindName(m[1]) + " " + m[2] + " " + kindName(m[3]) + " means nothing" + hint
	}
	if m := conversion.FindStringSubmatch(text); m != nil {
		return m[1] + "() is given what is not a number"
	}
	if typesOnly.MatchString(text) {
		return text
	}
	return "it has no value for this message"
}

// kindName says in words what a Go type of the language is.
func kindName(goType string) string {
	switch goType {
	case "<nil>", "nil":
		return "nil"
	case "map[string]interface", "map[string]interface {}":
		return "a mapping"
	case "[]interface", "[]interface {}":
		return "a list"
	case "string":
		return "a text"
	case "bool":
		return "true or false"
	case "int", "int64", "uint64", "float64":
		return "a number"
	}
	return goType
}
