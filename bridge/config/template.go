package config

import (
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// template compiles the text of n.
func (w *walker) template(n *yaml.Node, v reflect.Value, f *field) {
	parts, err := expr.Split(n.Value)
	w.compile(n, v, f, parts, err)
}

// compile compiles the parts of a template, unless it could not be split.
func (w *walker) compile(n *yaml.Node, v reflect.Value, f *field, parts expr.Parts, err error) {
	before := w.failed
	for i := range parts {
		parts[i] = w.expandPart(n, parts[i])
	}
	// Without a folder in front of it, messages would choose it: settings look after that.
	if f.path && !w.verbatim && len(parts) > 0 && !parts[0].Code &&
		(len(parts) == 1 || strings.ContainsRune(parts[0].Text, '/')) {
		parts[0].Text = w.located(n, parts[0].Text)
	}
	if w.failed > before {
		return
	}
	if err == nil {
		t, e := parts.Template()
		if err = e; err == nil {
			v.Set(reflect.ValueOf(t))
			return
		}
	}
	w.mistake(n, err)
}

// condition compiles the text of n.
func (w *walker) condition(n *yaml.Node, v reflect.Value) {
	before := w.failed
	p := w.expandPart(n, expr.Part{Text: n.Value, Code: true})
	if w.failed > before {
		return
	}
	c, err := p.Condition()
	if err != nil {
		w.mistake(n, err)
		return
	}
	v.Set(reflect.ValueOf(c))
}

// expandPart fills in p, whose errors go on showing what is written.
func (w *walker) expandPart(n *yaml.Node, p expr.Part) expr.Part {
	if text, ok := w.expand(n, p); ok && text != p.Text {
		if p.Text, p.Source = text, p.Text; w.guesses != nil { // where nothing is secret
			p.Source = ""
		}
	}
	world := w.World
	world.Getenv = func(name string) (string, bool) {
		if w.guesses != nil {
			return w.placeholder(n, name, name), true
		}
		value, ok := w.World.Getenv(name)
		w.note(n, name, value)
		return value, ok
	}
	p.World = &world
	return p
}

func (w *walker) mistake(n *yaml.Node, err error) {
	var e *expr.Error
	if !errors.As(err, &e) {
		w.fail(n, err.Error(), "")
		return
	}
	if w.guesses == nil || !w.guesses.nodes[n] { // which shifts what stands behind it
		n = w.within(n, e.Offset)
	}
	w.fail(n, e.Message, e.Hint)
}

// within returns a node for the place that is offset characters into the value
// of n, or n itself if the value is not written in one piece.
func (d *document) within(n *yaml.Node, offset int) *yaml.Node {
	line, column := d.line(n.Line), n.Column
	if anchor := "&" + n.Anchor; n.Anchor != "" && column-1+len(anchor) < len(line) {
		column += utf8.RuneCountInString(anchor)
		for column <= len(line) && line[column-1] == ' ' {
			column++
		}
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		column++
	}
	end := column - 1 + utf8.RuneCountInString(n.Value)
	if n.Line == 0 || end > len(line) || string(line[column-1:end]) != n.Value {
		return n
	}
	return &yaml.Node{Line: n.Line, Column: column + offset, Alias: n.Alias}
}

// line returns the characters of a line, counted from 1.
func (d *document) line(n int) []rune {
	if d.lines == nil {
		d.lines = strings.Split(d.text, "\n")
	}
	if n < 1 || n > len(d.lines) {
		return nil
	}
	if d.lastLine != n {
		d.lastLine, d.lastRunes = n, []rune(d.lines[n-1])
		d.lastSpace = noBreak(d.lastRunes)
	}
	return d.lastRunes
}
