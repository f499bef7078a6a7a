package step

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

//go:embed parse.yaml
var parseExample string

// Parse returns the connector parse, a step that puts JSON in place of a payload that is text.
//
// # Settings
//
// format is what the payload is, and says what becomes of it; in place of the mapping,
// `parse: logfmt` sets it.
//
//	json       the same JSON, on one line
//	ndjson     an array of the values, of which each line is one
//	csv        an array with an object for each row, named by the first row; with columns, which
//	           names them, the payload is one row, and becomes one object
//	logfmt     an object; a key without a value is true
//	key_value  an object; delimiter stands between pairs, assign between key and value
//	syslog     an object; both RFC 5424 and 3164, also without priority, as files have it
//	lines      an array of texts
//
// Keys are in the order of the text. Values are texts unless types says otherwise: auto takes for a
// number what JSON would write as one, digit by digit, so that 007 stays a text. A value of CSV in
// quotes is a text to auto.
//
// # Errors
//
// A payload that is not in that format is refused, with line and column where that shows, and so is
// one that is not UTF-8, or would become larger than max_size, or has the same key twice.
func Parse() bridge.Connector {
	return bridge.Connector{
		Name:     "parse",
		Summary:  "makes JSON of text: csv, logfmt, key=value, syslog, ndjson, lines",
		Delivery: "what cannot be parsed is refused",
		Example:  parseExample,
		Step: bridge.NewOpener(parseSettings{
			CSV: record.CSV{Quotes: true}, Assign: "=", Types: record.Types{Default: "text"}, MaxSize: 16 << 20,
		}, openParse),
	}
}

type parseSettings struct {
	Format     string `yaml:"format,short,required" enum:"json|ndjson|csv|logfmt|key_value|syslog|lines" doc:"what the payload is"`
	record.CSV `yaml:",inline"`
	Assign     string       `yaml:"assign" doc:"one character between key and value of key_value"`
	Types      record.Types `yaml:"types" doc:"which values are not texts"`
	MaxSize    bridge.Size  `yaml:"max_size" doc:"what would become larger is refused"`
}

// Describe says that a message that comes again is the same one, and how much rows may become.
func (s *parseSettings) Describe() bridge.Description {
	return describeRows(s.Format, s.MaxSize)
}

// describeRows describes a step between rows and objects: each row of a payload has all names of
// it, or what stands between them, so that long names and short rows become most.
func describeRows(format string, most bridge.Size) bridge.Description {
	d := repeats()
	if format == "csv" {
		d.Grows = func(size int) int {
			if size > 1<<16 {
				return int(most)
			}
			return min(size*(size/4+8), int(most))
		}
	}
	return d
}

// Validate checks what the format has a use for.
func (s parseSettings) Validate() error {
	if s.MaxSize < 1 {
		return bridge.KeyErrorf("max_size", "must be at least 1 byte")
	}
	if t := s.Types; (t.Default != "text" || len(t.Number)+len(t.Bool)+len(t.Text) > 0) &&
		!slices.Contains([]string{"csv", "logfmt", "key_value"}, s.Format) {
		return bridge.KeyErrorf("types", "are of csv, logfmt and key_value, and the format is %s", s.Format)
	}
	return errors.Join(s.pairs().Validate(), useful(s.Format, s.CSV, s.Assign))
}

// useful returns an error about settings that the format has no use for.
func useful(format string, c record.CSV, assign string) error {
	if len(c.Columns) > 0 && format != "csv" {
		return bridge.KeyErrorf("columns", "are of CSV, and the format is %s", format)
	}
	if assign != "=" && format != "key_value" {
		return bridge.KeyErrorf("assign", "is of key_value, and the format is %s", format)
	}
	if c.Delimiter != "" && format != "csv" && format != "key_value" {
		return bridge.KeyErrorf("delimiter", "is of csv and key_value, and the format is %s", format)
	}
	return nil
}

func (s parseSettings) pairs() record.Pairs {
	return record.Pairs{Delimiter: s.Delimiter, Assign: s.Assign, Types: s.Types}
}

// convert appends to dst what becomes of the payload of a message.
type convert func(dst []byte, m *bridge.Message) ([]byte, error)

// rewrite puts something else in place of payloads.
type rewrite struct {
	name    string // for errors
	convert convert
	most    int
}

var _ bridge.Step = rewrite{}

var errNothing = errors.New("there is nothing in it")

func (r rewrite) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	size := 0
	for i := range batch {
		size += len(batch[i].Payload)
	}
	// What does not fit behind what was made of others has memory of its own, so that this is not
	// moved again and again: a small payload may become a large one.
	buf := make([]byte, 0, min(2*size+64, 4<<20))
	for i := range batch {
		m := batch[i]
		made, err := r.convert(buf, &m)
		switch n := len(made); {
		case errors.Is(err, errNothing):
			out.Drop(i)
			continue
		case err == nil && n > r.most:
			err = tooLarge(r.most)
			fallthrough
		case err != nil:
			out.Refuse(i, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		m.Payload = slices.Clip(made)
		buf = made[len(made):]
		out.Emit(i, m)
	}
	return nil
}

func (rewrite) Close() error { return nil }

func tooLarge(most int) error {
	return fmt.Errorf("it would become larger than max_size, which is %v", bridge.Size(most))
}

func openParse(_ context.Context, s *parseSettings, _ bridge.Env) (bridge.Step, error) {
	c, err := s.convert()
	return rewrite{"parse " + s.Format, c, int(s.MaxSize)}, err
}

func (s *parseSettings) convert() (convert, error) {
	switch s.Format {
	case "json":
		return parseJSON, nil
	case "ndjson":
		return each(false, parseJSON), nil
	case "lines":
		return each(true, func(dst []byte, m *bridge.Message) ([]byte, error) {
			return record.AppendText(dst, m.Payload)
		}), nil
	case "syslog":
		return func(dst []byte, m *bridge.Message) ([]byte, error) {
			return record.AppendSyslog(dst, oneLine(m.Payload), m.Time)
		}, nil
	case "csv":
		return s.csv()
	}
	pairs := s.pairs()
	return func(dst []byte, m *bridge.Message) ([]byte, error) { return pairs.Append(dst, oneLine(m.Payload)) }, nil
}

// oneLine returns a payload without an end of line.
func oneLine(p []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(p, []byte{'\n'}), []byte{'\r'})
}

func parseJSON(dst []byte, m *bridge.Message) ([]byte, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(m.Payload, []byte("\xef\xbb\xbf")))
	if err := record.CheckJSON(text); err != nil {
		return dst, err
	}
	if !utf8.Valid(text) {
		return dst, errors.New("it is not UTF-8, which JSON must be")
	}
	if bytes.IndexByte(text, '\n') < 0 {
		return append(dst, text...), nil
	}
	b := bytes.NewBuffer(dst)
	err := json.Compact(b, text)
	return b.Bytes(), err
}

// each makes an array of what becomes of each line; an empty one is a value only if blank says so.
func each(blank bool, one convert) convert {
	return func(dst []byte, m *bridge.Message) ([]byte, error) {
		before, n, text := len(dst), 0, oneLine(m.Payload)
		dst = append(dst, '[')
		for line := range bytes.SplitSeq(text, []byte{'\n'}) {
			n++
			if line = bytes.TrimSuffix(line, []byte{'\r'}); len(line) == 0 && (!blank || len(text) == 0) {
				continue
			}
			if len(dst) > before+1 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = one(dst, &bridge.Message{Payload: line}); err != nil {
				return dst[:before], record.Below(err, n)
			}
		}
		return append(dst, ']'), nil
	}
}

func (s *parseSettings) csv() (convert, error) {
	if len(s.Columns) > 0 {
		table, err := s.Table(s.Types, nil)
		if err != nil {
			return nil, bridge.Permanent(fmt.Errorf("columns: %w", err))
		}
		return func(dst []byte, m *bridge.Message) ([]byte, error) {
			row := bytes.Trim(m.Payload, "\r\n")
			if _, taken := s.Rows().Next(row, 0, true); taken < len(row) {
				return dst, errors.New("it has several rows, and columns are for one; " +
					"split them before, or let the first row name the columns")
			}
			return table.Append(dst, row)
		}, nil
	}
	return func(dst []byte, m *bridge.Message) ([]byte, error) {
		return s.AppendTable(dst, m.Payload, s.Types, int(s.MaxSize))
	}, nil
}
