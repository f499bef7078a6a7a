// Package framing turns a stream of bytes into messages and messages into a
// stream of bytes, one line a message. Connectors whose technology is a plain
// stream share it: files, standard input and output.
//
// The newline belongs to the stream and not to the message. All other bytes
// pass unchanged, a carriage return before the newline too. Hence a payload that
// holds newlines comes back as several messages.
package framing

import "github.com/xrtcbridge/xrtcbridge/bridge"

// Chunk is about how many bytes are best read or written at once.
const Chunk = 256 << 10

// Append appends payload and newline of the messages at the front of batch to buf,
// until buf holds Chunk bytes or the batch is used up. It returns how many
// messages it took, at least one of a batch that is not empty.
func Append(buf []byte, batch bridge.Batch) (_ []byte, taken int) {
	for i := range batch {
		buf = append(buf, batch[i].Payload...)
		buf = append(buf, '\n')
		if len(buf) >= Chunk {
			return buf, i + 1
		}
	}
	return buf, len(batch)
}

// Whole returns how many messages at the front of batch lie wholly in the
// first size bytes of what Append made of it, and how many bytes they are.
func Whole(batch bridge.Batch, size int) (n, used int) {
	for i := range batch {
		end := used + len(batch[i].Payload) + 1
		if end > size {
			return i, used
		}
		used = end
	}
	return len(batch), used
}
