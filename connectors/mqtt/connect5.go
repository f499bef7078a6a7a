package mqtt

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// limits are what a broker says in CONNACK.
type limits struct {
	receive int  // messages that may wait for their acknowledgement; 0: it does not say
	packet  int  // bytes of the largest packet; 0: it does not say
	aliases int  // of topics
	qos     byte // the highest that it takes
	retains bool
	expiry  time.Duration // of the session
}

// properties returns those of CONNECT. A will comes when the session ends, at the latest.
func (who identity) properties(will *Will) []byte {
	expiry := who.expiry
	if will != nil {
		expiry = max(expiry, will.Delay)
	}
	b := binary.BigEndian.AppendUint32([]byte{propSessionExpiry}, seconds(expiry))
	if who.receive > 0 {
		b = binary.BigEndian.AppendUint16(append(b, propReceiveMaximum), uint16(who.receive))
	}
	return b
}

// properties returns those of a will.
func (w *Will) properties() []byte {
	b, _ := w.Notice.properties() // checked with the settings
	if w.Delay > 0 {
		b = binary.BigEndian.AppendUint32(append(b, propWillDelay), seconds(w.Delay))
	}
	return b
}

// seconds rounds up, to what there is room for.
func seconds(d time.Duration) uint32 {
	return uint32(min((d+time.Second-1)/time.Second, math.MaxUint32))
}

// welcome5 says why CONNECT did not succeed, and notes what the broker says of itself.
func (c *conn) welcome5(body []byte) error {
	if len(body) == 2 && body[1] <= 5 { // as 3.1.1 answers
		if body[1] == packets.Accepted {
			body = []byte{0, packets.ErrRefusedBadProtocolVersion}
		}
		return c.welcome4(body)
	}
	if len(body) < 3 {
		return fmt.Errorf("%w: CONNACK", errMalformed)
	}
	c.resumed = body[0]&1 != 0
	why := &reasonError{code: body[1]}
	block, rest, whole := properties(body[2:])
	if !whole || len(rest) > 0 {
		return fmt.Errorf("%w: CONNACK", errMalformed)
	}
	why.read(block)
	switch {
	case why.code == reasonVersion:
		return bridge.Permanent(fmt.Errorf("%w: %w", packets.ErrorRefusedBadProtocolVersion, why))
	case why.code > 0:
		return why.lasting(fmt.Errorf("refused by the broker, %w", why))
	}
	c.server = limits{qos: 2, retains: true, expiry: c.who.expiry}
	return eachProperty(block, func(p property) {
		switch p.id {
		case propReceiveMaximum:
			c.server.receive = p.number
		case propMaximumPacket:
			c.server.packet = p.number
		case propTopicAliasMax:
			c.server.aliases = p.number
		case propMaximumQoS:
			c.server.qos = byte(p.number)
		case propRetainAvailable:
			c.server.retains = p.number != 0
		case propSessionExpiry:
			c.server.expiry = time.Duration(p.number) * time.Second
		case propServerKeepalive:
			if p.number > 0 { // a longer one is no reason to notice later that the broker is gone
				c.keepalive.Store(min(c.keepalive.Load(), int64(time.Duration(p.number)*time.Second)))
			}
		}
	})
}

// granted takes SUBACK or UNSUBACK apart.
func (c *conn) granted(body []byte) (codes []byte, why reasonError, err error) {
	if !c.who.five {
		return body[2:], why, nil
	}
	block, codes, whole := properties(body[2:])
	if !whole {
		return nil, why, fmt.Errorf("%w: SUBACK", errMalformed)
	}
	why.read(block)
	return codes, why, nil
}

// keeps says which notice the broker hangs up at, since it keeps no retained messages.
func (c *conn) keeps(s *ClientSettings) error {
	if !c.who.five || c.server.retains {
		return nil
	}
	for key, n := range map[string]*Notice{"birth": s.Birth, "will": s.Will.notice()} {
		if n != nil && n.Retain {
			return bridge.Permanent(fmt.Errorf("the broker keeps no retained messages: leave out %s.retain", key))
		}
	}
	return nil
}

// notice returns n as a packet with QoS 1 at most, nil for none. With QoS 2 a broker that keeps the
// session may take it for the one before, which has the same packet id.
func (c *conn) notice(n *Notice) []byte {
	if n == nil {
		return nil
	}
	o := outgoing{
		topic: n.Topic, payload: []byte(n.Payload), qos: byte(min(1, n.QoS)), retain: n.Retain,
		id: binary.BigEndian.Uint16(noticeID), five: c.who.five,
	}
	if c.who.five {
		o.properties, _ = n.properties() // checked with the settings
		o.qos = min(o.qos, c.server.qos)
		if c.server.receive == 1 {
			o.qos = 0 // there is no room for it beside a message
		}
	}
	return o.append(nil)
}

// noticed takes the acknowledgement of a notice.
func (c *conn) noticed(f frame) error {
	_, reason, err := parseAck(f)
	if reason >= reasonFailed {
		err = fmt.Errorf("publish birth or will: refused by the broker, %w", reasonOf(f.body[2:]))
	}
	return err
}
