package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Packet types of MQTT 3.1.1, table 2.1.
const (
	connack    = 2
	publish    = 3
	puback     = 4
	pubrec     = 5
	pubrel     = 6
	pubcomp    = 7
	suback     = 9
	unsuback   = 11
	pingreq    = 12
	pingresp   = 13
	disconnect = 14
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
}

func (f frame) kind() byte { return f.head >> 4 }

func (f frame) qos() byte { return f.head >> 1 & 3 }

func (f frame) dup() bool { return f.head&8 != 0 }

func (f frame) retained() bool { return f.head&1 != 0 }

// nextFrame returns the packet that b starts with. If b ends before it does, whole is false, and
// size is 0 or, if b suffices to tell, that of the packet. With errTooLarge, body is what b has of
// it.
func nextFrame(b []byte, limit int) (f frame, whole bool, err error) {
	remaining, shift := 0, 0
	for i := 1; i < len(b); i++ {
		remaining |= int(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			f = frame{head: b[0], size: i + 1 + remaining, header: i + 1}
			if f.size > limit {
				f.body = b[i+1 : min(len(b), f.size)]
				return f, false, fmt.Errorf("%w: %d bytes, and the limit is %d", errTooLarge, f.size, limit)
			}
			if f.size > len(b) {
				return f, false, nil
			}
			f.body = b[i+1 : f.size : f.size]
			return f, true, nil
		}
		if shift += 7; shift > 21 {
			return f, false, fmt.Errorf("%w: length of more than 4 bytes", errMalformed)
		}
	}
	return f, false, nil
}

// parsePublish takes a PUBLISH apart without copying. id is 0 for QoS 0.
func parsePublish(f frame) (topic, payload []byte, id uint16, err error) {
	b := f.body
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) || f.qos() > 2 {
		return nil, nil, 0, fmt.Errorf("%w: PUBLISH", errMalformed)
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	topic, payload = b[2:end], b[end:]
	if f.qos() == 0 {
		return topic, payload, 0, nil
	}
	if len(payload) < 2 {
		return nil, nil, 0, fmt.Errorf("%w: PUBLISH", errMalformed)
	}
	id = binary.BigEndian.Uint16(payload)
	if id == 0 {
		return nil, nil, 0, fmt.Errorf("%w: PUBLISH with packet id 0", errMalformed)
	}
	return topic, payload[2:], id, nil
}

// beginning returns how many bytes of the body of a PUBLISH come before its payload, or, while it
// is too short to tell, what it must have.
func (f frame) beginning() int {
	if len(f.body) < 2 {
		return 2
	}
	n := 2 + int(binary.BigEndian.Uint16(f.body))
	if f.qos() > 0 {
		n += 2
	}
	return n
}

// parseAck returns the packet id of a PUBACK, PUBREC, PUBREL or PUBCOMP.
func parseAck(f frame) (uint16, error) {
	if len(f.body) != 2 {
		return 0, fmt.Errorf("%w: acknowledgement of %d bytes", errMalformed, len(f.body))
	}
	return binary.BigEndian.Uint16(f.body), nil
}

// publishSize is the size of a PUBLISH packet.
func publishSize(topic string, payload []byte, qos byte) int {
	n := publishRemaining(topic, payload, qos)
	size := 2 + n
	for n >>= 7; n > 0; n >>= 7 {
		size++
	}
	return size
}

func publishRemaining(topic string, payload []byte, qos byte) int {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	return n
}

// appendPublish appends a PUBLISH packet. id is ignored for QoS 0.
func appendPublish(b []byte, topic string, payload []byte, qos byte, retain bool, id uint16) []byte {
	head := byte(publish<<4) | qos<<1
	if retain {
		head |= 1
	}
	b = append(b, head)
	n := publishRemaining(topic, payload, qos)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	b = append(b, byte(n))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return append(b, payload...)
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
