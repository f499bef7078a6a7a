package framing

import (
	"bytes"
	"regexp"
	"strings"
)

const bom = "\xef\xbb\xbf" // the byte order mark of UTF-8

// values finds JSON values. It knows brackets and quotes only: whether a value is one is asked
// later.
type values struct {
	depth   int
	quoted  bool
	escaped bool
}

var _ Framer = (*values)(nil)

func (v *values) Next(buf []byte, seen int, last bool) (size, taken int) {
	if seen == 0 {
		*v = values{}
		if n := len(buf) - len(bytes.TrimLeft(buf, " \t\r\n\x1e")); n > 0 { // the last one is of RFC 7464
			return 0, n
		}
	}
	switch {
	case seen >= len(bom):
	case bytes.HasPrefix(buf, []byte(bom)):
		return 0, len(bom)
	case !last && len(buf) < len(bom) && strings.HasPrefix(bom, string(buf)):
		return 0, 0
	}
	for i := seen; i < len(buf); i++ {
		c := buf[i]
		switch {
		case v.escaped:
			v.escaped = false
		case v.quoted && c == '\\':
			v.escaped = true
		case c == '"' && !v.quoted && v.depth == 0 && i > 0:
			return i, i // behind a number, say
		case c == '"':
			if v.quoted = !v.quoted; !v.quoted && v.depth == 0 {
				return i + 1, i + 1
			}
		case v.quoted:
		case c == '{' || c == '[':
			if v.depth == 0 && i > 0 {
				return i, i
			}
			v.depth++
		case c == '}' || c == ']':
			if v.depth--; v.depth < 0 && i > 0 {
				return i, i
			}
			if v.depth <= 0 {
				return i + 1, i + 1
			}
		case v.depth == 0 && (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' && i > 0):
			return i, i
		}
	}
	if last {
		return len(buf), len(buf)
	}
	return 0, 0
}

func (*values) Resume(buf []byte) int { return bytes.IndexByte(buf, '\n') }

// whole takes all there is.
type whole struct{}

func (whole) Next(buf []byte, _ int, last bool) (size, taken int) {
	if last {
		return len(buf), len(buf)
	}
	return 0, 0
}

func (whole) Resume([]byte) int { return -1 }

// multiline finds lines that match, with those behind each of them that do not.
type multiline struct{ start *regexp.Regexp }

func (m multiline) Next(buf []byte, seen int, last bool) (size, taken int) {
	if line, _, found := bytes.Cut(buf[:min(2, len(buf))], []byte{'\n'}); found &&
		len(bytes.TrimSuffix(line, []byte{'\r'})) == 0 {
		return 0, len(line) + 1
	}
	// The last line that was there at the call before had no end.
	end := bytes.LastIndexByte(buf[:seen], '\n')
	if end < 0 {
		end = bytes.IndexByte(buf, '\n')
	}
	for end >= 0 {
		line, _, found := bytes.Cut(buf[end+1:], []byte{'\n'})
		switch {
		case !found && !last:
			return 0, 0
		case len(line) > 0 && m.start.Match(bytes.TrimSuffix(line, []byte{'\r'})):
			return end, end + 1
		case !found:
			return len(bytes.TrimSuffix(buf, []byte{'\n'})), len(buf)
		}
		end += 1 + len(line)
	}
	if last {
		return len(buf), len(buf)
	}
	return 0, 0
}

func (multiline) Resume(buf []byte) int { return bytes.IndexByte(buf, '\n') }
