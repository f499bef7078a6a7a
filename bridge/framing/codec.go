package framing

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

// Codec says how a stream is cut into messages, and what becomes of each. Settings have it under
// the key codec.
//
//	lines      each line is a message
//	csv        each row, which becomes a JSON object; the first row names the columns, unless
//	           columns does
//	json       each JSON value, one after the other with white space, or nothing, between them
//	whole      all of the stream is one message, byte by byte
//	multiline  a line that matches start, with those behind it that do not
type Codec struct {
	Kind       string `yaml:"kind,short" enum:"lines|csv|json|whole|multiline" doc:"what a message is: a line, a row, a JSON value, all of it, or several lines"`
	Start      string `yaml:"start" doc:"regular expression that the first line of a message matches, of multiline"`
	record.CSV `yaml:",inline"`
	Types      record.Types `yaml:"types" doc:"which values are not texts"`
}

// DefaultCodec returns the codec of lines.
func DefaultCodec() Codec {
	return Codec{Kind: "lines", CSV: record.CSV{Quotes: true}, Types: record.Types{Default: "text"}}
}

// Validate checks what the kind has a use for.
func (c Codec) Validate() error {
	_, err := regexp.Compile(c.Start)
	switch {
	case (c.Kind == "multiline") != (c.Start != ""):
		return bridge.KeyErrorf("start", "goes with multiline, and says what the first line of a message matches, "+
			"such as ^\\d{4}-")
	case err != nil:
		return bridge.KeyErrorf("start", "is no regular expression: %w", err)
	case c.Kind != "csv" && len(c.Columns) > 0:
		return bridge.KeyErrorf("columns", "are of csv, and the kind is %s", c.Kind)
	case c.Kind != "csv" && c.Delimiter != "":
		return bridge.KeyErrorf("delimiter", "is of csv, and the kind is %s", c.Kind)
	}
	return c.CSV.Validate()
}

// Table is what the columns of CSV are called.
type Table = record.Table

// MaxHeader bounds the row of CSV that names the columns.
const MaxHeader = record.MaxHeader

// Framer finds messages that are not lines.
type Framer interface {
	// Next returns the size of the message that begins at buf[0], and how many bytes it takes; 0
	// and those of what stands before one, or 0 and 0 if its end is not there yet. So many bytes of
	// buf were there at the call before; last says that no more will come.
	Next(buf []byte, seen int, last bool) (size, taken int)

	// Resume returns where messages begin again behind one that is too long, -1 if not in buf.
	Resume(buf []byte) int
}

// Use sets the codec for what follows. It is valid, and the default if this is not called.
func (s *Splitter) Use(c Codec) {
	s.codec, s.scan = c, s.start
	switch c.Kind {
	case "csv":
		s.framer = c.Rows()
	case "json":
		s.framer = &values{}
	case "whole":
		s.framer = whole{}
	case "multiline":
		s.framer = multiline{regexp.MustCompile(c.Start)}
	}
	if c.Kind == "csv" && len(c.Columns) > 0 {
		s.named, s.broken = c.Table(c.Types, nil)
	}
}

// Of returns the name of what a message is, for people.
func (c Codec) Of() string {
	switch c.Kind {
	case "csv":
		return "row"
	case "json":
		return "value"
	case "lines":
		return "line"
	}
	return "message"
}

// headless reports whether the first row of the stream has to name the columns, and has not yet.
func (s *Splitter) headless() bool { return s.codec.Kind == "csv" && s.Table == nil && s.named == nil }

// header takes a row as that which names the columns.
func (s *Splitter) header(row []byte) {
	if s.Text != nil {
		row = s.Text(row)
	}
	t, err := s.codec.Table(s.codec.Types, bytes.TrimSuffix(row, []byte{'\r'}))
	if err != nil {
		s.broken = fmt.Errorf("the row that names the columns %w", err)
		return
	}
	s.Table = t
}

// Recall takes the row that names the columns from the beginning of a stream, of which size bytes
// have been taken, for a Splitter that goes on behind them.
func (s *Splitter) Recall(begin []byte, size int64) error {
	for at := 0; s.headless(); {
		n, taken := s.framer.Next(begin[at:], 0, false)
		if at += taken; taken == 0 && size >= int64(len(begin)) {
			return fmt.Errorf("the row that names the columns has more than %d bytes", len(begin))
		} else if taken == 0 || int64(at) > size {
			return nil // it is still to come
		}
		if n > 0 {
			s.header(begin[at-taken : at-taken+n])
			return s.broken
		}
	}
	return nil
}

// frames takes messages that are not lines.
func (s *Splitter) frames(batch bridge.Batch, m bridge.Message, most int, last bool) (_ bridge.Batch, long []Long) {
	for len(batch) < most && s.start < s.end && s.broken == nil {
		buf := s.slab.buf[s.start:s.end]
		if s.skipped.size > 0 {
			i := s.framer.Resume(buf)
			if s.scan = s.start + i; i < 0 {
				s.scan = s.end
			}
			if s.skip(); i < 0 {
				break
			}
			batch, long = s.take(batch, m, long, 1)
			continue
		}
		size, taken := s.framer.Next(buf, s.scan-s.start, last)
		seen := size
		if taken == 0 {
			seen = len(buf)
		}
		switch headless := s.headless(); {
		case headless && seen > record.MaxHeader:
			s.broken = fmt.Errorf("the row that names the columns has more than %d bytes", record.MaxHeader)
		case seen > s.Limit:
			s.scan = s.start + s.Limit + 1 // so that it does not depend on how much has been read
			s.skip()
		case size == 0 && taken == 0:
			s.scan = s.end
			return batch, long
		case size == 0 || headless:
			if size > 0 {
				s.header(buf[:size])
			}
			s.start += taken
			s.bytes += int64(taken)
			s.scan, s.until = s.start, s.start
		default:
			s.scan = s.start + size
			batch, long = s.take(batch, m, long, taken-size)
		}
	}
	if last && s.skipped.size > 0 && len(batch) < most && s.start == s.end {
		s.scan = s.end
		batch, long = s.take(batch, m, long, 0)
	}
	return batch, long
}

// framed counts the messages in what is held, as Lines would take them in the end.
func (s *Splitter) framed(held []byte) (n int) {
	s.scan = s.start // the framer begins anew
	headless, skip := s.headless(), s.skipped.size > 0
	for len(held) > 0 {
		if skip {
			i := s.framer.Resume(held)
			if n++; i < 0 {
				break
			}
			held, skip = held[i+1:], false
			continue
		}
		size, taken := s.framer.Next(held, 0, true)
		if skip = size > s.Limit && !headless; skip {
			held = held[s.Limit+1:]
			continue
		}
		if held = held[taken:]; size > 0 && !headless {
			n++
		}
		headless = headless && size == 0
	}
	if skip && len(held) == 0 {
		n++
	}
	return n
}

// Finish makes of messages that Lines has just returned what the codec says, and returns the
// [bridge.Refusals] of those that were too long, unless they are handed on truncated, and of those
// that cannot be read; nil if there is none. Place says which one it is: "line 7 of stdin".
func (s *Splitter) Finish(batch bridge.Batch, long []Long, place func(Long) string) error {
	var refused bridge.Refusals
	reads := s.codec.Kind == "csv" || s.codec.Kind == "json"
	if !reads && len(long) == 0 {
		return nil
	}
	for i := range batch {
		var err error
		l := Long{Index: i}
		switch {
		case len(long) > 0 && long[0].Index == i:
			l, long = long[0], long[1:]
			if !s.Truncate {
				err = fmt.Errorf("%s has %d bytes, and max_line is %v: raise max_line to let it pass", place(l),
					l.Size, bridge.Size(s.Limit))
			}
		case reads:
			if err = s.read(&batch[i]); err != nil {
				l.Line, l.Offset = s.lines-int64(len(batch)-i-1), s.spans[i].Begin
				err = fmt.Errorf("%s: %w", place(l), err)
			}
		}
		if err != nil {
			refused = append(refused, bridge.Refusal{Index: l.Index, Err: err})
		}
	}
	if len(refused) == 0 {
		return nil // and not an error that is empty
	}
	return refused
}

// read makes JSON of a message.
func (s *Splitter) read(m *bridge.Message) error {
	if s.codec.Kind == "json" {
		return record.CheckJSON(m.Payload)
	}
	had := len(s.lot.text)
	text, err := cmp.Or(s.named, s.Table).Append(s.lot.text, m.Payload)
	if err == nil {
		s.lot.text, m.Payload = text, text[had:len(text):len(text)]
	}
	return err
}
