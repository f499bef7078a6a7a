package record

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Pairs is how keys and values are written: logfmt, or what is like it.
type Pairs struct {
	Delimiter string // between pairs; empty: any white space
	Assign    string // between key and value
	Types     Types
}

// Validate checks both.
func (p Pairs) Validate() error {
	if p.Assign == "" || p.Assign == p.Delimiter {
		return bridge.KeyErrorf("assign", "must be one character between key and value, such as =")
	}
	if err := checkByte("delimiter", p.Delimiter); err != nil {
		return err
	}
	return checkByte("assign", p.Assign)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// ends reports whether c stands behind a pair.
func (p Pairs) ends(c byte) bool {
	if p.Delimiter == "" {
		return isSpace(c)
	}
	return c == p.Delimiter[0]
}

// Append appends the object of the pairs in a line. A key without a value is true. Values may be in
// double quotes, as Go writes them, with \ before what means something else otherwise. White space
// around keys and values is not part of them.
func (p Pairs) Append(dst, line []byte) ([]byte, error) {
	before, open := len(dst), byte('{')
	seen := make(map[string]struct{})
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		return dst, wrongAt(i, "a second line begins; split them before")
	}
	for at := 0; ; {
		for at < len(line) && (isSpace(line[at]) || p.ends(line[at])) {
			at++
		}
		if at == len(line) {
			break
		}
		begin := at
		for at < len(line) && line[at] != p.Assign[0] && !p.ends(line[at]) {
			if line[at] == '"' {
				return dst[:before], wrongAt(at, "a quote stands within a key")
			}
			at++
		}
		key := bytes.TrimRight(line[begin:at], " \t")
		if len(key) == 0 {
			return dst[:before], wrongAt(begin, "a value has no key")
		}
		if _, twice := seen[string(key)]; twice {
			return dst[:before], wrongAt(begin, "the key that begins here stands twice")
		}
		seen[string(key)] = struct{}{}
		dst = append(dst, open)
		open = ','
		var err error
		if dst, err = AppendText(dst, key); err != nil {
			return dst[:before], wrongAt(begin, "the key %v", err)
		}
		dst = append(dst, ':')
		if at == len(line) || line[at] != p.Assign[0] {
			dst = append(dst, "true"...)
			continue
		}
		if dst, at, err = p.value(dst, line, at+1, p.Types.of(string(key))); err != nil {
			return dst[:before], err
		}
	}
	if open == '{' {
		return dst[:before], &Error{Text: "there is no key"}
	}
	return append(dst, '}'), nil
}

// value appends the value that begins there, and returns where it ends.
func (p Pairs) value(dst, line []byte, at int, k kind) (_ []byte, end int, err error) {
	for p.Delimiter != "" && at < len(line) && isSpace(line[at]) && !p.ends(line[at]) {
		at++
	}
	quoted := at < len(line) && line[at] == '"'
	var v []byte
	if quoted {
		if v, end, err = unquote(line, at); err != nil {
			return dst, end, err
		}
		for p.Delimiter != "" && end < len(line) && isSpace(line[end]) {
			end++
		}
		if end < len(line) && !p.ends(line[end]) {
			return dst, end, wrongAt(end, "something stands behind the end of a quoted value")
		}
	} else {
		for end = at; end < len(line) && !p.ends(line[end]); end++ {
			if line[end] == '"' {
				return dst, end, wrongAt(end, "a quote stands within a value that does not begin with one")
			}
		}
		v = bytes.TrimRight(line[at:end], " \t")
	}
	if dst, err = appendValue(dst, v, k, quoted); err != nil {
		err = wrongAt(at, "the value %v", err)
	}
	return dst, end, err
}

// unquote returns what stands between the quote there and the next one, and where that ends.
func unquote(line []byte, at int) (v []byte, end int, err error) {
	from := at + 1
	for end = from; end < len(line); end++ {
		switch line[end] {
		case '"':
			if v == nil {
				return line[from:end], end + 1, nil
			}
			return v, end + 1, nil
		case '\\':
			if v == nil {
				v = bytes.Clone(line[from:end])
			}
			if end+1 == len(line) {
				continue
			}
			const longest = len(`\U0001F600`)
			r, isRune, rest, err := strconv.UnquoteChar(string(line[end:min(end+longest, len(line))]), '"')
			switch {
			case err != nil:
				return nil, end, wrongAt(end, `a \ stands before what it has no meaning for`)
			case isRune:
				v = utf8.AppendRune(v, r)
			default:
				v = append(v, byte(r))
			}
			end = min(end+longest, len(line)) - len(rest) - 1
		default:
			if v != nil {
				v = append(v, line[end])
			}
		}
	}
	return nil, end, wrongAt(at, "the quote that begins here has no end")
}
