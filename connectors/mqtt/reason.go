package mqtt

import (
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Reasons of MQTT 5, table 2-6, as far as code asks for them. From 0x80 on something has failed.
const (
	reasonFailed         = 0x80
	reasonVersion        = 0x84
	reasonNotAuthorised  = 0x87
	reasonTopicName      = 0x90
	reasonPacketTooLarge = 0x95
	reasonPayloadFormat  = 0x99
)

// mostReason is how much of a text is kept: there is one for each message that is refused.
const mostReason = 200

// reasonError is why a broker does not do something.
type reasonError struct {
	code   byte
	text   string // that it adds
	server string // that it names instead of itself
}

// reasonOf reads a reason and the properties behind it, which may be missing.
func reasonOf(b []byte) *reasonError {
	if len(b) == 0 {
		return &reasonError{}
	}
	e := &reasonError{code: b[0]}
	block, _, _ := properties(b[1:])
	e.read(block)
	return e
}

func (e *reasonError) read(block []byte) {
	_ = eachProperty(block, func(p property) {
		switch p.id {
		case propReasonString:
			e.text = string(p.text[:min(len(p.text), mostReason)])
		case propServerReference:
			e.server = string(p.text[:min(len(p.text), mostReason)])
		}
	})
}

func (e *reasonError) Error() string {
	said := fmt.Sprintf("%s (reason %#02x)", e.name(), e.code)
	if e.text != "" {
		said += fmt.Sprintf(", which says %q", e.text)
	}
	if e.server != "" {
		said += fmt.Sprintf(": url may be that of another server, which it names: %q", e.server)
	}
	return said
}

func (e *reasonError) name() string {
	switch e.code {
	case 0x80:
		return "for no reason that the broker gives"
	case 0x81, 0x82:
		return "since it does not take the packet for MQTT 5: protocol: 3.1.1 is another way"
	case 0x83:
		return "for a reason of the broker's own"
	case reasonVersion:
		return "since it does not speak this version: set protocol"
	case 0x85:
		return "since client_id is not valid there"
	case 0x86:
		return "for its username or password: check both"
	case reasonNotAuthorised:
		return "as not authorised: check username, password and client_id, and what the broker grants them"
	case 0x88:
		return "as the broker is unavailable"
	case 0x89:
		return "as the broker is busy"
	case 0x8a:
		return "as this client is banned"
	case 0x8b:
		return "as the broker shuts down"
	case 0x8c:
		return "since the broker wants an authentication method that there is none for here"
	case 0x8d:
		return "since nothing came for longer than keepalive"
	case 0x8e:
		return "since another client has taken over its client_id: give each its own"
	case 0x8f:
		return "since the filter is not valid there"
	case reasonTopicName:
		return "since the topic is not valid there"
	case 0x93:
		return "since more was sent than may wait for an acknowledgement"
	case 0x94:
		return "for a topic alias"
	case reasonPacketTooLarge:
		return "since the packet is larger than the broker takes: raise its limit, or set max_packet to it"
	case 0x96:
		return "since messages come too fast"
	case 0x97:
		return "since a quota is exceeded"
	case 0x98:
		return "by an administrator"
	case reasonPayloadFormat:
		return "since the payload is not of the format that it says"
	case 0x9a:
		return "since the broker keeps no retained messages"
	case 0x9b:
		return "for its QoS: set a lower one"
	case 0x9c:
		return "since another server is to be used"
	case 0x9d:
		return "since the server has moved"
	case 0x9e:
		return "since the broker has no shared subscriptions"
	case 0x9f:
		return "since connections come too fast"
	case 0xa0:
		return "since it was connected for as long as it may be"
	case 0xa1:
		return "since the broker has no subscription identifiers"
	case 0xa2:
		return "since the broker has no wildcards"
	}
	return "for a reason that is not of MQTT 5"
}

// passing reports whether the same may succeed another time.
func (e *reasonError) passing() bool {
	switch e.code {
	case 0x83, 0x88, 0x89, 0x8b, 0x8d, 0x8e, 0x91, 0x93, 0x96, 0x97, 0x98, 0x9c, 0x9f, 0xa0:
		return true
	}
	return false
}

// lasting marks an error with this reason as permanent, unless it may pass.
func (e *reasonError) lasting(err error) error {
	if e.passing() {
		return err
	}
	return bridge.Permanent(err)
}

// ofMessage reports whether it is about the message that was published, rather than about the
// broker or the connection at that time.
func (e *reasonError) ofMessage() bool {
	switch e.code {
	case reasonNotAuthorised, reasonTopicName, reasonPacketTooLarge, reasonPayloadFormat, 0x9a, 0x9b:
		return true
	}
	return false
}

// disconnected returns why the broker has sent DISCONNECT.
func disconnected(body []byte) error {
	e := reasonOf(body)
	switch e.code {
	case 0:
		return errHungUp
	case reasonPacketTooLarge: // of MQTT 3.1.1 nothing more than that is known, see trial
		return fmt.Errorf("%w, %w", errHungUp, e)
	}
	return fmt.Errorf("disconnected by the broker, %w", e)
}
