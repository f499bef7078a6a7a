package bridge

import "sync/atomic"

// Ledger says what became of the messages of a pipeline. At every quiet moment
//
//	Carried + Received = Delivered + Filtered + DeadLettered + Dropped + Buffered + InFlight
//
// where each term is counted by itself, so that the equation is a check.
type Ledger struct {
	Carried      uint64 // in the buffer from earlier runs
	Received     uint64 // read from the sources
	Delivered    uint64 // accepted by every sink
	Filtered     uint64 // left out by a step, as configured
	DeadLettered uint64 // put aside as undeliverable
	Dropped      uint64 // given up where the technology has no way to wait, or a sink left it out as configured
	Buffered     uint64 // in the buffer, and delivered later or by another run
	InFlight     uint64 // read, but none of the above: a source that can will deliver them again
}

// Balanced reports whether the equation of [Ledger] holds.
func (l Ledger) Balanced() bool {
	return l.Carried+l.Received == l.Delivered+l.Filtered+l.DeadLettered+l.Dropped+l.Buffered+l.InFlight
}

// Add adds m to l.
func (l *Ledger) Add(m Ledger) {
	l.Carried += m.Carried
	l.Received += m.Received
	l.Delivered += m.Delivered
	l.Filtered += m.Filtered
	l.DeadLettered += m.DeadLettered
	l.Dropped += m.Dropped
	l.Buffered += m.Buffered
	l.InFlight += m.InFlight
}

// counters is a Ledger that is being written, a few additions per batch.
type counters struct {
	received, delivered, filtered, deadLettered, dropped atomic.Uint64
	inFlight                                             atomic.Int64

	made    atomic.Uint64 // by steps, of those received
	refused atomic.Uint64 // in batches that were given back to their source
}

func (c *counters) read(n int) {
	c.received.Add(uint64(n))
	c.inFlight.Add(int64(n))
}

// settle moves n messages from in flight to one of the final counts.
func (c *counters) settle(to *atomic.Uint64, n int) {
	to.Add(uint64(n))
	c.inFlight.Add(int64(-n))
}

// lost counts messages that a source had to drop before it could return them.
func (c *counters) lost(n int) {
	c.received.Add(uint64(n))
	c.dropped.Add(uint64(n))
}

func (c *counters) ledger() Ledger {
	return Ledger{
		Received:     c.received.Load(),
		Delivered:    c.delivered.Load(),
		Filtered:     c.filtered.Load(),
		DeadLettered: c.deadLettered.Load(),
		Dropped:      c.dropped.Load(),
		InFlight:     uint64(max(0, c.inFlight.Load())),
	}
}
