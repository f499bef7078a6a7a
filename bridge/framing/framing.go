// Package framing turns a stream of bytes into messages and messages into a
// stream of bytes, one line a message. Connectors whose technology is a plain
// stream share it: files, standard input and output.
//
// The newline belongs to the stream and not to the message, and so do a carriage return before it
// and a byte order mark, which [Trim] takes off. All other bytes pass unchanged. Hence a payload
// that holds newlines comes back as several messages.
package framing

import (
	"bytes"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Chunk is about how many bytes are best read or written at once.
const Chunk = 256 << 10

// Trim takes the carriage return at the end of each line off, and the byte order mark of UTF-8 at
// the beginning of the first one if that is the first of its stream.
func Trim(batch bridge.Batch, first bool) {
	if first && len(batch) > 0 {
		batch[0].Payload = bytes.TrimPrefix(batch[0].Payload, []byte("\xef\xbb\xbf"))
	}
	for i := range batch {
		p := batch[i].Payload
		if n := len(p); n > 0 && p[n-1] == '\r' {
			batch[i].Payload = p[:n-1]
		}
	}
}
