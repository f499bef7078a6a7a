package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Packet types, table 2.1 of both versions.
const (
	connectType     = 1
	connack         = 2
	publish         = 3
	puback          = 4
	pubrec          = 5
	pubrel          = 6
	pubcomp         = 7
	subscribeType   = 8
	suback          = 9
	unsubscribeType = 10
	unsuback        = 11
	pingreq         = 12
	pingresp        = 13
	disconnect      = 14
)

// maxRemaining is the largest remaining length that the format can express.
const maxRemaining = 1<<28 - 1

var (
	errMalformed = errors.New("malformed packet")
	errTooLarge  = errors.New("packet larger than max_packet")
)

// frame is one packet as it stands in the stream.
type frame struct {
	head   byte // type and flags
	body   []byte
	size   int  // of all of it, header included
	header int  // bytes in front of body
	cut    bool // body is the beginning only, since the rest is too much
	five   bool // of MQTT 5, where there may be properties and reasons
}

func (f frame) kind() byte { return f.head >> 4 }

func (f frame) qos() byte { return f.head >> 1 & 3 }

func (f frame) dup() bool { return f.head&8 != 0 }

func (f frame) retained() bool { return f.head&1 != 0 }

// varint returns the number that b begins with, and how many bytes it has: 0 if it does not end
// within b, or within the 4 that it may have.
func varint(b []byte) (n, width int) {
	for i := range min(4, len(b)) {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}

func appendVarint(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func varintSize(n int) int {
	size := 1
	for n >>= 7; n > 0; n >>= 7 {
		size++
	}
	return size
}

// nextFrame returns the packet that b starts with. If b ends before it does, whole is false, and
// size is 0 or, if b suffices to tell, that of the packet. With errTooLarge, body is what b has of
// it.
func nextFrame(b []byte, limit int) (f frame, whole bool, err error) {
	remaining, width := varint(b[1:])
	switch {
	case width == 0 && len(b) > 4:
		return f, false, fmt.Errorf("%w: length of more than 4 bytes", errMalformed)
	case width == 0:
		return f, false, nil
	}
	f = frame{head: b[0], size: 1 + width + remaining, header: 1 + width}
	switch {
	case f.size > limit:
		f.body = b[f.header:min(len(b), f.size)]
		return f, false, fmt.Errorf("%w: %d bytes, and the limit is %d", errTooLarge, f.size, limit)
	case f.size > len(b):
		return f, false, nil
	}
	f.body = b[f.header:f.size:f.size]
	return f, true, nil
}

// publication is what a PUBLISH says, without a copy.
type publication struct {
	topic, properties, payload []byte
	id                         uint16 // 0 for QoS 0
}

// parsePublish takes a PUBLISH apart. One that is cut within its properties has none.
func parsePublish(f frame) (p publication, err error) {
	b := f.body
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) || f.qos() > 2 {
		return p, fmt.Errorf("%w: PUBLISH", errMalformed)
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	p.topic, b = b[2:end], b[end:]
	if f.qos() > 0 {
		if len(b) < 2 {
			return p, fmt.Errorf("%w: PUBLISH", errMalformed)
		}
		if p.id = binary.BigEndian.Uint16(b); p.id == 0 {
			return p, fmt.Errorf("%w: PUBLISH with packet id 0", errMalformed)
		}
		b = b[2:]
	}
	if f.five {
		var whole bool
		if p.properties, b, whole = properties(b); !whole && !f.cut {
			return p, fmt.Errorf("%w: PUBLISH", errMalformed)
		}
	}
	p.payload = b
	return p, nil
}

// beginning returns how many bytes of the body of a PUBLISH come before its payload, or, while it
// is too short to tell, what it must have. Properties that are more than limit do not count.
func (f frame) beginning(limit int) int {
	if len(f.body) < 2 {
		return 2
	}
	n := 2 + int(binary.BigEndian.Uint16(f.body))
	if f.qos() > 0 {
		n += 2
	}
	if !f.five {
		return n
	}
	if len(f.body) <= n {
		return n + 1
	}
	size, width := varint(f.body[n:])
	switch {
	case width == 0:
		return min(len(f.body)+1, n+4)
	case n+width+size > limit:
		return n
	}
	return n + width + size
}

// parseAck returns the packet id of a PUBACK, PUBREC, PUBREL or PUBCOMP, and the reason that it
// gives, 0 for none.
func parseAck(f frame) (id uint16, reason byte, err error) {
	n := len(f.body)
	if n < 2 || n > 2 && !f.five {
		return 0, 0, fmt.Errorf("%w: acknowledgement of %d bytes", errMalformed, n)
	}
	if n > 2 {
		reason = f.body[2]
	}
	if n > 3 {
		block, rest, whole := properties(f.body[3:])
		if !whole || len(rest) > 0 || eachProperty(block, func(property) {}) != nil {
			return 0, 0, fmt.Errorf("%w: acknowledgement of %d bytes", errMalformed, n)
		}
	}
	return binary.BigEndian.Uint16(f.body), reason, nil
}

// outgoing is a PUBLISH to send.
type outgoing struct {
	topic      string
	payload    []byte
	qos        byte
	retain     bool
	id         uint16 // not for QoS 0
	five       bool
	properties []byte // of MQTT 5
}

// size is that of the packet.
func (o *outgoing) size() int {
	n := o.remaining()
	return 1 + varintSize(n) + n
}

func (o *outgoing) remaining() int {
	n := 2 + len(o.topic) + len(o.payload)
	if o.qos > 0 {
		n += 2
	}
	if o.five {
		n += varintSize(len(o.properties)) + len(o.properties)
	}
	return n
}

// append appends the packet.
func (o *outgoing) append(b []byte) []byte {
	head := byte(publish<<4) | o.qos<<1
	if o.retain {
		head |= 1
	}
	b = appendVarint(append(b, head), o.remaining())
	b = binary.BigEndian.AppendUint16(b, uint16(len(o.topic)))
	b = append(b, o.topic...)
	if o.qos > 0 {
		b = binary.BigEndian.AppendUint16(b, o.id)
	}
	if o.five {
		b = appendBlock(b, o.properties)
	}
	return append(b, o.payload...)
}

// ackSize is the size of a PUBACK, PUBREC, PUBREL or PUBCOMP packet.
const ackSize = 4

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP packet.
func appendAck(b []byte, kind byte, id uint16) []byte {
	head := kind << 4
	if kind == pubrel {
		head |= 2 // prescribed by section 3.6.1
	}
	return append(b, head, 2, byte(id>>8), byte(id))
}
