package server

import (
	"time"
	"unsafe"
)

// entry is one item that a portal holds.
type entry struct {
	seq  uint64        // its number in the account
	ord  uint64        // its number in the portal, from 0
	ts   int64         // servertimestamp
	at   time.Duration // when it came, by the monotonic clock
	text []byte        // as it stands in answers; shared by all readers and never changed
	// held is how many bytes are free when it goes: those of its text, or, with the last of several
	// in one allocation, of all.
	held int
}

// entrySize is what a slot takes.
const entrySize = int(unsafe.Sizeof(entry{}))

// ring holds the newest entries of a portal, in order. It grows as it fills, and shrinks as it
// empties.
type ring struct {
	slots []entry
	head  int // slot of the oldest
	n     int
	held  int // bytes of the texts
}

// size is what the ring takes, in bytes.
func (r *ring) size() int { return r.held + len(r.slots)*entrySize }

func (r *ring) at(i int) *entry { return &r.slots[r.slot(i)] }

// slot is where the i-th entry is, or will be.
func (r *ring) slot(i int) int {
	if i += r.head; i >= len(r.slots) {
		i -= len(r.slots)
	}
	return i
}

// push adds e. It drops the oldest entry if there are capacity entries.
func (r *ring) push(e entry, capacity int) {
	if r.n == capacity {
		r.drop()
	}
	if r.n == len(r.slots) {
		r.resize(min(capacity, max(leastSlots, 2*r.n)))
	}
	r.slots[r.slot(r.n)] = e
	r.n++
	r.held += e.held
}

const leastSlots = 8

// pop drops the oldest entry.
func (r *ring) pop() {
	r.drop()
	if len(r.slots) > leastSlots && r.n <= len(r.slots)/4 {
		r.resize(max(leastSlots, len(r.slots)/2))
	}
}

func (r *ring) drop() {
	e := r.at(0)
	r.held -= e.held
	*e = entry{}
	r.head = r.slot(1)
	r.n--
}

func (r *ring) resize(size int) {
	slots := make([]entry, size)
	for i := range r.n {
		slots[i] = *r.at(i)
	}
	r.slots, r.head = slots, 0
}
