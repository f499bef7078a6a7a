package faulttest

import (
	"sync"
	"sync/atomic"
	"time"
)

// Fault is what a [Proxy] does to its connections. The zero value is none. All
// fields may be combined; each holds per connection and, if it is not said
// otherwise, in both directions.
type Fault struct {
	// Latency is added to the way of each byte. What one side sends in a burst
	// arrives as a burst, as far as the buffer of the proxy reaches (256 KiB).
	Latency time.Duration
	// Rate is in bytes per second; 0 is without limit. It is never exceeded by
	// more than one write, of 20 ms or of Slice bytes.
	Rate int
	// Slice is the most bytes in one write; 0 is as they come. A receiver that
	// is slow finds several in one read, but never a part of one.
	Slice int

	// BlackHole accepts connections, reads nothing, forwards nothing, and keeps
	// all sockets open, also those of a peer that is gone. What was read before
	// or is sent meanwhile is forwarded when it is lifted.
	BlackHole bool
	// HalfOpen keeps back what the server sends until it is lifted; what the
	// client sends is read and thrown away. The end of a connection is not
	// thrown away but waits until it is lifted.
	HalfOpen bool

	// CutAfter cuts a connection when exactly so many bytes more have reached
	// the server: since Set, or since the connection was opened if that was
	// later. 0 is never. On Linux they have all arrived when the cut follows;
	// elsewhere a receiver that does not read may miss some.
	CutAfter int64
	// CutAfterDown is CutAfter for bytes from the server to the client.
	CutAfterDown int64
	// FIN ends a connection that is cut in order, towards both sides, instead
	// of by a reset. It is still read from until the peers close, and thrown away.
	FIN bool

	// Refuse refuses new connections, as if nobody listened. Open ones go on; see [Proxy.Cut].
	Refuse bool
}

// silent reports whether one direction stands still.
func (f *Fault) silent(up bool) bool { return f.BlackHole || f.HalfOpen && !up }

// cut returns after how many bytes one direction is cut; 0 is never.
func (f *Fault) cut(up bool) int64 {
	if up {
		return f.CutAfter
	}
	return f.CutAfterDown
}

// burst returns how many of n bytes, at least one, may be written at once.
func (f *Fault) burst(n int) int {
	switch {
	case f.Slice > 0:
		return min(n, f.Slice)
	case f.Rate > 0:
		return min(n, max(1, f.Rate/50))
	}
	return n
}

// state is the fault from one Set to the next. It is not changed.
type state struct {
	Fault
	changed chan struct{} // closed when the next one holds
}

func newState(f Fault) *state { return &state{Fault: f, changed: make(chan struct{})} }

// gate lets Set wait until a read or a write that began under an older state is over.
type gate struct {
	mu    sync.Mutex
	left  sync.Cond
	using *state
}

func (g *gate) enter(current *atomic.Pointer[state]) *state {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.using = current.Load()
	return g.using
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.using = nil
	g.left.Broadcast()
}

// settle waits until nothing goes on under another state than current.
func (g *gate) settle(current *state) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.using != nil && g.using != current {
		g.left.Wait()
	}
}
