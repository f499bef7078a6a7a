package mqtt

import "sync"

// ref is what acknowledging a message takes.
type ref struct {
	id  uint16
	qos byte
	cut int32 // bytes of the packet, if the message is its beginning only
}

// ack returns the packet type that acknowledges it.
func (r ref) ack() byte {
	if r.qos == 2 {
		return pubrec
	}
	return puback
}

// States of a packet id.
const (
	free     = iota
	arrived  // and not acknowledged
	received // QoS 2 only: acknowledged with PUBREC, and the broker has yet to release it
)

// receipts are the packet ids that have arrived on a connection and are not free again: a packet
// with such an id is the same message. A broker may lose patience and send one again, as
// nats-server does every 30 seconds.
type receipts struct {
	mu    sync.Mutex // guards state
	state [1 << 16]byte
}

// add notes an id and returns what it was before.
func (r *receipts) add(id uint16) (before byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before = r.state[id]; before == free {
		r.state[id] = arrived
	}
	return before
}

// confirm must be called before the acknowledgements leave, because the broker may then use the ids
// for other messages.
func (r *receipts) confirm(refs ...ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range refs {
		r.state[f.id] = free
		if f.qos == 2 {
			r.state[f.id] = received
		}
	}
}
