package bridge

import "time"

// Message is one unit that a pipeline carries. It is copied freely, so it
// holds no state: acknowledging is the business of the [Ack] of its batch.
type Message struct {
	// ID is the identity of the message, for sinks that de-duplicate: two messages with one ID are
	// one message. A source leaves it empty unless its system gives the same message the same one
	// each time it delivers it; see the package comment.
	ID string

	// Topic says where the message came from: MQTT topic, NATS subject,
	// portal id, file path. It may be empty.
	Topic string

	// Payload is never modified in place: it may alias memory that other
	// messages share. It is valid until the message's batch is acknowledged,
	// so who wants to keep it longer copies it.
	Payload []byte

	// Header may be nil and is never modified in place.
	Header map[string]string

	// Time is when the source saw the message, or what the source's
	// technology says about that.
	Time time.Time
}

// Batch is a run of messages in the order of their source. It is what moves
// between the stages of a pipeline; the cost of moving is per batch.
type Batch []Message
