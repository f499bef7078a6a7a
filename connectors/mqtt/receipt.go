package mqtt

import "sync"

// receipts are the packet ids of QoS 2 that have arrived on a connection and have
// not been released: a packet with such an id is the same message again.
type receipts struct {
	mu sync.Mutex      // guards the rest
	id map[uint16]bool // whether it has been acknowledged with PUBREC
}

func (r *receipts) add(id uint16) (known, confirmed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	confirmed, known = r.id[id]
	if !known {
		if r.id == nil {
			r.id = make(map[uint16]bool)
		}
		r.id[id] = false
	}
	return known, confirmed
}

func (r *receipts) confirm(id uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id[id] = true
}

func (r *receipts) release(id uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.id, id)
}

// unacked are the packet ids of QoS 1 that have arrived on a connection and have not been
// acknowledged. A broker may lose patience and send such a packet again, marked as a duplicate: nats-server
// does so every 30 seconds.
type unacked struct {
	mu  sync.Mutex // guards the rest
	ids [1 << 16 / 64]uint64
}

// add notes an id and reports whether it was there already.
func (u *unacked) add(id uint16) (known bool) {
	bit := uint64(1) << (id % 64)
	u.mu.Lock()
	defer u.mu.Unlock()
	known = u.ids[id/64]&bit != 0
	u.ids[id/64] |= bit
	return known
}

// remove forgets an id. It must be done before the acknowledgement leaves, because
// the broker may then use the id for another message.
func (u *unacked) remove(id uint16) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids[id/64] &^= 1 << (id % 64)
}
