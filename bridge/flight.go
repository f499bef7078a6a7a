package bridge

import (
	"context"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// flight is what is made of one batch on its way from the sources to the sinks, or of a call by
// time, which has none.
type flight struct {
	number uint64
	last   bool // nothing comes after it
	once   bool // it is one through a branch of ModeAny, which has another
	done   chan error

	// Messages of the flight are those that the root steps made of the batch, and then those that
	// were made in branches.
	outcomes []outcome // of each; nil if all leave the tree together
	one      [1]part
	parts    []part
	refused  []refusal // with once
	err      error     // a message was refused that stops the pipeline

	freed uint64   // up to which flight nothing is held by a step
	debt  *debt    // nil: there is nothing to acknowledge
	gone  *reading // whose batches are given back with this flight, nil for others
}

// part is what of a flight leaves the tree in one place.
type part struct {
	node   *node
	units  []int32 // of each message; nil: all of the flight, in order
	lane   *queue  // nil: none
	ticket *ticket // in the lane
	write  write
}

func (f *flight) add(p part, b Batch, lane *queue) {
	p.write = write{batch: b, once: f.once}
	p.lane, p.ticket = lane, lane.take(false)
	if f.parts == nil {
		f.parts = f.one[:0]
	}
	f.parts = append(f.parts, p)
}

// set notes an outcome of a message, unless there is a greater one.
func (f *flight) set(unit int32, out outcome) { f.outcomes[unit] = max(f.outcomes[unit], out) }

// made adds a message.
func (f *flight) made() int32 {
	f.outcomes = append(f.outcomes, filtered)
	return int32(len(f.outcomes) - 1)
}

// deliver writes the parts of the flight, at once if there are several, and notes the outcomes.
func (r *run) deliver(ctx context.Context, f *flight) error {
	if len(f.parts) == 0 {
		return f.err
	}
	crashpoint.Reach(crashpoint.Delivering)
	var writing sync.WaitGroup
	for i := range f.parts[1:] {
		writing.Go(func() { r.writePart(ctx, &f.parts[1+i]) })
	}
	r.writePart(ctx, &f.parts[0])
	writing.Wait()
	crashpoint.Reach(crashpoint.Delivered)
	err := f.err
	for i := range f.parts {
		p := &f.parts[i]
		err = joinOnce(err, p.write.err)
		for _, bad := range p.write.refused {
			bad.index = int(unit(p.units, bad.index))
			f.refused = append(f.refused, bad)
		}
		if f.outcomes == nil {
			continue
		}
		for k := range p.write.batch {
			f.set(unit(p.units, k), p.write.of(k))
		}
	}
	return err
}

// writePart writes one part when it is its turn. It stops reading after an error, and not
// its callers, since other parts may take long.
func (r *run) writePart(ctx context.Context, p *part) {
	if !p.lane.enter(ctx, p.ticket) {
		p.write.err = context.Cause(ctx)
		return
	}
	defer p.lane.leave()
	if p.node.output != nil {
		p.node.output.write(ctx, &p.write)
	} else {
		r.writeAny(ctx, p.node, &p.write)
	}
	if p.write.err != nil && !p.write.once {
		r.stop()
	}
}

// abandon gives way to others where the flight was to be written.
func (f *flight) abandon(ctx context.Context) {
	for i := range f.parts {
		if p := &f.parts[i]; p.lane.enter(ctx, p.ticket) {
			p.lane.leave()
		}
	}
}

// tally counts the outcomes of the flight.
func (f *flight) tally() (t tally) {
	if f.outcomes != nil {
		for _, out := range f.outcomes {
			t[out]++
		}
		return t
	}
	for i := range f.parts { // one at most
		w := &f.parts[i].write
		t[pending] += len(w.batch) - w.done
		if w.outcomes == nil {
			t[delivered] += w.done
			continue
		}
		for _, out := range w.outcomes[:w.done] {
			t[out]++
		}
	}
	return t
}

// launch takes what a source has returned through the steps and on its way.
func (r *run) launch(from *reading, b Batch, ack Ack, said Refusals) {
	if !from.in.endpoint.KeepIDs {
		qualify(from.in.place.env.Instance, b)
	}
	r.turn.Lock()
	r.counters.read(len(b))
	f := r.newFlight(&debt{from: from, ack: ack, received: len(b)})
	r.send(f, func(way *router) error {
		var err error
		if len(said) > 0 {
			b, err = way.refuseAtSource(from.in.place, b, said)
		} else {
			from.in.pass(len(b))
		}
		if err != nil {
			return err
		}
		return way.start(0, b, false)
	})
}

// newFlight begins a flight. The turn must be held.
func (r *run) newFlight(d *debt) *flight {
	r.number++
	d.number = r.number
	r.owe(d)
	return &flight{number: r.number, debt: d}
}

// send takes a flight its way, has it delivered and settled, and passes the turn, which must be
// held.
func (r *run) send(f *flight, way func(*router) error) {
	err := r.broken
	if err == nil {
		err = way(&router{r, r.work, f})
		r.broken = err // nobody asks an instance again that has failed
	}
	if err != nil || f.err != nil {
		r.stop()
	}
	f.freed = f.number
	if r.holding {
		f.freed = r.root.freeUpTo(f.number)
	}
	r.setAlarm()
	if r.queue == nil {
		if err == nil {
			err = r.deliver(r.work, f)
		}
		r.settling.Lock()
		r.turn.Unlock()
		r.settle(r.work, f, err)
		r.settling.Unlock()
		return
	}
	f.done = make(chan error, 1)
	r.slots <- struct{}{}
	r.queue <- f
	r.turn.Unlock()
	r.flying.Go(func() {
		if err == nil {
			err = r.deliver(r.work, f)
		} else {
			f.abandon(r.work)
		}
		f.done <- err
		<-r.slots
	})
}

func (r *run) settleAll() {
	for f := range r.queue {
		r.settle(r.work, f, <-f.done)
	}
}

// finish is called once for each source that reads no more. After the last one, the steps let go of
// what they hold.
func (r *run) finish() {
	if r.reading.Add(-1) > 0 {
		return
	}
	r.turn.Lock()
	r.ended = true
	f := r.newFlight(new(debt))
	f.last = true
	r.send(f, func(way *router) error {
		switch {
		case len(r.stages) == 0 || !r.holding:
			return nil
		case r.work.Err() != nil:
			return context.Cause(r.work)
		}
		return way.start(0, nil, false)
	})
}

// giveUp gives back what is owed to a reading, once what is on its way is settled.
func (r *run) giveUp(from *reading) {
	r.turn.Lock()
	f := r.newFlight(new(debt))
	f.gone = from
	r.send(f, func(*router) error { return nil })
	from.owed.Wait()
}
