package mqtt

import (
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// run is a number of messages in order of arrival. refs[i] belongs to msgs[i].
type run struct {
	msgs bridge.Batch
	refs []ref
	size int // in bytes, about
}

func (r *run) add(m bridge.Message, to ref) {
	r.msgs = append(r.msgs, m)
	r.refs = append(r.refs, to)
	r.size += weight(&m)
}

// weight is about what a message costs in memory.
func weight(m *bridge.Message) int {
	n := 128 + len(m.Topic) + len(m.Payload)
	for name, value := range m.Header {
		n += len(name) + len(value)
	}
	return n
}

// only keeps the messages of QoS 0, or all others, and returns how many went.
func (r *run) only(qos0 bool) int {
	kept := run{msgs: r.msgs[:0], refs: r.refs[:0]}
	before := len(r.msgs)
	for i, m := range r.msgs {
		if (r.refs[i].qos == 0) == qos0 {
			kept.add(m, r.refs[i])
		}
	}
	clear(r.msgs[len(kept.msgs):])
	*r = kept
	return before - len(kept.msgs)
}

// queue holds what has arrived and has not been read, up to a number of bytes. When it has ended,
// messages that the broker delivers again go, and the others stay.
type queue struct {
	limit int
	clean bool          // the broker delivers none again
	must  bool          // it takes what exceeds the limit: nobody may be held up, see link
	ready chan struct{} // holds one after something came to be taken
	room  chan struct{} // holds one after something was taken
	ended chan struct{} // closed by end

	mu     sync.Mutex // guards the rest
	run    run
	err    error
	closed bool
}

func newQueue(limit int, clean, must bool) *queue {
	return &queue{
		limit: limit, clean: clean, must: must,
		ready: make(chan struct{}, 1), room: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// offer adds r if there is room. An empty queue takes any r, and so does one that has ended. It
// returns how many messages are lost by that.
func (q *queue) offer(r run) (taken bool, lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil && !q.clean {
		r.only(true)
	}
	switch {
	case q.closed:
		return true, len(r.msgs)
	case len(q.run.msgs) == 0:
		q.run = r
	case q.err == nil && q.run.size+r.size > q.limit && !q.must:
		return false, 0
	default:
		if q.must && q.run.size+r.size > q.limit {
			lost = r.only(false)
		}
		q.run.msgs = append(q.run.msgs, r.msgs...)
		q.run.refs = append(q.run.refs, r.refs...)
		q.run.size += r.size
	}
	signal(q.ready)
	return true, lost
}

// take removes up to most messages. With none left, it returns what end was told.
func (q *queue) take(most int) (bridge.Batch, []ref, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(most, len(q.run.msgs))
	if n == 0 {
		return nil, nil, q.err
	}
	batch, refs := q.run.msgs[:n:n], q.run.refs[:n:n]
	q.run.msgs, q.run.refs = q.run.msgs[n:], q.run.refs[n:]
	for i := range batch {
		q.run.size -= weight(&batch[i])
	}
	signal(q.room)
	return batch, refs, nil
}

// end says what take returns after the last message. If nobody reads any more, it returns how many
// messages are lost.
func (q *queue) end(err error, closed bool) (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		close(q.ended)
	}
	if !q.clean {
		q.run.only(true)
	}
	if closed {
		lost = len(q.run.msgs)
		q.run, q.closed = run{}, true
	}
	signal(q.ready)
	return lost
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
