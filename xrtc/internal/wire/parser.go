package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// parser reads one JSON text. The first mistake stays in err, and after it every
// method returns at once, so that callers need not look after each.
type parser struct {
	in   []byte
	at   int
	lax  bool   // names and texts may come without quotes
	text []byte // texts that had escapes
	err  error
	odd  error // the first wrong value, which counts only if there is no mistake
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &Mistake{Text: fmt.Sprintf(format, args...)}
	}
}

// wrong notes a value that has the right type and is wrong all the same.
func (p *parser) wrong(format string, args ...any) {
	if p.odd == nil {
		p.odd = &Mistake{Text: fmt.Sprintf(format, args...), Value: true}
	}
}

// end checks that nothing but white space is left, and returns the verdict.
func (p *parser) end() error {
	if p.err == nil && p.peek() != 0 {
		p.fail("there is something behind the JSON object, at byte %d", p.at)
	}
	if p.err != nil {
		return p.err
	}
	return p.odd
}

// peek passes over white space and returns the next character, 0 at the end.
func (p *parser) peek() byte {
	for p.at < len(p.in) {
		switch c := p.in[p.at]; c {
		case ' ', '\t', '\n', '\r':
			p.at++
		case 0:
			p.fail("a NUL at byte %d", p.at)
			return 1
		default:
			return c
		}
	}
	return 0
}

// open passes over an opening brace or bracket, the beginning of what.
func (p *parser) open(c byte, what string) bool {
	if p.err != nil {
		return false
	}
	if p.peek() != c {
		kind := "an object"
		if c == '[' {
			kind = "a list"
		}
		p.expected(what, kind)
		return false
	}
	p.at++
	return true
}

// next reports whether there is another member before the closing brace or bracket, and
// passes over the comma or the end. first is true before the first call.
func (p *parser) next(first *bool, closing byte) bool {
	if p.err != nil {
		return false
	}
	c := p.peek()
	switch {
	case c == closing:
		p.at++
		return false
	case *first:
		*first = false
	case c == ',':
		p.at++
		if p.peek() == closing {
			p.fail("a comma with nothing behind it, at byte %d", p.at-1)
			return false
		}
	default:
		p.fail("a comma or %c is missing at byte %d", closing, p.at)
		return false
	}
	return p.err == nil
}

// name reads the name of a member and the colon.
func (p *parser) name() []byte {
	var name []byte
	switch c := p.peek(); {
	case p.err != nil:
		return nil
	case c == '"':
		name = p.quoted()
	case p.lax && wordChar[c]:
		name = p.word()
	default:
		p.fail("a name is missing at byte %d", p.at)
	}
	if p.err == nil && p.peek() != ':' {
		p.fail("a colon is missing at byte %d", p.at)
	}
	p.at++
	return name
}

// string reads a text, the value of what. It may alias the input.
func (p *parser) string(what string) []byte {
	switch c := p.peek(); {
	case p.err != nil:
		return nil
	case c == '"':
		return p.quoted()
	case p.lax && wordChar[c]:
		start := p.at
		if w := p.word(); !literal(w) {
			return w
		}
		p.at = start
	}
	p.expected(what, "a text")
	return nil
}

// integer reads a whole number, the value of what.
func (p *parser) integer(what string) int64 {
	if p.err != nil {
		return 0
	}
	p.peek()
	start := p.at
	w := p.word()
	n, err := strconv.ParseInt(string(w), 10, 64)
	if err != nil || !literal(w) { // JSON has no leading zeros
		p.at = start
		p.expected(what, wholeNumber)
		return 0
	}
	return n
}

// value reads a value of any kind, that of what, by encoding/json: for what is seldom or short.
func (p *parser) value(what string, v any) {
	p.peek()
	start := p.at
	p.skip(0)
	if p.err == nil && json.Unmarshal(p.in[start:p.at], v) != nil {
		p.fail("%s: a wrong type at byte %d", what, start)
	}
}

// null passes over a null, if that is what comes.
func (p *parser) null() bool {
	if p.err != nil || p.peek() != 'n' {
		return false
	}
	start := p.at
	if string(p.word()) == "null" {
		return true
	}
	p.at = start
	return false
}

const wholeNumber = "a whole number of 64 bits"

// expected fails for what, whose value is not of the kind.
func (p *parser) expected(what, kind string) {
	got := ""
	switch c := p.peek(); {
	case p.err != nil:
		return
	case c == 0:
		got = ", and the text ends"
	case c == '"':
		got = ", not a text"
	case c == '{':
		got = ", not an object"
	case c == '[':
		got = ", not a list"
	case kind != wholeNumber && (c == '-' || c >= '0' && c <= '9'):
		got = ", not a number"
	case c == 't' || c == 'f' || c == 'n':
		start := p.at
		if w := string(p.word()); w == "true" || w == "false" || w == "null" {
			got = ", not " + w
		}
		p.at = start
	}
	p.fail("%s: %s is wanted at byte %d%s", what, kind, p.at, got)
}

// wordChar says what words are made of.
var wordChar = func() (is [256]bool) {
	for c := range is {
		is[c] = c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '.' || c == '-'
	}
	return is
}()

// word reads characters that words are made of.
func (p *parser) word() []byte {
	start := p.at
	for p.at < len(p.in) && wordChar[p.in[p.at]] {
		p.at++
	}
	return p.in[start:p.at]
}

// literal reports whether a word is a number or literal of JSON.
func literal(w []byte) bool {
	switch string(w) {
	case "true", "false", "null":
		return true
	}
	i, digits := 0, func(i int) int {
		for i < len(w) && w[i] >= '0' && w[i] <= '9' {
			i++
		}
		return i
	}
	if i < len(w) && w[i] == '-' {
		i++
	}
	whole := digits(i)
	if whole == i || w[i] == '0' && whole > i+1 {
		return false
	}
	i = whole
	if i < len(w) && w[i] == '.' {
		if i = digits(i + 1); w[i-1] == '.' {
			return false
		}
	}
	if i < len(w) && (w[i] == 'e' || w[i] == 'E') {
		i++
		if i < len(w) && (w[i] == '-' || w[i] == '+') {
			i++
		}
		exponent := digits(i)
		return exponent > i && exponent == len(w)
	}
	return i == len(w)
}

// quoted reads a text in quotes.
func (p *parser) quoted() []byte {
	p.at++
	start := p.at
	p.at += plain(p.in[start:])
	if p.at < len(p.in) && p.in[p.at] == '"' {
		s := p.in[start:p.at:p.at]
		p.at++
		if !utf8.Valid(s) {
			p.fail("the text that begins at byte %d is not UTF-8", start)
		}
		return s
	}
	return p.escaped(start)
}

// written reads a text, the value of what, and returns it as [AppendText] writes it. Nearly always that is as it came.
func (p *parser) written(what string) []byte {
	if p.peek() == '"' && p.err == nil {
		for i := p.at + 1; ; {
			i += plain(p.in[i:])
			switch {
			case i+1 < len(p.in) && p.in[i] == '\\' && usual[p.in[i+1]]:
				i += 2
				continue
			case i < len(p.in) && p.in[i] == '"' && utf8.Valid(p.in[p.at:i]):
				s := p.in[p.at : i+1 : i+1]
				p.at = i + 1
				return s
			}
			break
		}
	}
	s := p.string(what)
	if p.err != nil {
		return nil
	}
	from := len(p.text)
	p.text = AppendText(p.text, s)
	return p.text[from:len(p.text):len(p.text)]
}

// usual are the escapes that [AppendText] uses, but for those with four digits.
var usual = [256]bool{'"': true, '\\': true, 'n': true, 'r': true, 't': true}

// escaped reads the rest of a text that began at start and has escapes.
func (p *parser) escaped(start int) []byte {
	from := len(p.text)
	copied := start
	for p.at < len(p.in) {
		switch c := p.in[p.at]; {
		case c == '"':
			p.text = append(p.text, p.in[copied:p.at]...)
			p.at++
			s := p.text[from:len(p.text):len(p.text)]
			if !utf8.Valid(s) {
				p.fail("the text that begins at byte %d is not UTF-8", start)
			}
			return s
		case c != '\\':
			p.fail("a control character at byte %d must be written \\u%04x", p.at, c)
			return nil
		}
		p.text = append(p.text, p.in[copied:p.at]...)
		if !p.escape() {
			p.fail("an escape at byte %d that JSON does not know", p.at)
			return nil
		}
		copied = p.at
		p.at += plain(p.in[p.at:])
	}
	p.fail("the text that begins at byte %d has no end", start)
	return nil
}

// escape reads one escape into p.text.
func (p *parser) escape() bool {
	if p.at+1 >= len(p.in) {
		return false
	}
	c := p.in[p.at+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return p.unicode()
	default:
		return false
	}
	p.text = append(p.text, c)
	p.at += 2
	return true
}

// unicode reads \uXXXX, and the second half of a pair. Half a pair becomes U+FFFD.
func (p *parser) unicode() bool {
	r, ok := p.hex(p.at)
	if !ok {
		return false
	}
	p.at += 6
	if utf16.IsSurrogate(r) {
		second, ok := p.hex(p.at)
		if pair := utf16.DecodeRune(r, second); ok && pair != utf8.RuneError {
			p.at += 6
			r = pair
		}
	}
	p.text = utf8.AppendRune(p.text, r) // which writes U+FFFD for half a pair
	return true
}

// hex returns the code of the \uXXXX at i, if there is one.
func (p *parser) hex(i int) (rune, bool) {
	if i+6 > len(p.in) || p.in[i] != '\\' || p.in[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range p.in[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// maxDepth bounds what skip follows.
const maxDepth = 64

// skip passes over a value of any kind.
func (p *parser) skip(depth int) {
	c := p.peek()
	first := true
	switch {
	case p.err != nil:
	case depth > maxDepth:
		p.fail("nested more than %d deep", maxDepth)
	case c == '"':
		p.quoted()
	case c == '{':
		p.at++
		for p.next(&first, '}') {
			p.name()
			p.skip(depth + 1)
		}
	case c == '[':
		p.at++
		for p.next(&first, ']') {
			p.skip(depth + 1)
		}
	default:
		start := p.at
		for p.at < len(p.in) && (wordChar[p.in[p.at]] || p.in[p.at] == '+') {
			p.at++
		}
		if !literal(p.in[start:p.at]) {
			p.fail("a value is missing at byte %d", start)
		}
	}
}
