package monitor

import (
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// Retire takes over the counts of a pipeline that has ended, and which another one of its name
// will follow. It may be called again if that one has been started once more instead.
func (m *Monitor) Retire(p *engine.Pipeline) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.pipelines[p.Name]
	if known == nil {
		return
	}
	if known.retired != p {
		known.before, known.retired = known.gone, p
	}
	p.Retire()
	known.gone = known.counts(p)
}

// counts returns those of p and of all that had its name before.
func (p *pipeline) counts(of *engine.Pipeline) engine.Counts {
	gone := p.gone
	if of == p.retired {
		gone = p.before
	}
	return ofOneMoment(and(gone, of.Counts()), of.Buffer != nil)
}

// and returns the counts of pipelines that had the name, and of one that follows and carries what
// they have buffered: that is carried once, by the first that found it, and what is more was there
// before all of them.
//
// Buffered is what they have left there, since it stays until one empties it. Where the next one
// has a buffer that is no more than a beginning: ofOneMoment says what is in it now. Nothing of
// theirs is in flight: it was given back when they ended.
func and(gone, next engine.Counts) engine.Counts {
	a, b := gone.Ledger, next.Ledger
	return engine.Counts{
		Ledger: engine.Ledger{
			Carried:  a.Carried + b.Carried - min(b.Carried, a.Buffered),
			Received: a.Received + b.Received, Made: a.Made + b.Made,
			Delivered: a.Delivered + b.Delivered, Filtered: a.Filtered + b.Filtered, Merged: a.Merged + b.Merged,
			DeadLettered: a.DeadLettered + b.DeadLettered, Dropped: a.Dropped + b.Dropped,
			Buffered: a.Buffered, InFlight: b.InFlight,
		},
		Drops: engine.Drops{
			OnError: gone.Drops.OnError + next.Drops.OnError, Sink: gone.Drops.Sink + next.Drops.Sink,
			Source: gone.Drops.Source + next.Drops.Source, Buffer: gone.Drops.Buffer + next.Drops.Buffer,
			Stop: gone.Drops.Stop + next.Drops.Stop,
		},
		Returned: engine.Returned{
			Received: gone.Returned.Received + next.Returned.Received, Made: gone.Returned.Made + next.Returned.Made,
		},
		Restarts: gone.Restarts + next.Restarts,
	}
}

// ofOneMoment makes the equation of the ledger hold for terms that were read one after the other
// while messages moved on. What is settled was read first, and what was given back is counted
// before it comes again, so that no more is settled than has come; what is left over is in flight
// or, if the pipeline has a buffer, on its way through that. Which of the two it is may be off by
// what moved between two reads; their sum, which is what is owed, is not. The engine's own ledger
// is not made to fit: that of a bridge that ends is checked.
func ofOneMoment(c engine.Counts, buffered bool) engine.Counts {
	l := &c.Ledger
	l.Dropped = c.Drops.OnError + c.Drops.Sink + c.Drops.Source + c.Drops.Buffer + c.Drops.Stop
	all, settled := l.Carried+l.Received+l.Made, l.Delivered+l.Filtered+l.Merged+l.DeadLettered+l.Dropped
	owed := all - min(all, settled)
	if buffered {
		l.InFlight = min(l.InFlight, owed)
		l.Buffered = owed - l.InFlight
	} else {
		l.Buffered = min(l.Buffered, owed) // what one before it has left there
		l.InFlight = owed - l.Buffered
	}
	return c
}
