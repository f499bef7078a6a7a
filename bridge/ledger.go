package bridge

import "sync/atomic"

// Ledger says what became of the messages of a pipeline. At every quiet moment
//
//	Carried + Received + Made = Delivered + Filtered + Merged + DeadLettered + Dropped + Buffered + InFlight
//
// where each term is counted by itself, so that the equation is a check. A message that goes to
// several branches is one message; what counts is the worst that happened to it: dropped, then
// dead-lettered, delivered, merged, filtered.
type Ledger struct {
	Carried      uint64 // in the buffer from earlier runs
	Received     uint64 // read from the sources, once more if they deliver once more
	Made         uint64 // by steps, beyond one for each that they got
	Delivered    uint64 // accepted by every sink that it was for
	Filtered     uint64 // left out by a step or by every branch, as configured
	Merged       uint64 // held by a step, which has let go of all that it made of it
	DeadLettered uint64 // put aside as undeliverable
	Dropped      uint64 // given up where the technology has no way to wait, or left out by a sink or on_error as configured
	Buffered     uint64 // in the buffer, and delivered later or by another run
	InFlight     uint64 // read, but none of the above: a source that can will deliver them again
}

// Balanced reports whether the equation of [Ledger] holds.
func (l Ledger) Balanced() bool {
	return l.Carried+l.Received+l.Made == l.Delivered+l.Filtered+l.Merged+l.DeadLettered+l.Dropped+l.Buffered+l.InFlight
}

// Add adds m to l.
func (l *Ledger) Add(m Ledger) {
	l.Carried += m.Carried
	l.Received += m.Received
	l.Made += m.Made
	l.Delivered += m.Delivered
	l.Filtered += m.Filtered
	l.Merged += m.Merged
	l.DeadLettered += m.DeadLettered
	l.Dropped += m.Dropped
	l.Buffered += m.Buffered
	l.InFlight += m.InFlight
}

// counters is a Ledger that is being written, a few additions per batch.
type counters struct {
	received, made, delivered, filtered, merged, deadLettered, dropped, inFlight atomic.Int64

	// What was given back to the sources is in flight until the pipeline begins anew. It is
	// received, and made, once more then.
	backReceived, backMade atomic.Int64

	again atomic.Int64 // messages that are counted, though the buffer delivers them once more
}

func (c *counters) read(n int) {
	c.received.Add(int64(n))
	c.inFlight.Add(int64(n))
}

// lost counts messages that a source had to drop before it could return them.
func (c *counters) lost(n int) {
	c.received.Add(int64(n))
	c.dropped.Add(int64(n))
}

// beginAnew takes what was given back out of the count.
func (c *counters) beginAnew() {
	received, made := c.backReceived.Swap(0), c.backMade.Swap(0)
	c.received.Add(-received)
	c.made.Add(-made)
	c.inFlight.Add(-received - made)
}

func (c *counters) ledger() Ledger {
	return Ledger{
		Received:     unsigned(&c.received),
		Made:         unsigned(&c.made),
		Delivered:    unsigned(&c.delivered),
		Filtered:     unsigned(&c.filtered),
		Merged:       unsigned(&c.merged),
		DeadLettered: unsigned(&c.deadLettered),
		Dropped:      unsigned(&c.dropped),
		InFlight:     unsigned(&c.inFlight),
	}
}

func unsigned(n *atomic.Int64) uint64 { return uint64(max(0, n.Load())) }
