package file

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// newID returns what no other file has, nor the same one after it was cut.
func newID() string { return strings.ToLower(rand.Text()[:13]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identify gives messages their ids, which share one allocation. The stream that they were taken
// from began at that byte of the file. The checksum is for a file that was written anew with the
// same front while nobody looked: what is different must never be taken for the same.
func identify(batch bridge.Batch, spans []framing.Span, id string, start int64) {
	const widest = 13 + 1 + 7 // an int64 and a uint32 in base 36
	var text strings.Builder
	var digits [widest]byte
	text.Grow(len(batch) * (len(id) + 1 + widest))
	for i := range batch {
		begin := text.Len()
		text.WriteString(id)
		text.WriteByte('-')
		number := append(strconv.AppendInt(digits[:0], start+spans[i].Begin, 36), '-')
		text.Write(strconv.AppendUint(number, uint64(crc32.Checksum(batch[i].Payload, castagnoli)), 36))
		batch[i].ID = text.String()[begin:] // stays put: the builder never grows again
	}
}

// where says where the line is to which identify gave that id.
func where(id string) string {
	_, rest, _ := strings.Cut(id, "-")
	digits, _, _ := strings.Cut(rest, "-")
	offset, err := strconv.ParseInt(digits, 36, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("byte %d", offset)
}

// charset says how the text of a file is encoded.
type charset struct {
	encoding encoding.Encoding // nil: bytes pass as they are
	newline  string
	codec    framing.Codec
}

// newCharset returns the codec of the encoding of that name, or of none.
func newCharset(name string) (charset, error) {
	if name == "" {
		return charset{newline: "\n"}, nil
	}
	e, err := htmlindex.Get(name)
	if err != nil {
		return charset{}, err
	}
	switch canonical, _ := htmlindex.Name(e); canonical {
	case "utf-8":
		e = nil
	case "utf-16le":
		return charset{encoding: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), newline: "\n\x00"}, nil
	case "utf-16be":
		return charset{encoding: unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), newline: "\x00\n"}, nil
	case "replacement":
		return charset{}, fmt.Errorf("%s cannot be cut into lines", name)
	}
	return charset{encoding: e, newline: "\n"}, nil
}

// decode makes UTF-8 of text; what is wrong in it becomes U+FFFD.
func (c charset) decode(text []byte) []byte {
	if c.encoding != nil {
		if decoded, err := c.encoding.NewDecoder().Bytes(text); err == nil {
			return decoded
		}
	}
	return text
}

// finish makes text of lines: decoded, and without carriage returns and byte order mark.
func (c charset) finish(batch bridge.Batch, first bool) {
	if c.encoding != nil {
		for i := range batch {
			batch[i].Payload = c.decode(batch[i].Payload)
		}
	}
	if c.codec.Kind != "whole" {
		framing.Trim(batch, first)
	}
}

// finish makes messages of what was taken from a stream that began at that byte of the file; first
// says that this is its beginning.
func finish(s *framing.Splitter, c charset, batch bridge.Batch, long []framing.Long, first bool, path string, start int64) error {
	c.finish(batch, first)
	return s.Finish(batch, long, func(l framing.Long) string {
		return fmt.Sprintf("the %s at byte %d of %s", c.codec.Of(), start+l.Offset, path)
	})
}
