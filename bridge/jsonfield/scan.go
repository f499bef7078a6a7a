package jsonfield

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/tidwall/gjson"
)

// place is how far a path leads in a document.
type place struct {
	depth      int // how many parts of the path lead there
	start, end int // of the value there, the last one on the way that is in the document
	items      int // how many it has, if it is a list and has not the next part
}

// locate follows the path. If a mapping has a key more than once, the first one counts. It reports
// false if the document is not JSON up to there; of what it passes it looks for the end only.
func (p Path) locate(document []byte) (at place, ok bool) {
	at.start = behindSpace(document, 0)
	for at.depth < len(p.parts) && peek(document, at.start) == p.parts[at.depth].opening {
		part, container := &p.parts[at.depth], at.start
		var found bool
		if part.index < 0 {
			var key int
			key, at.start = seek(document, container, part.name)
			found = key >= 0
		} else {
			at.items, at.start = item(document, container, part.index)
			found = at.items > part.index
		}
		if !found {
			at.start, at.end = container, at.start
			return at, at.end >= 0
		}
		at.depth++
	}
	at.end = valueEnd(document, at.start)
	return at, at.end >= 0
}

// item returns how many items there are in the list that begins at i, the one of the index as the
// last one, and where that begins; if there is none, where the list ends, and -1 if it does not.
func item(document []byte, i, index int) (n, next int) {
	i = behindSpace(document, i+1)
	if peek(document, i) == ']' {
		return 0, i + 1
	}
	for n = 1; n <= index; n++ {
		if i = valueEnd(document, i); i < 0 {
			break
		}
		i = behindSpace(document, i)
		if peek(document, i) == ']' {
			return n, i + 1
		}
		if peek(document, i) != ',' {
			return n, -1
		}
		i = behindSpace(document, i+1)
	}
	return n, i
}

// valueEnd returns where the value ends that begins at i, and -1 if it does not.
func valueEnd(document []byte, i int) int {
	switch peek(document, i) {
	case '{', '[', '"':
		_, i = seek(document, i, "")
		return i
	}
	start := i
	for i < len(document) && document[i] > ' ' && document[i] != ',' && document[i] != ']' && document[i] != '}' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// seek looks for a key of the mapping that begins at i. It returns where the key begins, and its
// value; if there is none, -1, and where the mapping ends; -1 if it does not. With no name it looks
// for the end of any mapping, list or text. It is what most of the time with JSON goes into.
func seek(document []byte, i int, name string) (key, next int) {
	looked := 0 // how far flatEnd has
	for depth := 0; i < len(document); i++ {
		switch document[i] {
		case '"':
			begin := i
			if i = closingQuote(document, i); i < 0 {
				return -1, -1
			}
			if depth == 0 {
				return -1, i + 1
			}
			if depth > 1 || name == "" {
				continue
			}
			if colon := behindSpace(document, i+1); peek(document, colon) == ':' && is(document[begin+1:i], name) {
				return begin, behindSpace(document, colon+1)
			}
		case '{', '[':
			if depth == 1 && i >= looked { // else what was there did not end in its own way, and is no JSON
				var flat bool
				if looked, flat = flatEnd(document, i); flat {
					i = looked
					continue
				}
			}
			depth++
		case '}', ']':
			if depth--; depth <= 0 {
				return -1, i + 1
			}
		}
	}
	return -1, -1
}

// flatEnd returns where the mapping, or list, closes that begins at i, if it has no other one of
// its kind in it and no backslash, and else how far it has looked: it does not close before that.
// What it does is nearly all done many bytes at once.
func flatEnd(document []byte, i int) (end int, flat bool) {
	opening, inside := document[i], document[i+1:]
	n := bytes.IndexByte(inside, opening+2)
	if n < 0 {
		return len(document), false
	}
	inside = inside[:n]
	flat = bytes.IndexByte(inside, opening) < 0 && bytes.IndexByte(inside, '\\') < 0 &&
		bytes.Count(inside, []byte{'"'})%2 == 0 // else it closes in a text
	return i + 1 + n, flat
}

// closingQuote returns where the text has its closing quote whose opening one is at i, and -1 if
// there is none. It looks at eight bytes at once.
func closingQuote(document []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for i++; len(document)-i >= 8; {
		quote := binary.LittleEndian.Uint64(document[i:]) ^ '"'*ones
		// The lowest bit that is set is that of the first byte that is a quote.
		hits := (quote - ones) &^ quote & tops
		if hits == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hits) / 8
		if document[i-1] != '\\' || !escaped(document[:i]) {
			return i
		}
		i++
	}
	for ; i < len(document); i++ {
		if document[i] == '"' && !escaped(document[:i]) {
			return i
		}
	}
	return -1
}

// escaped reports whether what follows text, which has a quote, is escaped by backslashes there.
func escaped(text []byte) bool {
	i := len(text)
	for text[i-1] == '\\' {
		i--
	}
	return (len(text)-i)%2 == 1
}

// is reports whether a key, as it is written, is that of the name. With an escape it is longer.
func is(key []byte, name string) bool {
	if len(key) <= len(name) {
		return string(key) == name && bytes.IndexByte(key, '\\') < 0
	}
	i := 0
	for i < len(name) && key[i] == name[i] && key[i] != '\\' {
		i++
	}
	return key[i] == '\\' && gjson.Parse(`"`+string(key)+`"`).Str == name
}

func behindSpace(document []byte, i int) int {
	for i < len(document) && (document[i] == ' ' || document[i] == '\n' || document[i] == '\r' || document[i] == '\t') {
		i++
	}
	return i
}

// peek returns the byte at i, and 0 behind the end.
func peek(document []byte, i int) byte {
	if i < len(document) {
		return document[i]
	}
	return 0
}

// complete reports whether what is behind a place is the rest of one mapping or list, and not
// another one, so that several of them, or one that was cut short, are not taken for one. In doubt
// it says no.
func (at place) complete(document []byte) bool {
	end := len(document)
	for end > at.end && document[end-1] <= ' ' {
		end--
	}
	first, last := document[behindSpace(document, 0)], document[end-1]
	if first != '{' && first != '[' || last != first+2 {
		return false
	}
	if at.depth == 0 {
		return at.end == end
	}
	for i := at.end; ; i++ {
		next := bytes.IndexByte(document[i:end], first)
		if next < 0 {
			return true
		}
		i += next
		before := i - 1
		for document[before] <= ' ' {
			before--
		}
		if document[before] == last {
			return false
		}
	}
}
