package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds of a file. They are far above what a person writes.
const (
	maxKeys  = 10_000 // in one mapping
	maxDepth = 64
)

// document is one YAML file.
type document struct {
	*run
	file   string
	dir    string // of the file, for ${file:}
	order  int
	shown  bool // it is of a command line, which is for one run, and which other users of the machine can read
	text   string
	root   *yaml.Node            // nil if the text is no YAML
	bad    map[*yaml.Node]bool   // broke a rule that has been reported
	unread []span                // what is no YAML, so that other mistakes there are none of who wrote it
	keys   map[string]*yaml.Node // values of the top-level keys
	lines  []string              // of text, made when needed

	// The line that line returned last, since files may be one long line.
	lastLine  int
	lastRunes []rune
	lastSpace int // column of a no-break space in it, see noBreak
}

// fail records a mistake at n.
func (d *document) fail(n *yaml.Node, message, hint string) {
	if !d.surely(message, n) {
		return
	}
	line, col, other := 0, 0, ""
	if n != nil {
		line, col, other = d.where(n)
	}
	if hint != "" && other != "" {
		hint += "; "
	}
	d.failLine(line, col, message, hint+other)
}

func (d *document) failLine(line, col int, message, hint string) {
	if slices.ContainsFunc(d.unread, func(s span) bool { return s.first <= line && line <= s.last }) {
		return
	}
	if runes := d.line(line); runes != nil && d.lastSpace > 0 {
		col, message, hint = d.lastSpace, fmt.Sprintf("this looks like a space and is none to YAML (U+%04X)",
			runes[d.lastSpace-1]), "type a plain space"
	}
	switch {
	case len(d.errs) == maxErrors:
		message, hint = fmt.Sprintf("this is mistake %d, and the last that is shown", maxErrors+1), ""
	case len(d.errs) > maxErrors:
		return
	}
	d.errs = append(d.errs, &Error{File: d.file, Line: line, Col: col, Message: message, Hint: hint, order: d.order})
}

// parse sets d.root and checks the rules for all of the document.
func (d *document) parse(text []byte) {
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	d.text = string(text)
	if !d.readable(text) {
		return
	}
	nodes, err := decode(text)
	if err != nil {
		nodes = d.salvage(text, err)
	}
	switch {
	case err != nil && nodes == nil:
		return
	case (len(nodes) == 0 || empty(nodes[0])) && d.settingsOnly:
		d.failLine(1, 1, "the file is empty", "")
		return
	case len(nodes) == 0 || empty(nodes[0]):
		d.failLine(1, 1, "the file is empty", "write pipelines: and under it NAME: {from: …, to: …}")
		return
	case len(nodes) > 1:
		d.fail(nodes[1], "a second document begins here", "write one document per file: remove the line ---")
	}
	d.root = nodes[0].Content[0]
	d.bad = make(map[*yaml.Node]bool)
	d.rules(d.root, 1)
	(&resolver{document: d, open: make(map[*yaml.Node]bool), left: maxAliased}).resolve(d.root)
}

// readable checks what must hold before the parser sees the text.
func (d *document) readable(text []byte) bool {
	if len(text) > maxFile {
		d.failLine(0, 0, fmt.Sprintf("the file is larger than %d bytes", maxFile), "split it: run takes several files")
		return false
	}
	i := bytes.IndexByte(text, 0)
	message, hint := "a NUL byte is not text", "save the file as UTF-8"
	if !utf8.Valid(text) {
		message, i = "this is not UTF-8", 0
		for i < len(text) {
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
	}
	if i >= 0 {
		line, col := position(text, i)
		d.failLine(line, col, message, hint)
		return false
	}
	return true
}

// decode returns the documents of text.
func decode(text []byte) (nodes []*yaml.Node, err error) {
	// The parser panics on some malformed texts.
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("malformed YAML")
		}
	}()
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		n := new(yaml.Node)
		if err := d.Decode(n); errors.Is(err, io.EOF) {
			return nodes, nil
		} else if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
}

func empty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || isNull(doc.Content[0]) && doc.Content[0].Value == ""
}

// rules checks what holds for every node, whatever it means.
func (d *document) rules(n *yaml.Node, depth int) {
	broken := func(message, hint string) {
		d.bad[n] = true
		d.fail(n, message, hint)
	}
	switch {
	case depth > maxDepth:
		broken(fmt.Sprintf("values are nested more than %d deep", maxDepth), "")
		return
	case n.Style&yaml.TaggedStyle != 0:
		broken("tags (!name) are not supported", "quote a text that begins with !")
	case len(n.Content) > 2*maxKeys:
		broken(fmt.Sprintf("there are more than %d entries", maxKeys), "split them over several files")
		return
	}
	if n.Kind == yaml.MappingNode {
		d.mapping(n)
	}
	for _, c := range n.Content {
		d.rules(c, depth+1)
	}
}

// mapping checks the keys of a mapping.
func (d *document) mapping(n *yaml.Node) {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if isNull(v) && v.Value == "" {
			// The parser finds nothing where the next thing is.
			v.Line, v.Column = k.Line, k.Column
		}
		first, twice := seen[k.Value]
		switch {
		case k.Kind == yaml.MappingNode && d.inBraces(n):
		case twice && isMerge(k):
			d.bad[k] = true
			d.fail(k, "duplicate key \"<<\"", "write <<: [*a, *b] to merge several mappings")
		case k.Kind == yaml.AliasNode:
			d.bad[k] = true
			d.fail(k, "a key must be a text, not an alias", "write it out")
		case k.Kind != yaml.ScalarNode:
			d.bad[k] = true
			d.fail(k, "a key must be a text", "quote a value that begins with { or [")
		case twice:
			d.bad[k] = true
			d.fail(k, "duplicate key "+quoteName(k.Value), fmt.Sprintf("it is set in line %d already", first.Line))
		default:
			seen[k.Value] = k
		}
	}
}

// pairs calls f for each key of a mapping that broke no rule.
func (d *document) pairs(n *yaml.Node, f func(key, value *yaml.Node)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !d.bad[n.Content[i]] && n.Content[i].Kind == yaml.ScalarNode {
			f(n.Content[i], n.Content[i+1])
			if g := d.guesses; g != nil && g.within(n.Content[i+1]) {
				g.nodes[n.Content[i]] = true // where mistakes in the value are
			}
		}
	}
}

// named calls f for each key of a mapping that is a name, be it a wrong one: what it names is to be
// checked all the same.
func (d *document) named(n *yaml.Node, f func(key, value *yaml.Node)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Kind == yaml.ScalarNode {
			f(key, n.Content[i+1])
		}
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0
}

// position returns line and column of text[i], from 1.
func position(text []byte, i int) (line, col int) {
	before := text[:i]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}

// kind names what a node is, for errors.
func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return n.Value
	}
	return "a text"
}

// names joins names for an error.
func names(list []string) string {
	list = slices.Sorted(slices.Values(list))
	return strings.Join(list, ", ")
}

// nothing returns a node for no value where n is.
func nothing(n *yaml.Node) *yaml.Node {
	return &yaml.Node{
		Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column, Alias: n.Alias,
		Anchor: n.Anchor,
	}
}
