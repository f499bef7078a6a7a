package bridge

import "sync/atomic"

// Ledger says what became of the messages of a pipeline. At every quiet moment
//
//	Received = Delivered + Filtered + DeadLettered + Dropped + InFlight
//
// where each term is counted by itself, so that the equation is a check.
type Ledger struct {
	Received     uint64 // read from the sources
	Delivered    uint64 // accepted by every sink
	Filtered     uint64 // left out by a step, as configured
	DeadLettered uint64 // put aside as undeliverable
	Dropped      uint64 // given up where the technology has no way to wait, or a sink left it out as configured
	InFlight     uint64 // read, but none of the above: a source that can will deliver them again
}

// Balanced reports whether the equation of [Ledger] holds.
func (l Ledger) Balanced() bool {
	return l.Received == l.Delivered+l.Filtered+l.DeadLettered+l.Dropped+l.InFlight
}

// Add adds m to l.
func (l *Ledger) Add(m Ledger) {
	l.Received += m.Received
	l.Delivered += m.Delivered
	l.Filtered += m.Filtered
	l.DeadLettered += m.DeadLettered
	l.Dropped += m.Dropped
	l.InFlight += m.InFlight
}

// counters is a Ledger that is being written, a few additions per batch.
type counters struct {
	received, delivered, filtered, deadLettered, dropped atomic.Uint64
	inFlight                                             atomic.Int64
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
