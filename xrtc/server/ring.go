package server

import "time"

// entry is one item that a portal holds.
type entry struct {
	seq  uint64        // its number in the account
	ord  uint64        // its number in the portal, from 0
	ts   int64         // servertimestamp
	at   time.Duration // when it came, by the monotonic clock
	text []byte        // as it stands in answers; shared by all readers and never changed
}

// ring holds the newest entries of a portal, in order. It grows as it fills.
type ring struct {
	slots []entry
	head  int // slot of the oldest
	n     int
}

func (r *ring) at(i int) *entry { return &r.slots[r.slot(i)] }

// slot is where the i-th entry is, or will be.
func (r *ring) slot(i int) int {
	if i += r.head; i >= len(r.slots) {
		i -= len(r.slots)
	}
	return i
}

// push adds e. It drops the oldest entry, and returns the size of its text, if there are capacity entries.
func (r *ring) push(e entry, capacity int) (freed int) {
	if r.n == capacity {
		freed = r.pop()
	}
	if r.n == len(r.slots) {
		r.grow(min(capacity, max(8, 2*r.n)))
	}
	r.slots[r.slot(r.n)] = e
	r.n++
	return freed
}

// pop drops the oldest entry and returns the size of its text.
func (r *ring) pop() int {
	e := r.at(0)
	size := len(e.text)
	*e = entry{}
	r.head = r.slot(1)
	r.n--
	return size
}

func (r *ring) grow(size int) {
	slots := make([]entry, size)
	for i := range r.n {
		slots[i] = *r.at(i)
	}
	r.slots, r.head = slots, 0
}
