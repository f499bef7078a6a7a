package bridgetest

import (
	"bytes"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Topic is the topic of every message that the suites send.
const Topic = "conformance/topic"

// Numbered returns n messages with different, short payloads.
func Numbered(n int) []bridge.Message {
	ms := make([]bridge.Message, n)
	for i := range ms {
		ms[i] = bridge.Message{
			ID:      fmt.Sprintf("id-%d", i),
			Topic:   Topic,
			Payload: fmt.Appendf(nil, `{"n":%d}`, i),
		}
	}
	return ms
}

// large returns 512 KiB of text, or as much as there may be.
func large(most int) []byte {
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	if most > 0 && most < len(text) {
		text = text[:most]
	}
	return text
}

// payloads returns messages with payloads that connectors like to get wrong.
func payloads(f Features) []bridge.Message {
	bodies := [][]byte{
		{},
		[]byte(" "),
		[]byte("grüße, 世界"),
		[]byte("tab\tquote\"backslash\\{{ not a template }}${NOT_A_VARIABLE}"),
		large(f.MaxPayload),
	}
	if f.Binary {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		bodies = append(bodies, all, []byte("\n"), []byte("a\r\nb\n"), []byte{0xff, 0xfe, 0x00})
	}
	ms := Numbered(len(bodies))
	for i := range ms {
		ms[i].Payload = bodies[i]
	}
	return ms
}
