package record

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// MaxHeader bounds a row of names, in bytes: they stand in each object that is made of a row.
const MaxHeader = 64 << 10

const bom = "\xef\xbb\xbf" // the byte order mark of UTF-8

// CSV is how tables are written.
type CSV struct {
	Columns   []string `yaml:"columns" doc:"names of the columns of CSV, which has no row of names then; empty: its first row has them"`
	Delimiter string   `yaml:"delimiter" doc:"one character between the values; empty: a comma for CSV, any white space for key_value"`
	Quotes    bool     `yaml:"quotes" doc:"values of CSV may be in double quotes; false: a double quote is a character as others"`
}

// Validate checks the names and the delimiter.
func (c CSV) Validate() error {
	_, twice := duplicate(c.Columns)
	if twice {
		return bridge.KeyErrorf("columns", "a name stands twice")
	}
	return checkByte("delimiter", c.Delimiter)
}

func (c CSV) comma() byte {
	if c.Delimiter == "" {
		return ','
	}
	return c.Delimiter[0]
}

func duplicate(names []string) (int, bool) {
	seen := make(map[string]bool, len(names))
	for i, n := range names {
		if seen[n] {
			return i, true
		}
		seen[n] = true
	}
	return 0, false
}

// names returns the values of a row of names.
func (c CSV) names(row []byte) (names []string, err error) {
	row = bytes.TrimPrefix(row, []byte(bom))
	switch {
	case len(row) > MaxHeader:
		return nil, fmt.Errorf("has %d bytes of names, and %d are allowed", len(row), MaxHeader)
	case bytes.Count(row, []byte("\r")) > bytes.Count(row, []byte("\r\n")): // all of the text may be this row
		return nil, errors.New(
			"has carriage returns without line feeds, which end no row here; tr '\\r' '\\n' makes them line feeds")
	case c.Quotes:
		r := csv.NewReader(bytes.NewReader(row))
		r.Comma = rune(c.comma())
		if names, err = r.Read(); err != nil {
			return nil, errors.New("is not a row of CSV with the names of columns")
		}
	default:
		names = strings.Split(string(row), string(c.comma()))
	}
	if i, twice := duplicate(names); twice {
		return nil, fmt.Errorf("has the name of column %d twice; the setting columns names them otherwise", i+1)
	}
	return names, nil
}

// Table makes objects of rows whose columns have names. It does not change, so that several
// goroutines may use it.
type Table struct {
	comma  byte
	quotes bool
	stops  [256]bool // where the quick way to the end of a value stops
	keys   [][]byte  // with what stands before the value: `{"a":`, `,"b":`
	kinds  []kind
}

// Table returns one whose names are the columns of c or, if it has none, stand in a row.
func (c CSV) Table(types Types, header []byte) (*Table, error) {
	names := c.Columns
	if len(names) == 0 {
		var err error
		if names, err = c.names(header); err != nil {
			return nil, err
		}
	}
	t := &Table{comma: c.comma(), quotes: c.Quotes}
	for b := range t.stops {
		t.stops[b] = b < ' ' || b > '~' || b == '"' || b == '\\' || byte(b) == t.comma
	}
	for i, name := range names {
		key, err := AppendText([]byte("{,"[min(i, 1):min(i, 1)+1]), []byte(name))
		if err != nil {
			return nil, fmt.Errorf("has a name, of column %d, that %w", i+1, err)
		}
		t.keys = append(t.keys, append(key, ':'))
		t.kinds = append(t.kinds, types.of(name))
	}
	return t, nil
}

// Append appends the object of a row, which has no end of line. After an error what it returns is
// dst as it was.
func (t *Table) Append(dst, row []byte) ([]byte, error) {
	before := len(dst)
	for at, n := 0, 0; ; n++ {
		if n == len(t.keys) {
			return dst[:before], wrongAt(at, "there are more values than the %d columns", n)
		}
		dst = append(dst, t.keys[n]...)
		var end int
		var err error
		if t.quotes && at < len(row) && row[at] == '"' {
			dst, end, err = t.quoted(dst, row, at, t.kinds[n])
		} else {
			dst, end, err = t.bare(dst, row, at, t.kinds[n])
		}
		if err != nil {
			return dst[:before], err
		}
		if end < len(row) {
			at = end + 1
			continue
		}
		if n++; n < len(t.keys) {
			return dst[:before], wrongAt(end, "there are values for %d of %d columns", n, len(t.keys))
		}
		return append(dst, '}'), nil
	}
}

// bare appends the value that begins there without a quote, and returns where it ends.
func (t *Table) bare(dst, row []byte, at int, k kind) (_ []byte, end int, err error) {
	for end = at; end < len(row) && !t.stops[row[end]]; end++ {
	}
	plain := end == len(row) || row[end] == t.comma
	for ; end < len(row) && row[end] != t.comma; end++ {
		if row[end] == '"' && t.quotes {
			return dst, end, wrongAt(end, "a quote stands within a value that does not begin with one; quotes: false allows it")
		}
	}
	v := row[at:end]
	word := len(v) > 0 && v[0] > '9' && v[0] != 't' && v[0] != 'f' // no number, true or false
	if plain && (k == text || k == auto && word) {
		dst = append(dst, '"')
		dst = append(dst, v...)
		return append(dst, '"'), end, nil
	}
	if dst, err = appendValue(dst, v, k, false); err != nil {
		err = wrongAt(at, "the value %v", err)
	}
	return dst, end, err
}

// quoted appends the value that begins there with a quote.
func (t *Table) quoted(dst, row []byte, at int, k kind) (_ []byte, end int, err error) {
	doubled := false
	for end = at + 1; ; end++ {
		i := bytes.IndexByte(row[end:], '"')
		if i < 0 {
			return dst, end, wrongAt(at, "the quote that begins here has no end")
		}
		if end += i; end+1 == len(row) || row[end+1] != '"' {
			break
		}
		doubled = true
		end++
	}
	v := row[at+1 : end]
	if end++; end < len(row) && row[end] != t.comma {
		return dst, end, wrongAt(end, "something stands between the end of a quoted value and the delimiter")
	}
	if doubled {
		v = bytes.ReplaceAll(v, []byte(`""`), []byte(`"`))
	}
	if dst, err = appendValue(dst, v, k, true); err != nil {
		err = wrongAt(at, "the value %v", err)
	}
	return dst, end, err
}

// Rows finds the rows of a stream, for a splitter of package framing. A line that is empty is no
// row.
type Rows struct {
	comma  byte
	quotes bool
	state  rowState
}

type rowState byte

const (
	starting rowState = iota // a value
	bare                     // in one that has no quotes
	quoted                   // in one that has
	closed                   // behind a quote in one that has
)

// Rows returns what finds rows.
func (c CSV) Rows() *Rows { return &Rows{comma: c.comma(), quotes: c.Quotes} }

// Next returns the size of the row that begins at buf[0], and how many bytes it takes with the end
// of its line; 0 and those of an empty line, if it begins with that; 0 and 0 if the end is not
// there yet. So many bytes of buf were there at the call before, and last says that no more will
// come.
func (r *Rows) Next(buf []byte, seen int, last bool) (size, taken int) {
	if seen == 0 {
		r.state = starting
		i := bytes.IndexByte(buf, '\n')
		switch {
		case i < 0:
		case !r.quotes || bytes.IndexByte(buf[:i], '"') < 0:
			return endOf(buf[:i]), i + 1
		}
	}
	for i := seen; i < len(buf); i++ {
		switch c := buf[i]; {
		case c == '"' && r.quotes && r.state == quoted:
			r.state = closed
		case c == '"' && r.quotes && r.state != bare: // at the beginning, or the second of two
			r.state = quoted
		case r.state == quoted:
		case c == '\n':
			return endOf(buf[:i]), i + 1
		case c == r.comma:
			r.state = starting
		case i >= len(bom) || !strings.HasPrefix(bom, string(buf[:i+1])):
			r.state = bare
		}
	}
	if last {
		return endOf(buf), len(buf)
	}
	return 0, 0
}

// Resume returns where a line ends, -1 if it does not: rows are looked for behind it.
func (r *Rows) Resume(buf []byte) int { return bytes.IndexByte(buf, '\n') }

// endOf returns where a row ends that has that line, or the last of its lines.
func endOf(line []byte) int {
	if n := len(line); n == 1 && line[0] == '\r' {
		return 0
	}
	return len(line)
}

// AppendTable appends an array with the object of each row of a table, whose first row has the
// names. It is an error if that would take more than so many bytes.
func (c CSV) AppendTable(dst, text []byte, types Types, most int) ([]byte, error) {
	before, line := len(dst), 1
	var t *Table
	rows := c.Rows()
	dst = append(dst, '[')
	for len(text) > 0 {
		size, taken := rows.Next(text, 0, true)
		row := bytes.TrimSuffix(text[:size], []byte{'\r'})
		var err error
		switch {
		case size == 0: // an empty line
		case t == nil:
			if t, err = c.Table(types, row); err != nil {
				return dst[:before], fmt.Errorf("the row in line %d %w", line, err)
			}
		default:
			if len(dst) > before+1 {
				dst = append(dst, ',')
			}
			if dst, err = t.Append(dst, row); err != nil {
				return dst[:before], Below(err, line)
			}
			if len(dst)-before > most {
				return dst[:before], fmt.Errorf("it would become larger than %v", bridge.Size(most))
			}
		}
		line += bytes.Count(text[:taken], []byte{'\n'})
		text = text[taken:]
	}
	return append(dst, ']'), nil
}
