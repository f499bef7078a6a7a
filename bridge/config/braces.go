package config

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// unquoted matches KEY: {{ … }} without quotes, which YAML takes for a mapping. It ends where a
// value of a flow mapping does, or a comment begins.
var unquoted = regexp.MustCompile(`(?:^|[\s{\[,])([\w.-]+: +|- +)(\{\{.*?\}\}[^,}\]#"']*)`)

const bracesMessage = "{{ … }} without quotes is a mapping to YAML"

// braces returns where in a line there is a {{ … }} without quotes, and what to write. col is the
// place wanted, or 0 for the first one; it returns 0 if there is none.
func (d *document) braces(line, col int) (int, string) {
	text := string(d.line(line))
	for _, m := range unquoted.FindAllStringSubmatchIndex(text, -1) {
		at := 1 + utf8.RuneCountInString(text[:m[4]])
		if col != 0 && at != col {
			continue
		}
		value := strings.TrimSpace(text[m[4]:m[5]])
		if strings.ContainsAny(value, `"\`) {
			value = "'" + strings.ReplaceAll(value, "'", "''") + "'"
		} else {
			value = `"` + value + `"`
		}
		return at, "write " + text[m[2]:m[3]] + value
	}
	return 0, ""
}

// inBraces reports a mapping that is a {{ … }} without quotes, if it is one.
func (d *document) inBraces(n *yaml.Node) bool {
	col, mend := d.braces(n.Line, n.Column)
	if col == 0 {
		return false
	}
	d.bad[n] = true
	d.fail(n, bracesMessage, mend)
	return true
}

// likeExpression matches texts that are an expression more likely than a topic or a payload.
var likeExpression = regexp.MustCompile(`^(json|header)(\.[A-Za-z_]\w*|\[.+\])+$|` +
	`^(segment|toSubject|toTopic|toJSON|round|string|lower|upper|trim)\(.*\)$|` +
	`^\(*(json|header)(\.[A-Za-z_]\w*|\[[^]]+\])+\)* (\?\??|[-+*/%<>]|[=!<>]=|&&|\|\|) [^{]+$`)

// oneBrace matches texts that have an expression in braces, of which there are too few.
var oneBrace = regexp.MustCompile(`(^|[^{$])\{ *(topic|payload|(json|header)[.[][^{}]+) *\}([^}]|$)`)

// doubtful warns of a text that looks like an expression.
func (w *walker) doubtful(n *yaml.Node, name string) {
	if w.quiet || w.verbatim || n.Kind != yaml.ScalarNode {
		return
	}
	few := oneBrace.MatchString(n.Value)
	if !few && !likeExpression.MatchString(n.Value) {
		return
	}
	line, col, other := w.where(n)
	mend := `for the value of the expression write "{{ ` + n.Value + ` }}"`
	if few || strings.Contains(n.Value, `"`) {
		mend = `for the value of the expression write it within {{ }}`
	}
	if other != "" {
		mend += "; " + other
	}
	w.config.Warnings = append(w.config.Warnings, &Error{
		File: w.file, Line: line, Col: col, order: w.order,
		Message: name + " is this very text, which looks like an expression", Hint: mend,
	})
}
