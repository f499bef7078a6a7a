package step

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

//go:embed format.yaml
var formatExample string

// Format returns the connector format, a step that puts text in place of a payload that is JSON:
// the inverse of [Parse].
//
// # Settings
//
// format is what is made; in place of the mapping, `format: csv` sets it.
//
//	json       the same JSON, on one line
//	ndjson     each element of an array on a line
//	csv        a row of an object, or rows of an array of objects; columns says which keys, and in
//	           which order, else all of the first object; header begins with a row of their names
//	logfmt     key=value of an object
//	key_value  the same, with delimiter between pairs and assign between key and value
//	syslog     a line of RFC 5424 of an object with the keys that parse makes
//	lines      each text of an array on a line
//
// A value that is a text is written as it is, null as nothing, and all else as JSON, numbers with
// the digits that they have. There is no end of line behind the last line.
//
// # Errors
//
// A payload that is not JSON, or of which that cannot be made, is refused. Of an empty array
// nothing is made: the message counts as filtered.
func Format() bridge.Connector {
	return bridge.Connector{
		Name:     "format",
		Summary:  "makes text of JSON: csv, logfmt, key=value, syslog, ndjson, lines",
		Delivery: "what has no such form is refused; an empty array is counted as filtered",
		Example:  formatExample,
		Step:     bridge.NewOpener(formatSettings{CSV: record.CSV{Quotes: true}, Assign: "=", MaxSize: 16 << 20}, openFormat),
	}
}

type formatSettings struct {
	Format     string `yaml:"format,short,required" enum:"json|ndjson|csv|logfmt|key_value|syslog|lines" doc:"what is made"`
	record.CSV `yaml:",inline"`
	Header     bool        `yaml:"header" doc:"begin with a row of the names of the columns, in each message"`
	Assign     string      `yaml:"assign" doc:"one character between key and value of key_value"`
	MaxSize    bridge.Size `yaml:"max_size" doc:"what would become larger is refused"`
}

// Describe says that a message that comes again is the same one, and how much rows may become.
func (s *formatSettings) Describe() bridge.Description {
	return describeRows(s.Format, s.MaxSize)
}

// Validate checks what the format has a use for.
func (s formatSettings) Validate() error {
	switch {
	case s.MaxSize < 1:
		return bridge.KeyErrorf("max_size", "must be at least 1 byte")
	case s.Header && s.Format != "csv":
		return bridge.KeyErrorf("header", "is of CSV, and the format is %s", s.Format)
	case !s.Quotes:
		return bridge.KeyErrorf("quotes", "cannot be false: what is written has quotes where a value needs them")
	}
	return errors.Join(s.pairs().Validate(), useful(s.Format, s.CSV, s.Assign))
}

func (s formatSettings) pairs() record.Pairs {
	return record.Pairs{Delimiter: s.Delimiter, Assign: s.Assign}
}

func openFormat(_ context.Context, s *formatSettings, _ bridge.Env) (bridge.Step, error) {
	return rewrite{"format " + s.Format, s.convert(), int(s.MaxSize)}, nil
}

func (s *formatSettings) convert() convert {
	made := func(dst, text []byte, err error) ([]byte, error) {
		if err == nil && len(text) == 0 {
			err = errNothing
		}
		return append(dst, text...), err
	}
	pairs := s.pairs()
	switch s.Format {
	case "json":
		return parseJSON
	case "csv":
		return func(dst []byte, m *bridge.Message) ([]byte, error) {
			text, err := record.WriteRows(m.Payload, s.CSV, s.Header, int(s.MaxSize))
			return made(dst, text, err)
		}
	case "syslog":
		return func(dst []byte, m *bridge.Message) ([]byte, error) {
			text, err := record.WriteSyslog(m.Payload, m.Time)
			return made(dst, text, err)
		}
	case "ndjson":
		return lines(func(b *bytes.Buffer, v gjson.Result) error { return json.Compact(b, []byte(v.Raw)) })
	case "lines":
		return lines(func(b *bytes.Buffer, v gjson.Result) error {
			if v.Type != gjson.String || strings.Contains(v.Str, "\n") {
				return errors.New("must be a text of one line")
			}
			_, err := b.WriteString(v.Str)
			return err
		})
	}
	return func(dst []byte, m *bridge.Message) ([]byte, error) {
		text, err := pairs.Write(m.Payload)
		return made(dst, text, err)
	}
}

// lines makes a line of each element of an array.
func lines(one func(b *bytes.Buffer, v gjson.Result) error) convert {
	return func(dst []byte, m *bridge.Message) ([]byte, error) {
		all, err := record.Array(m.Payload, math.MaxInt)
		if err == nil && len(all) == 0 {
			err = errNothing
		}
		b := bytes.NewBuffer(dst)
		for i, v := range all {
			if i > 0 {
				b.WriteByte('\n')
			}
			if err := one(b, v); err != nil {
				return dst, fmt.Errorf("element %d %w", i+1, err)
			}
		}
		return b.Bytes(), err
	}
}
