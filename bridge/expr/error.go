package expr

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

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
	argument    = regexp.MustCompile(`^cannot use (.+) as argument \(type (.+)\) to call (\w+) ?$`)
	unexpected  = regexp.MustCompile(`^unexpected token \w+\((".*")\)$`)
	mismatched  = regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`)
	noMember    = regexp.MustCompile(`^type (\S+) has no (field|method) (\w+)$`)
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
	if i := strings.Index(p.Text, "{{"); i >= 0 {
		return &Error{
			Offset:  p.Offset + utf8.RuneCountInString(p.Text[:i]),
			Message: "an expression is written without {{ }} here", Hint: "leave the braces out",
		}
	}
	if e.Message == "unexpected token EOF" {
		e.Message = "the expression is not complete"
	}
	if m := unexpected.FindStringSubmatch(e.Message); m != nil {
		e.Message, e.Hint = "unexpected "+m[1], tokenHint(m[1], p.Text)
	}
	if m := unknownName.FindStringSubmatch(e.Message); m != nil {
		e.Message, e.Hint = "unknown name "+m[1], cmp.Or(dashHint(p.Text), nameHint(m[1]))
	}
	if m := mismatched.FindStringSubmatch(e.Message); m != nil {
		e.Message, e.Hint = nothing(m[2], m[1], m[3]), dashHint(p.Text)
		if e.Hint == "" {
			e.Message += operandHint(m[2], m[3])
		}
	}
	if m := noMember.FindStringSubmatch(e.Message); m != nil {
		e.Message, e.Hint = kindName(m[1])+" has no "+m[2]+" "+m[3], memberHint(m[3], p.Text)
	}
	if m := argument.FindStringSubmatch(e.Message); m != nil {
		e.Message = m[3] + " wants " + kindName(m[2]) + ", not " + kindName(m[1])
	}
	if strings.HasPrefix(e.Message, "the pattern of ") && strings.HasSuffix(e.Message, "in quotes") {
		e.Hint = "a message could choose one that takes very long"
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
	if text == "memory budget exceeded" {
		return errTooMuch.Error()
	}
	if m := fetch.FindStringSubmatch(text); m != nil {
		if !strings.Contains(expression, m[1]) {
			m[1] = "such item"
		}
		hint := ""
		if m[2] == "<nil>" || m[2] == "nil" {
			hint = "; write ?. in place of . if what stands before it may be missing"
		}
		return "there is no " + m[1] + " in " + kindName(m[2]) + hint
	}
	if m := notType.FindStringSubmatch(text); m != nil {
		hint := ""
		switch {
		case m[1] == "nil" && m[2] == "bool":
			hint = "; write (… ?? false) if it may be missing"
		case m[1] == "nil" && m[2] == "string":
			hint = `; write (… ?? "text") if it may be missing`
		case m[2] == "string":
			hint = "; string(…) makes one of it"
		}
		return kindName(m[1]) + " stands where " + kindName(m[2]) + " is wanted" + hint
	}
	if m := operation.FindStringSubmatch(text); m != nil {
		return nothing(m[1], m[2], m[3]) + operandHint(m[1], m[3])
	}
	if m := conversion.FindStringSubmatch(text); m != nil {
		return m[1] + "() is given what is not a number"
	}
	if typesOnly.MatchString(text) {
		return strings.TrimPrefix(text, "runtime error: ")
	}
	return "it has no value for this message"
}

// nothing says that an operator is not for values of these Go types.
func nothing(left, operator, right string) string {
	return kindName(left) + " " + operator + " " + kindName(right) + " means nothing"
}

// operandHint says what makes values of these Go types go together.
func operandHint(left, right string) string {
	kinds := []string{kindName(left), kindName(right)}
	switch {
	case left == longNumber || right == longNumber:
		return "; write float(…) to compute with a whole number above 2⁶³"
	case slices.Contains(kinds, "nil"):
		return "; write (… ?? 0) if it may be missing"
	case slices.Contains(kinds, "a text") && slices.Contains(kinds, "a number"):
		return "; float(…) makes a number of a text, and string(…) the other way"
	}
	return ""
}

const longNumber = "json.Number" // see number

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
	case "int", "int64", "uint64", "uint8", "float64", longNumber:
		return "a number"
	case "[]uint8":
		return "bytes"
	case "time.Time":
		return "a time"
	case "interface {}":
		return "any value"
	}
	if strings.HasPrefix(goType, "func(") {
		return "a function"
	}
	return goType
}
