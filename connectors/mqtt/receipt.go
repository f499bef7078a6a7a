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
