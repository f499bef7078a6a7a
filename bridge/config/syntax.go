package config

import (
	"bytes"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// inBrackets matches what the parser says when brackets are not closed.
var inBrackets = regexp.MustCompile(`did not find expected (',' or|node content)`)

// goesOn matches a line where a value goes on behind the quote or bracket that ends it for YAML.
var goesOn = regexp.MustCompile(`^[^#\n]*?[:-] +(?:"[^"\n]*"|'[^'\n]*'|\[[^\]\n]*\]) *[^\s#,\]}:]`)

// mostLocated is the length of a text up to which places are looked for by parsing it again.
const mostLocated = 64 << 10

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntax records an error of the YAML parser in a text above which the file has so many lines. Its
// messages hold no content of the file but the names of anchors, which may be values that lack
// quotes.
func (d *document) syntax(text []byte, above int, err error) {
	m := yamlLine.FindStringSubmatch(err.Error())
	message := err.Error()[len(m[0]):]
	line, col := locate(text, message)
	if line == 0 {
		line, _ = strconv.Atoi(m[1])
	}
	if strings.HasPrefix(message, "unknown anchor") {
		// It is told where the parser has read on to.
		if at := bytes.LastIndexByte(text[:offset(text, line, col)], '*'); at >= 0 {
			line, col = position(text, at)
		}
		d.failLine(above+line, col, "an alias (*name) for which there is no anchor (&name) before it",
			"write &name in front of a value above, or quote a text that begins with *")
		return
	}
	if l, c := tabIndent(text, line); l != 0 {
		d.failLine(above+l, c, "a tab indents this line", "indent with spaces")
		return
	}
	if l, c := missingColon(text, line); l != 0 {
		d.failLine(above+l, c, "a colon is missing behind this key", "a key is followed by a colon and a space")
		return
	}
	at := offset(text, line, 1)
	line += above
	for _, l := range []int{line, line - 1} {
		if c, mend := d.braces(l, 0); c > 0 {
			d.failLine(l, c, bracesMessage, mend)
			return
		}
	}
	for _, l := range []int{line + 1, line - 1, line} {
		if d.line(l); d.lastLine == l && d.lastSpace > 0 {
			line = l // failLine says why
		}
	}
	if strings.HasPrefix(message, "did not find expected key") && goesOn.Match(text[at:]) {
		d.failLine(line, col, "not YAML: something follows a closing quote or bracket", "put the whole value in quotes")
		return
	}
	d.failLine(line, col, "not YAML: "+message, syntaxHint(message))
}

// noBreak returns the column where a no-break space, or what else looks like a space and is none to
// YAML, stands in place of one: in the indentation, or behind punctuation. It returns 0 if there is
// none.
func noBreak(line []rune) int {
	quote, before := rune(0), '-' // before is the last character but for spaces
	for i, r := range line {
		behind := strings.ContainsRune("-:,?[{", before)
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case behind && (r == '"' || r == '\''):
			quote = r
		case r == '#' && (i == 0 || line[i-1] == ' '):
			return 0
		case r == '\u200b' || r != ' ' && unicode.Is(unicode.Zs, r):
			if behind {
				return i + 1
			}
			continue
		}
		if r != ' ' {
			before = r
		}
	}
	return 0
}

// locate finds where the parser stumbles, since its own lines are inexact and
// it gives no columns: at the end of the shortest beginning of the text that
// gives the same error when its brackets are closed. It gives up on long texts.
func locate(text []byte, message string) (line, col int) {
	if len(text) > mostLocated {
		return 0, 0
	}
	same := func(n int) bool {
		_, err := decode(append(text[:n:n], closing(openBrackets(text[:n]), text)...))
		return err != nil && strings.HasSuffix(err.Error(), message)
	}
	if open := openBrackets(text); len(open) > 0 && inBrackets.MatchString(message) {
		return position(text, open[len(open)-1])
	}
	n := sort.Search(len(text), same)
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	at := len(bytes.TrimRight(text[:n], " \n\r"))
	return position(text, max(0, at-1))
}

// openBrackets returns where the { and [ stand that are not closed. It knows
// quotes and comments, as far as a text that is no YAML can be understood.
func openBrackets(text []byte) (open []int) {
	quote, before := byte(0), byte('\n') // before is the last character but for spaces
	for i, c := range text {
		spaced := i == 0 || bytes.IndexByte([]byte(" \t\n[{,"), text[i-1]) >= 0
		switch {
		case quote != 0:
			if c == quote && (c != '"' || text[i-1] != '\\') || c == '\n' && quote == '#' {
				quote = 0
			}
		case spaced && (c == '"' || c == '\'' || c == '#'):
			quote = c
		case (c == '{' || c == '[') && (len(open) > 0 || spaced && bytes.IndexByte([]byte(":-?\n"), before) >= 0):
			open = append(open, i)
		case (c == '}' || c == ']') && len(open) > 0:
			open = open[:len(open)-1]
		}
		if c != ' ' && c != '\t' {
			before = c
		}
	}
	return open
}

// closing returns the brackets that close the open ones.
func closing(open []int, text []byte) []byte {
	var all []byte
	for _, o := range slices.Backward(open) {
		all = append(all, text[o]+2) // } follows { by two in ASCII, and ] follows [
	}
	return all
}

// tabIndent returns where a tab indents a line at or shortly before the given one.
func tabIndent(text []byte, line int) (int, int) {
	for i, l := range bytes.Split(text, []byte("\n")) {
		indent := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]
		if col := bytes.IndexByte(indent, '\t'); col >= 0 && len(indent) < len(l) && i+1 >= line-1 && i+1 <= line+1 {
			return i + 1, col + 1
		}
	}
	return 0, 0
}

var keyWithoutColon = regexp.MustCompile(`^( *(?:- +)*)([A-Za-z_][\w-]*)(?: [^:#]*)?(?:#.*)?$`)

// missingColon returns where, in a line near that one, a key lacks the colon that makes the text
// YAML.
func missingColon(text []byte, line int) (int, int) {
	lines := bytes.SplitAfter(text, []byte("\n"))
	if len(text) > mostLocated {
		return 0, 0
	}
	for l := max(1, line-2); l <= min(len(lines), line+2); l++ {
		content := bytes.TrimRight(lines[l-1], "\r\n")
		m := keyWithoutColon.FindSubmatchIndex(content)
		if m == nil {
			continue
		}
		at := len(bytes.Join(lines[:l-1], nil)) + m[5]
		if _, err := decode(slices.Concat(text[:at], []byte(":"), text[at:])); err == nil {
			return l, m[4] + 1
		}
	}
	return 0, 0
}

func syntaxHint(message string) string {
	for _, h := range []struct{ part, hint string }{
		{"mapping values are not allowed", `quote a value that holds ": ", and check the indentation`},
		{"did not find expected key", "check the indentation"},
		{"could not find expected ':'", "a key is followed by a colon and a space"},
		{"did not find expected ',' or", "a { or [ is not closed, a comma is missing, " +
			"or a value with ?, [, ], # or ${…} needs quotes"},
		{"did not find expected node content", "a { or [ is not closed, or has an entry without value"},
		{"cannot start any token", "quote the value"},
		{"unexpected end of stream", "a quote is not closed"},
		{"block sequence entries are not allowed", "check the indentation"},
		{"unknown escape character", `write \\ for a backslash, or use single quotes`},
	} {
		if strings.Contains(message, h.part) {
			return h.hint
		}
	}
	return ""
}
