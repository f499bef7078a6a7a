package mqtt

import (
	"fmt"
	"math"
	"sync"
)

// States of a message in the window.
const (
	sent     = iota // PUBLISH
	released        // PUBREL, QoS 2 only
	done
)

// window is the run of messages that a sink has sent and the broker has not
// acknowledged. Brokers acknowledge in order, so the oldest holds up the rest.
type window struct {
	qos byte

	mu      sync.Mutex // guards the rest
	state   []byte     // of number seq at seq % len(state)
	oldest  uint64     // number of the oldest that is not acknowledged
	next    uint64     // number of the next to send
	waiting []waiter
	limit   int                     // at most len(state)
	usual   int                     // the limit while it is careful, else 0
	refused map[uint64]*reasonError // of those that are done, by number
}

func newWindow(size int, qos byte) *window {
	return &window{state: make([]byte, size), limit: size, qos: qos}
}

// narrow sets how many messages it is for, if that is less than before.
func (w *window) narrow(most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = min(w.limit, most)
}

// careful has each message wait for the one before, until relax.
func (w *window) careful() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usual, w.limit = w.limit, 1
}

func (w *window) relax() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = max(w.limit, w.usual)
}

// half returns the number before which all messages must be acknowledged for half of it to be free.
func (w *window) half() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next - min(w.next, uint64(w.limit)/2) // the limit may have been raised since it was full
}

// refusals returns those of the n messages from first on, by how far they are from it, and forgets
// them; nil: none was refused.
func (w *window) refusals(first uint64, n int) map[int]*reasonError {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found map[int]*reasonError
	for seq, why := range w.refused {
		if seq >= first && seq < first+uint64(n) {
			if found == nil {
				found = make(map[int]*reasonError)
			}
			found[int(seq-first)] = why
			delete(w.refused, seq)
		}
	}
	return found
}

// packetID numbers from 1 to 65534 round and round. The window is never
// larger, so an id says which message of it is meant. 65535 is that of notices.
func packetID(seq uint64) uint16 { return uint16(seq%maxInflight) + 1 }

const maxInflight = 65534

// room returns the number of the next message and how many may be sent: with QoS 0, any number.
func (w *window) room() (next uint64, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.qos == 0 {
		return 0, math.MaxInt
	}
	return w.next, w.limit - int(w.next-w.oldest)
}

// add takes in n messages, before they are sent.
func (w *window) add(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		w.state[w.next%uint64(len(w.state))] = sent
		w.next++
	}
}

// settle takes in acknowledgements and returns replies with the PUBRELs that they ask for.
// One that belongs to no message is ignored.
func (w *window) settle(acks []ack, replies []byte) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range acks {
		if a.id == 0 {
			continue
		}
		ahead := (uint64(a.id-1) + maxInflight - w.oldest%maxInflight) % maxInflight
		if ahead >= w.next-w.oldest {
			continue
		}
		state := &w.state[(w.oldest+ahead)%uint64(len(w.state))]
		switch {
		case a.why != nil && *state == sent && a.kind == puback+w.qos-1:
			*state = done
			if w.refused == nil {
				w.refused = make(map[uint64]*reasonError)
			}
			w.refused[w.oldest+ahead] = a.why
		case a.kind == puback && w.qos == 1, a.kind == pubcomp && *state == released:
			*state = done
		case *state == done:
		case a.kind == pubrec && w.qos == 2:
			*state = released
			replies = appendAck(replies, pubrel, a.id)
		default:
			return replies, fmt.Errorf("acknowledgement of type %d for a message of QoS %d", a.kind, w.qos)
		}
	}
	w.slide()
	return replies, nil
}

func (w *window) slide() {
	for w.oldest < w.next && w.state[w.oldest%uint64(len(w.state))] == done {
		w.oldest++
	}
	waiting := w.waiting[:0]
	for _, x := range w.waiting {
		if x.target <= w.oldest {
			close(x.reached)
		} else {
			waiting = append(waiting, x)
		}
	}
	w.waiting = waiting
}

// waiter waits until all messages before number target are acknowledged.
type waiter struct {
	target  uint64
	reached chan struct{}
}

// wait returns a channel that is closed when all messages before target are
// acknowledged, or nil if they are.
func (w *window) wait(target uint64) (reached <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.oldest >= target {
		return nil
	}
	x := waiter{target, make(chan struct{})}
	w.waiting = append(w.waiting, x)
	return x.reached
}

// acknowledged returns how many messages have been, since the beginning.
func (w *window) acknowledged() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.oldest
}

// waits reports whether acknowledgements are to come.
func (w *window) waits() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.oldest < w.next
}

// confirmed returns how many of the n messages from first on are acknowledged.
func (w *window) confirmed(first uint64, n int) int {
	return int(min(max(w.acknowledged(), first)-first, uint64(n)))
}
