package mqtt

import (
	"fmt"
	"hash/maphash"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// surelyTaken is a size below which no broker has its limit, be it one of packets or of payloads.
const surelyTaken = 1 << 10

// MQTT 3.1.1 has no way to say that a packet is too large: brokers hang up. So a packet that is
// larger than all before is sent by itself, with a ping behind it, and one at which the broker has
// hung up mostHangUps times in a row is refused. Once suffices for one that is not smaller than one
// that was refused: the broker may have a higher limit now, and hangs up by chance hardly ever.
const mostHangUps = 2

const mend = ", larger than all that it has taken: raise its limit, like max_packet_size of mosquitto or " +
	"max_payload of " +
	"nats-server, or set max_packet to it for such messages to be refused at once"

// suspect is a message at which the broker has hung up.
type suspect struct {
	sum     uint64
	times   int
	refused int // size of the smallest packet that was; 0: none was
}

// proven reports whether the broker has hung up on a packet of that size often enough.
func (b suspect) proven(size int) bool {
	return b.times >= mostHangUps || b.times > 0 && b.refused > 0 && size >= b.refused
}

func (s *sink) sum(topic string, payload []byte) uint64 {
	return maphash.String(s.links.seed, topic) ^ maphash.Bytes(s.links.seed, payload)
}

// trial says of a packet that is larger than all before whether to try it.
func (s *sink) trial(topic string, m *bridge.Message, size int) error {
	found, _ := s.links.suspects.Load(s.instance)
	before, _ := found.(suspect)
	if !before.proven(size) || before.sum != s.sum(topic, m.Payload) {
		return nil
	}
	if before.refused == 0 || size < before.refused {
		before.refused = size
	}
	s.links.suspects.Store(s.instance, suspect{refused: before.refused})
	return fmt.Errorf("publish to %.100q: the broker hangs up on the packet of %d bytes%s", topic, size, mend)
}

// try sends buf, which holds a packet of m that is larger than all before, and waits until the
// broker has taken it.
func (s *sink) try(m *bridge.Message) error {
	select {
	case <-s.conn.dead: // before it, so not for its size
		return s.conn.cause
	default:
	}
	size := len(s.buf)
	found, _ := s.links.suspects.Load(s.instance)
	before, _ := found.(suspect)
	err := s.conn.ping(s.buf)
	if err == nil {
		err = s.within(s.conn.pong, size)
	}
	if err == nil {
		s.taken, s.payload = max(s.taken, size), max(s.payload, len(m.Payload))
		if size >= before.refused { // the limit has been raised
			before.refused = 0
		}
		s.links.suspects.Store(s.instance, suspect{refused: before.refused})
		return nil
	}
	if hungUp(err) {
		now := suspect{s.sum(s.last, m.Payload), 1, before.refused}
		if before.sum == now.sum {
			now.times += before.times
		}
		s.links.suspects.Store(s.instance, now)
		err = fmt.Errorf("%w on a packet of %d bytes%s", err, size, mend)
	}
	return err
}
