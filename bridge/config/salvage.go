package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// Bounds of what is done to find what can be read of a text that is no YAML.
const (
	mostSalvaged = 4 << 20 // bytes that are parsed
	mostBroken   = 50
)

// salvage finds the entries of a text that are no YAML, so that the rest can be read: those that are
// none by themselves. Entries are told by indentation. What stands in brackets is one with what is
// in front of them.
type salvage struct {
	lines  []string // of the text, without the values that are left out
	text   []byte
	left   int // bytes that may be parsed yet
	broken []broken
}

// broken is an entry that is no YAML.
type broken struct {
	span
	text []byte
	err  error
}

// span is some lines, from 1.
type span struct{ first, last int }

// entryHead matches the key of an entry, which stays where its value is left out.
var entryHead = regexp.MustCompile(`^(?:-|"[^"]+"|'[^']+'|[\w.$<][^\s:]*)(?:[:\s]|$)`)

// bareKey matches a line whose value is the lines below it.
var bareKey = regexp.MustCompile(`^[^\s#"'{\[][^#"'{\[]*:\s*(?:&\S+\s*)?(?:#.*)?$`)

// listItem matches what is in front of an item of a list.
var listItem = regexp.MustCompile(`^-(?: +|\r?$)`)

// salvage leaves out of a text that is no YAML what makes it none, reports that, and returns the
// documents of the rest, or reports err and returns nothing.
func (d *document) salvage(text []byte, err error) []*yaml.Node {
	s := &salvage{lines: strings.Split(string(text), "\n"), text: text, left: mostSalvaged}
	var nodes []*yaml.Node
	if s.children(0, len(s.lines), 0) {
		nodes, _ = decode([]byte(strings.Join(s.lines, "\n")))
	}
	if len(nodes) == 0 || empty(nodes[0]) {
		d.syntax(text, 0, err)
		if bytes.Count(bytes.TrimSpace(text), []byte("\n")) > 0 {
			d.errs[len(d.errs)-1].leaves("the rest of the file is")
		}
		return nil
	}
	for _, b := range s.broken {
		d.syntax(b.text, b.first-1, b.err)
		d.unread = append(d.unread, b.span)
		if e := d.errs[len(d.errs)-1]; b.first < b.last {
			e.leaves(fmt.Sprintf("lines %d to %d are", b.first, b.last))
		}
	}
	return nodes
}

// leaves says what is not checked because of a mistake.
func (e *Error) leaves(what string) {
	if e.Hint != "" {
		e.Hint += "; "
	}
	e.Hint += what + " not checked before that"
}

// children mends the entries in those lines, of which the first begins at a column, and reports
// whether they can be read together then.
func (s *salvage) children(from, to, col int) bool {
	type child struct{ from, to, col int }
	var all []child
	at, list := -1, false // where entries begin, and whether they are items
	for i := from; i < to; i++ {
		line := s.lines[i]
		if i == from {
			line = strings.Repeat(" ", col) + line[col:]
		}
		content := strings.TrimLeft(line, " ")
		indent := len(line) - len(content)
		switch {
		case strings.TrimSpace(content) == "" || content[0] == '#':
			continue
		case at < 0:
			at, list = indent, listItem.MatchString(content)
		case indent > at || strings.IndexFunc(content, endsNoEntry) == 0:
			continue
		case !list && listItem.MatchString(content):
			continue // a list may stand below its key without indentation
		}
		if n := len(all); n > 0 {
			all[n-1].to = i
		}
		all = append(all, child{i, to, indent})
	}
	for _, c := range all {
		nodes, err := s.parse(c.from, c.to, c.col)
		if err == nil && len(all) > 1 && len(nodes) == 1 && !empty(nodes[0]) && nodes[0].Content[0].Kind == yaml.ScalarNode &&
			!strings.HasPrefix(s.lines[c.from], "---") {
			err = errNoColon
		}
		if err != nil && !s.mend(c.from, c.to, c.col, err) {
			return false
		}
	}
	_, err := s.parse(from, to, col)
	return len(all) > 0 && err == nil
}

// endsNoEntry reports whether a line that begins so goes on with the entry above it: it closes a
// bracket, or is indented by what is no space to YAML.
func endsNoEntry(r rune) bool { return unicode.IsSpace(r) || r == '}' || r == ']' }

// errNoColon is what the parser says of a text among keys.
var errNoColon = errors.New("yaml: could not find expected ':'")

// mend leaves out what makes an entry no YAML: entries of it, or else its value.
func (s *salvage) mend(from, to, col int, err error) bool {
	first, before := s.lines[from][col:], len(s.broken)
	if before == mostBroken {
		return false
	}
	if anchor, ok := strings.CutPrefix(err.Error(), "yaml: unknown anchor '"); ok {
		anchor, _, _ = strings.Cut(anchor, "'")
		if bytes.Contains(s.text, []byte("&"+anchor)) {
			return false // it is in what is left out
		}
	}
	whole := append([]string(nil), s.lines[from:to]...)
	item := listItem.FindString(first)
	if item != "" && s.children(from, to, col+len(item)) ||
		item == "" && bareKey.MatchString(first) && s.children(from+1, to, 0) {
		return true
	}
	copy(s.lines[from:to], whole)
	s.broken = s.broken[:before]
	head := strings.TrimRight(entryHead.FindString(first), ": \t\r")
	if head == "" {
		return false
	}
	if head != "-" {
		head += ":"
	}
	last := to
	for strings.TrimSpace(s.lines[last-1]) == "" {
		last--
	}
	s.broken = append(s.broken, broken{span{from + 1, last}, s.alone(from, to, col), err})
	clear(s.lines[from:to])
	s.lines[from] = whole[0][:col] + head
	return true
}

// alone returns those lines, of which the first begins at a column.
func (s *salvage) alone(from, to, col int) []byte {
	if from == to {
		return nil
	}
	text := strings.Join(s.lines[from:to], "\n")
	return []byte(strings.Repeat(" ", col) + text[col:] + "\n")
}

// parse parses those lines alone, or with those in front where they refer to these.
func (s *salvage) parse(from, to, col int) ([]*yaml.Node, error) {
	text := s.alone(from, to, col)
	nodes, err := s.decode(text)
	if err != nil && strings.Contains(err.Error(), "unknown anchor") {
		return s.decode([]byte(strings.Join(s.lines[:to], "\n")))
	}
	return nodes, err
}

var errTooLong = errors.New("yaml: too long")

func (s *salvage) decode(text []byte) ([]*yaml.Node, error) {
	if s.left -= len(text); s.left < 0 {
		return nil, errTooLong
	}
	return decode(text)
}
