package framing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/record"
)

// Form says what a sink writes of a message, which is one line.
type Form struct {
	Payload bridge.Template `yaml:"payload" doc:"what is written of a message; empty: its payload"`
	Encode  string          `yaml:"encode" enum:"text|raw|json|base64" doc:"what becomes of payloads of several lines. text: they are refused; raw: they are written as they are; json or base64: each payload is that, on one line"`
}

var errLineFeeds = errors.New("the payload has line feeds and would become several lines: encode: " +
	"json or base64 makes one line of each " +
	"payload, and encode: raw lets it be several")

// Text returns what is written of m without the newline, which aliases its payload or dst. An error
// is about the message.
func (f *Form) Text(dst []byte, m *bridge.Message) ([]byte, error) {
	text := m.Payload
	if f.Payload != nil {
		rendered, err := f.Payload.Render(m)
		if err != nil {
			return dst, fmt.Errorf("payload: %w", err)
		}
		text = []byte(rendered)
	}
	switch f.Encode {
	case "json":
		line, err := record.AppendText(dst, text)
		if err != nil {
			err = fmt.Errorf("the payload %w; encode: base64 takes any bytes", err)
		}
		return line, err
	case "base64":
		return base64.StdEncoding.AppendEncode(dst, text), nil
	}
	text = bytes.TrimSuffix(text, []byte{'\n'}) // which the line has
	if f.Encode != "raw" && bytes.IndexByte(text, '\n') >= 0 {
		return dst, errLineFeeds
	}
	return text, nil
}

// Block is about a [Chunk] of lines that are written at once.
type Block struct {
	Buf     []byte
	Refused bridge.Refusals // of the messages that Fill took

	ends    []int // of the messages, in Buf
	scratch []byte
}

// Fill appends to Buf the lines of messages at the front of batch, until it holds a Chunk, or the
// batch is used up, and returns how many these are: at least one of a batch that is not empty.
func (b *Block) Fill(f *Form, batch bridge.Batch) (taken int) {
	b.ends, b.Refused = b.ends[:0], nil
	for i := range batch {
		text, err := f.Text(b.scratch[:0], &batch[i])
		if err != nil {
			b.Refused = append(b.Refused, bridge.Refusal{Index: i, Err: err})
		} else {
			b.Buf = append(append(b.Buf, text...), '\n')
			if f.Encode == "json" || f.Encode == "base64" {
				b.scratch = text
			}
		}
		if b.ends = append(b.ends, len(b.Buf)); len(b.Buf) >= Chunk {
			break
		}
	}
	return len(b.ends)
}

// Whole returns how many messages at the front of those that Fill took are done with if the first
// size bytes of Buf are written.
func (b *Block) Whole(size int) int {
	for i, end := range b.ends {
		if end > size {
			return i
		}
	}
	return len(b.ends)
}
