// Package jsonfield finds, sets and removes fields of JSON documents in place: without parsing the
// whole, and with every other byte as it was, so that numbers keep their digits and mappings the
// order of their keys.
package jsonfield

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

const space = " \t\r\n" // of JSON

// ErrNotJSON is the error for a document that is none.
var ErrNotJSON = errors.New("the payload is not JSON")

// Path names a field by the keys of mappings and the indices of lists on the way to it.
type Path struct{ parts []part }

// part is a key or an index.
type part struct {
	name    string // the key, or the index as text
	key     []byte // the key as JSON with its colon; nil for an index
	index   int    // -1: it is a key
	opening byte   // what a mapping, or a list, begins with
}

// New returns the path of keys, which are strings or ints. It reports false for an empty path and a
// key that no path can have: empty, or an index below zero.
func New(keys ...any) (Path, bool) {
	var p Path
	for _, key := range keys {
		var next part
		switch key := key.(type) {
		case string:
			if key == "" {
				return p, false
			}
			next = part{key, append(gjson.AppendJSONString(nil, key), ':'), -1, '{'}
		case int:
			if key < 0 {
				return p, false
			}
			next = part{strconv.Itoa(key), nil, key, '['}
		}
		p.parts = append(p.parts, next)
	}
	return p, len(p.parts) > 0
}

// Parse returns the path that text writes behind the name of the document: .room, .list[0],
// ["a key"].x.
func Parse(text string) (Path, error) {
	var keys []any
	for rest := text; rest != ""; {
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			name := rest[1 : 1+end]
			if strings.ContainsAny(name, `]"`) {
				return Path{}, fmt.Errorf(`the key %s is written ["key"]`, name)
			}
			keys, rest = append(keys, name), rest[1+end:]
			continue
		}
		var key any
		end := strings.IndexByte(rest, ']')
		if strings.HasPrefix(rest, `["`) {
			quoted, err := strconv.QuotedPrefix(rest[1:])
			if err != nil || !strings.HasPrefix(rest[1+len(quoted):], "]") {
				return Path{}, errors.New(`a key in brackets is written ["key"]`)
			}
			key, end = must(strconv.Unquote(quoted)), 1+len(quoted)
		} else if n, err := strconv.Atoi(rest[1:max(end, 1)]); err == nil && rest[0] == '[' {
			key = n
		} else {
			return Path{}, errors.New(`what follows a field is .name, [index] or ["key"]`)
		}
		keys, rest = append(keys, key), rest[end+1:]
	}
	p, ok := New(keys...)
	if !ok {
		return Path{}, errors.New("a key is empty, or an index below zero")
	}
	return p, nil
}

func must(s string, _ error) string { return s }

// Within reports whether the field is that of q, or within it.
func (p Path) Within(q Path) bool {
	return len(p.parts) >= len(q.parts) && slices.EqualFunc(p.parts[:len(q.parts)], q.parts, func(a, b part) bool {
		return a.name == b.name && a.index == b.index
	})
}

// Compare orders paths: of those into one list, by the index.
func (p Path) Compare(q Path) int {
	return slices.CompareFunc(p.parts, q.parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.name, b.name))
	})
}

// Find returns the field as it is written. It goes no further into the document than where the
// field stands, and reports false unless it is there and there is no doubt: that takes parsing the
// whole. A field with one key that a mapping does not have is the empty text. What it returns
// points into the document.
func (p Path) Find(document []byte) (raw string, ok bool) {
	at, ok := p.locate(document)
	if !ok {
		return "", false
	}
	if at.depth < len(p.parts) {
		return "", len(p.parts) == 1 && p.parts[0].index < 0 && document[at.start] == '{' && valid(document)
	}
	raw = text(document[at.start:at.end])
	scalar := raw[0] != '{' && raw[0] != '[' && raw[0] != '"'
	return raw, at.complete(document) && (!scalar || gjson.Valid(raw))
}

// valid takes no stack for what is nested deep: the limit is that of encoding/json.
func valid(document []byte) bool {
	const deepest = 10_000
	if bytes.Count(document, []byte{'['})+bytes.Count(document, []byte{'{'}) > deepest {
		return json.Valid(document)
	}
	return gjson.ValidBytes(document)
}

func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Set returns the document with raw, which is JSON, in place of the field. What is missing on the
// way to it is made: a mapping, or a list for an index, which is one behind the last item at most.
// The document itself stays as it is. If a mapping has the key more than once, the first one is
// set.
func (p Path) Set(document, raw []byte) ([]byte, error) {
	at, ok := p.locate(document)
	if !ok || !at.complete(document) && !valid(document) {
		return nil, ErrNotJSON
	}
	if at.depth == len(p.parts) {
		return splice(document, at.start, at.end, raw), nil
	}
	if err := p.fits(document[at.start], at); err != nil {
		return nil, err
	}
	made := raw
	for _, part := range slices.Backward(p.parts[at.depth+1:]) {
		switch {
		case part.index > 0:
			return nil, fmt.Errorf("%s has no items", p.name(len(p.parts)-1))
		case part.index == 0:
			made = slices.Concat([]byte("["), made, []byte("]"))
		default:
			made = slices.Concat([]byte("{"), part.key, made, []byte("}"))
		}
	}
	end := at.end - 1
	from := len(bytes.TrimRight(document[:end], space))
	if last := document[from-1]; last != '{' && last != '[' {
		return splice(document, from, end, []byte(","), p.parts[at.depth].key, made), nil
	}
	return splice(document, from, end, p.parts[at.depth].key, made), nil
}

// splice returns a copy of the document with the texts in place of document[from:to].
func splice(document []byte, from, to int, texts ...[]byte) []byte {
	size := len(document) - (to - from)
	for _, t := range texts {
		size += len(t)
	}
	b := append(make([]byte, 0, size), document[:from]...)
	for _, t := range texts {
		b = append(b, t...)
	}
	return append(b, document[to:]...)
}

// fits says whether the value at a place, which begins with first, can have the next part.
func (p Path) fits(first byte, at place) error {
	switch next := p.parts[at.depth]; {
	case first != next.opening:
		return fmt.Errorf("%s is %s", p.name(at.depth), kind(first))
	case next.index > at.items:
		return fmt.Errorf("%s has %d items", p.name(at.depth), at.items)
	}
	return nil
}

// name returns what the first n parts are.
func (p Path) name(n int) string {
	if n == 0 {
		return "the payload"
	}
	names := make([]string, n)
	for i := range names {
		names[i] = p.parts[i].name
	}
	return strings.Join(names, ".")
}

// kind returns what a value is that begins so.
func kind(first byte) string {
	switch first {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't':
		return "true"
	case 'f':
		return "false"
	case 'n':
		return "null"
	}
	return "a number"
}

// Delete returns the document without the field, or the document if it has none. Of a mapping that
// has a key more than once, the field goes from each.
func (p Path) Delete(document []byte) ([]byte, error) {
	if at, ok := p.locate(document); !ok || !at.complete(document) && !valid(document) {
		return nil, ErrNotJSON
	}
	cuts := p.cuts(nil, gjson.Parse(text(document)), 0)
	if len(cuts) == 0 {
		return document, nil
	}
	left, from := make([]byte, 0, len(document)), 0
	for _, c := range cuts {
		left, from = append(left, document[from:c.from]...), c.to
	}
	return append(left, document[from:]...), nil
}

// cut is what goes of a document: document[from:to].
type cut struct{ from, to int }

// cuts appends, in their order, those of r, which is what the first parts name.
func (p Path) cuts(all []cut, r gjson.Result, depth int) []cut {
	part := p.parts[depth]
	if part.index >= 0 && !r.IsArray() || part.index < 0 && !r.IsObject() {
		return all
	}
	n, stays, before := 0, false, 0 // items, whether one of them stays, and the end of the last one
	upToNext := false               // the last cut goes there, since nothing stands before it
	r.ForEach(func(key, value gjson.Result) bool {
		start, end := value.Index, value.Index+len(value.Raw)
		if part.index < 0 {
			start = key.Index
		}
		if upToNext {
			all[len(all)-1].to, upToNext = start, false
		}
		switch is := part.index == n || part.index < 0 && key.Str == part.name; {
		case is && depth < len(p.parts)-1:
			all, stays = p.cuts(all, value, depth+1), true
		case is && stays:
			all = append(all, cut{before, end})
		case is:
			all, upToNext = append(all, cut{start, end}), true
		default:
			stays = true
		}
		before = end
		n++
		return part.index < 0 || n <= part.index+1
	})
	return all
}
