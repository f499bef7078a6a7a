package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// SetKey returns text, a YAML document that [Loader] has read without a mistake, with the value of the key at path changed
// or added, and everything else, comments and line ends included, as it was. All keys of path but the last must be there, and the key after
// too, beside the last one. Where a lone value stands for the mapping with the last key, it becomes the key after. name is for errors.
func SetKey(name string, text []byte, path []string, after, value string) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("edit %s: %w", name, err)
	}
	if len(root.Content) != 1 {
		return nil, fmt.Errorf("edit %s: it is empty", name)
	}
	n := root.Content[0]
	for _, key := range path[:len(path)-1] {
		if n = valueOf(n, key); n == nil {
			return nil, fmt.Errorf("edit %s: there is no key %s", name, strings.Join(path, "."))
		}
	}
	e := editor{text: text}
	last, value := path[len(path)-1], strconv.Quote(value)
	old := valueOf(n, last)
	beside := valueOf(n, after)
	switch {
	case n.Kind == yaml.ScalarNode:
		e.replace(n, func(old string) string { return fmt.Sprintf("{%s: %s, %s: %s}", after, old, last, value) })
	case old != nil && old.Kind == yaml.ScalarNode:
		e.replace(old, func(string) string { return value })
	case beside == nil || beside.Kind != yaml.ScalarNode:
		return nil, fmt.Errorf("edit %s: there is no key %s beside %s", name, after, strings.Join(path, "."))
	case n.Style&yaml.FlowStyle != 0:
		e.replace(beside, func(old string) string { return fmt.Sprintf("%s, %s: %s", old, last, value) })
	default:
		e.addLine(n.Content[0].Column, beside.Line, last+": "+value)
	}
	if e.err != nil {
		return nil, fmt.Errorf("edit %s:%d: %w: write %s: %s by hand", name, n.Line, e.err, last, value)
	}
	return e.text, e.check(path, value)
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// editor changes text at the places of its nodes.
type editor struct {
	text []byte
	err  error
}

// replace changes what is written for a scalar that stands on one line.
func (e *editor) replace(n *yaml.Node, with func(old string) string) {
	start := e.offset(n.Line, n.Column)
	end := start + written(e.text[start:], n)
	if end <= start {
		e.err = fmt.Errorf("the value is not written in a way that this command can edit")
		return
	}
	e.text = slices.Concat(e.text[:start], []byte(with(string(e.text[start:end]))), e.text[end:])
}

// addLine adds a line after another.
func (e *editor) addLine(column, after int, line string) {
	end := e.offset(after+1, 1)
	eol := "\n"
	if bytes.HasSuffix(e.text[:end], []byte("\r\n")) {
		eol = "\r\n"
	}
	add := strings.Repeat(" ", column-1) + line + eol
	if end == len(e.text) && !bytes.HasSuffix(e.text, []byte("\n")) {
		add = eol + strings.TrimSuffix(add, eol)
	}
	e.text = slices.Concat(e.text[:end], []byte(add), e.text[end:])
}

// offset returns where a line and column, in characters from 1, are in the text.
func (e *editor) offset(line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := bytes.IndexByte(e.text[at:], '\n')
		if i < 0 {
			return len(e.text)
		}
		at += i + 1
	}
	for i := range string(e.text[at:]) {
		if column == 1 {
			return at + i
		}
		column--
	}
	return len(e.text)
}

// written returns how many bytes the scalar n takes at the beginning of text, 0 if that is not plain to see.
func written(text []byte, n *yaml.Node) int {
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(text) && text[i] != '\n'; i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(text) && text[i] != '\n'; i++ {
			if text[i] != '\'' {
				continue
			}
			if i+1 == len(text) || text[i+1] != '\'' {
				return i + 1
			}
			i++
		}
	case n.Style == 0 && n.Value != "" && bytes.HasPrefix(text, []byte(n.Value)):
		return len(n.Value)
	}
	return 0
}

// check makes sure that the key has the value now.
func (e *editor) check(path []string, quoted string) error {
	var root yaml.Node
	if err := yaml.Unmarshal(e.text, &root); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	n := root.Content[0]
	for _, key := range path {
		if n = valueOf(n, key); n == nil {
			return fmt.Errorf("edit: the key %s did not get in", strings.Join(path, "."))
		}
	}
	if strconv.Quote(n.Value) != quoted {
		return fmt.Errorf("edit: the key %s did not get its value", strings.Join(path, "."))
	}
	return nil
}
