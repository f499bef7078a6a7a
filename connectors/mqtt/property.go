package mqtt

import (
	"encoding/binary"
	"fmt"
)

// Properties of MQTT 5, table 2-4, as far as there is code for them.
const (
	propPayloadFormat   = 1
	propExpiry          = 2
	propContentType     = 3
	propResponseTopic   = 8
	propCorrelationData = 9
	propSessionExpiry   = 17
	propServerKeepalive = 19
	propWillDelay       = 24
	propServerReference = 28
	propReasonString    = 31
	propReceiveMaximum  = 33
	propTopicAliasMax   = 34
	propTopicAlias      = 35
	propMaximumQoS      = 36
	propRetainAvailable = 37
	propUser            = 38
	propMaximumPacket   = 39
)

// property is one of a packet of MQTT 5. Which of the fields counts hangs on id.
type property struct {
	id     byte
	number int
	name   []byte // of a user property
	text   []byte
}

// properties returns the properties that b begins with, and what is behind them.
func properties(b []byte) (block, rest []byte, whole bool) {
	n, width := varint(b)
	if width == 0 || len(b)-width < n {
		return nil, nil, false
	}
	return b[width : width+n], b[width+n:], true
}

// eachProperty calls f with each property of a block, as properties returns it.
func eachProperty(block []byte, f func(p property)) error {
	for len(block) > 0 {
		p, size := nextProperty(block)
		if size == 0 {
			return fmt.Errorf("%w: property %d", errMalformed, block[0])
		}
		f(p)
		block = block[size:]
	}
	return nil
}

// nextProperty returns the property that b begins with, and how many bytes it has: 0 if it is none.
func nextProperty(b []byte) (p property, size int) {
	p.id = b[0]
	value := b[1:]
	switch p.id {
	case propPayloadFormat, 23, 25, propMaximumQoS, propRetainAvailable, 40, 41, 42:
		if len(value) < 1 {
			return p, 0
		}
		p.number = int(value[0])
		return p, 2
	case propServerKeepalive, propReceiveMaximum, propTopicAliasMax, propTopicAlias:
		if len(value) < 2 {
			return p, 0
		}
		p.number = int(binary.BigEndian.Uint16(value))
		return p, 3
	case propExpiry, propSessionExpiry, propWillDelay, propMaximumPacket:
		if len(value) < 4 {
			return p, 0
		}
		p.number = int(binary.BigEndian.Uint32(value))
		return p, 5
	case 11: // the identifier of a subscription
		n, width := varint(value)
		if width == 0 {
			return p, 0
		}
		p.number = n
		return p, 1 + width
	case propContentType, propResponseTopic, propCorrelationData, 18, 21, 22, 26, propServerReference, propReasonString:
		text, width := field(value)
		p.text = text
		return p, min(width, 1) + width
	case propUser:
		name, n := field(value)
		if n == 0 {
			return p, 0
		}
		text, m := field(value[n:])
		p.name, p.text = name, text
		return p, min(m, 1) * (1 + n + m)
	}
	return p, 0
}

// field returns the text with its length in front that b begins with, and the size of both: 0 if it
// is not whole.
func field(b []byte) (text []byte, size int) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, 0
	}
	size = 2 + int(binary.BigEndian.Uint16(b))
	return b[2:size], size
}

// appendBlock appends properties as they stand in a packet.
func appendBlock(b, block []byte) []byte { return append(appendVarint(b, len(block)), block...) }

// appendField appends a text of 65535 bytes at most with its length in front.
func appendField[T string | []byte](b []byte, text T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}
