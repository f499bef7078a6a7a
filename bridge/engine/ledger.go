package engine

import (
	"sync"
	"sync/atomic"
)

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

// counters is a Ledger that is being written, a few additions per batch.
type counters struct {
	received, made, inFlight atomic.Int64
	settled                  [refused]atomic.Int64 // by outcome; what was held is merged
	missed, undelivered      atomic.Int64          // dropped by a source, and since it can give nothing twice

	// What was given back to the sources is in flight until the pipeline begins anew. It is
	// received, and made, once more then.
	backReceived, backMade atomic.Int64

	againMu  sync.Mutex // guards what follows, and that beginAnew is one step
	returned Returned   // taken out of the count by beginAnew

	again atomic.Int64 // messages that are counted, though the buffer delivers them once more
}

func (c *counters) read(n int) {
	c.received.Add(int64(n))
	c.inFlight.Add(int64(n))
}

// make counts messages that steps have made.
func (c *counters) make(n int) {
	c.made.Add(int64(n))
	c.inFlight.Add(int64(n))
}

// count moves n messages from in flight to one of the final counts.
func (c *counters) count(to outcome, n int) {
	if n != 0 {
		c.settled[to].Add(int64(n))
		c.inFlight.Add(int64(-n))
	}
}

// lost counts messages that a source had to drop before it could return them.
func (c *counters) lost(n int) {
	c.received.Add(int64(n))
	c.missed.Add(int64(n))
}

// lose counts messages as dropped that were not delivered, and come never again.
func (c *counters) lose(n int) {
	c.undelivered.Add(int64(n))
	c.inFlight.Add(int64(-n))
}

// beginAnew takes what was given back out of the count.
func (c *counters) beginAnew() {
	c.againMu.Lock()
	defer c.againMu.Unlock()
	received, made := c.backReceived.Swap(0), c.backMade.Swap(0)
	c.received.Add(-received)
	c.made.Add(-made)
	c.inFlight.Add(-received - made)
	c.returned.Received += uint64(received)
	c.returned.Made += uint64(made)
}

// now returns all counts. What is settled is read first, so that what it was read for is counted.
func (c *counters) now() Counts {
	c.againMu.Lock()
	defer c.againMu.Unlock()
	d := c.drops()
	l := Ledger{
		Delivered:    unsigned(&c.settled[delivered]),
		Filtered:     unsigned(&c.settled[filtered]),
		Merged:       unsigned(&c.settled[held]),
		DeadLettered: unsigned(&c.settled[deadLettered]),
		Dropped:      d.sum(),
		InFlight:     unsigned(&c.inFlight),
		Received:     unsigned(&c.received),
		Made:         unsigned(&c.made),
	}
	return Counts{Ledger: l, Drops: d, Returned: c.returned}
}

func (c *counters) ledger() Ledger { return c.now().Ledger }

// Counts are all that is counted of a pipeline, read in one go. Each but Carried, Buffered and
// InFlight only grows, if what was Returned is added to Received and Made.
type Counts struct {
	Ledger   Ledger
	Drops    Drops
	Returned Returned
	Restarts uint64 // after failures
}

// Returned is what was given back to the sources, and is no longer in the Ledger since the pipeline
// has begun anew: it is received, and made, once more.
type Returned struct{ Received, Made uint64 }

// Drops says of the messages that count as dropped why they do.
type Drops struct {
	OnError uint64 // refused, and on_error says drop
	Sink    uint64 // left out by a sink, as configured
	Source  uint64 // lost in front of a source, or by it
	Buffer  uint64 // lost in the buffer, or dropped there since it was full
	Stop    uint64 // not delivered when the pipeline stopped or failed, and their source gives nothing twice
}

func (d Drops) sum() uint64 { return d.OnError + d.Sink + d.Source + d.Buffer + d.Stop }

func (c *counters) drops() Drops {
	return Drops{
		OnError: unsigned(&c.settled[dropped]),
		Sink:    unsigned(&c.settled[omitted]),
		Source:  unsigned(&c.missed),
		Stop:    unsigned(&c.undelivered),
	}
}

func unsigned(n *atomic.Int64) uint64 { return uint64(max(0, n.Load())) }
