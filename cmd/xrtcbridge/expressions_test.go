package main

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// The examples that help gives compile.
func TestHelpedExpressionsCompile(t *testing.T) {
	_, examples, found := strings.Cut(newExpressions().Long, "Examples\n")
	if !found {
		t.Fatal("no examples")
	}
	n := 0
	for line := range strings.Lines(examples) {
		key, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(line, "A ") {
			continue
		}
		n++
		var err error
		if key == "filter" {
			_, err = expr.Condition(text)
		} else {
			_, err = expr.Template(strings.Trim(text, `"`))
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if n != 5 {
		t.Errorf("%d examples were tried, want 5", n)
	}
}

// Every function is in the help.
func TestHelpHasAllFunctions(t *testing.T) {
	words := strings.FieldsFunc(newExpressions().Long,
		func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, name := range expr.Functions() {
		if !slices.Contains(words, name) {
			t.Errorf("%s is missing", name)
		}
	}
}
