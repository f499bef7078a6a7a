package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// flight is what is made of one batch on its way from the sources to the sinks, or of a call by
// time, which has none.
type flight struct {
	number uint64
	last   bool // nothing comes after it
	once   bool // it is one through a branch of ModeAny, which has another
	done   chan error
	over   chan struct{} // closed when it was delivered, or could not be; nil: nobody waits for that

	// Messages of the flight are those of the batch, and then those that steps made of them.
	outcomes []outcome // of each
	parts    []part
	refused  []refusal // with once
	err      error     // a message was refused that stops the pipeline

	kept  int      // the first message of the batch that a step has held, be it for a call only
	freed uint64   // up to which flight nothing is held by a step
	gone  *reading // whose batches are given back with this flight, nil for others

	// What is owed for it.
	from     *reading // nil: it has no batch
	ack      bridge.Ack
	received int // messages of the batch
	made     int // of them, beside them, or out of what was held
	held     int // of both, by steps; counted as merged when these have let go
	left     int // of both, not settled
	front    int // of the batch, settled though others are not
}

// part is what of a flight leaves the tree in one place.
type part struct {
	node   *node
	units  []int32
	lane   *queue
	ticket *ticket // in the lane
	write  write
}

func (f *flight) add(n *node, b bridge.Batch, units []int32, lane *queue) {
	f.parts = append(f.parts, part{n, units, lane, lane.take(false), write{batch: b, once: f.once}})
}

// set notes an outcome of a message, unless there is a greater one.
func (f *flight) set(unit int32, out outcome) { f.outcomes[unit] = max(f.outcomes[unit], out) }

// another adds a message.
func (f *flight) another() int32 {
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

// launch takes what a source has returned on its way, at first in portions that grow, and none
// before the one in front of it is through. Later there are portions where all could become too
// much at once, or a paced step has room for few. When ctx is done it waits for no room.
func (r *run) launch(ctx context.Context, from *reading, b bridge.Batch, ack bridge.Ack, said bridge.Refusals) {
	if !from.in.endpoint.KeepIDs {
		qualify(from.in.place.env.Instance, b)
	}
	in, alone := from.in, r.suspects.wary(r.Clock)
	if in.portion > r.env.MaxBatch && !alone && r.room(b) == len(b) || checkRefusals(said, len(b)) != nil {
		r.launchPortion(ctx, from, b, ack, said, nil)
		return
	}
	portions := &bridge.Portions{Ack: ack}
	for len(b) > 0 {
		n := min(in.portion, r.room(b))
		if in.portion <= r.env.MaxBatch {
			in.portion *= 2
		}
		if alone {
			n, in.portion = 1, 1
		}
		first, rest := said.Cut(n)
		over := make(chan struct{})
		r.launchPortion(ctx, from, b[:n:n], portions.Next(n, n == len(b)), first, over)
		<-over
		b, said, alone = b[n:], rest, r.suspects.wary(r.Clock)
	}
}

// mostMade is how many bytes steps may make of the messages that are on their way at once.
const mostMade = 1 << 30

// room returns how many messages in front of b may go on their way at once: one at least.
func (r *run) room(b bridge.Batch) int {
	for _, s := range r.paced { // half of what it holds at most, so that it is never empty meanwhile
		b = b[:min(len(b), max(1, s.endpoint.Paced/2))]
	}
	if len(r.grows) == 0 {
		return len(b)
	}
	all, most := 0, mostMade/max(1, cap(r.slots)) // which each of several flights takes
	for i := range b {
		size := len(b[i].Payload)
		for _, grows := range r.grows {
			size = max(size, grows(size))
		}
		if all += size; all > most {
			return max(i, 1)
		}
	}
	return len(b)
}

// launchPortion takes a batch through the steps and on its way, and closes over when it is through.
func (r *run) launchPortion(ctx context.Context, from *reading, b bridge.Batch, ack bridge.Ack, said bridge.Refusals,
	over chan struct{},
) {
	if len(r.paced) > 0 {
		r.door.Lock() // or another source would take the same room
		defer r.door.Unlock()
		r.awaitRoom(ctx, len(b))
	}
	from.owed.Add(1)
	r.counters.read(len(b))
	f := &flight{from: from, over: over, ack: ack, received: len(b), kept: len(b), outcomes: make([]outcome, len(b))}
	r.send(f, func(way *router) (err error) {
		var units []int32
		if len(said) == 0 {
			from.in.pass(len(b))
		} else if b, units, err = way.refuseAtSource(from.in.place, b, said); err != nil {
			return err
		}
		return way.through(r.root, 0, b, units)
	})
}

// send takes a flight its way in turn, and has it delivered and settled.
func (r *run) send(f *flight, way func(*router) error) {
	r.turn.Lock()
	r.number++
	f.number = r.number
	err := r.broken
	if err == nil && f.from != nil && f.from.failed.Load() {
		err = errBehindRefused
	}
	if err == nil {
		err = way(&router{r, r.work, f})
		r.broken = err // nobody asks an instance again that has failed
	}
	if err != nil || f.err != nil {
		r.stop()
		f.cut()
	}
	if err != nil { // what has not come to its end will not
		f.kept = 0 // nor is it known what of it has
		for i := range f.outcomes {
			if f.outcomes[i] == filtered {
				f.outcomes[i] = pending
			}
		}
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
		f.end(err)
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
		f.end(err)
		f.done <- err
		<-r.slots
	})
}

// comesAgain reports whether the source delivers again what it gets back.
func (f *flight) comesAgain() bool {
	return f.from != nil && f.from.in.endpoint.Guarantee.Level != bridge.LevelAtMostOnce
}

// cut keeps what stands behind the first message that is pending, and that itself, from going out:
// it comes again anyway. When steps have made others of them, nobody knows what stands behind.
func (f *flight) cut() {
	n := slices.Index(f.outcomes, pending)
	if n < 0 || !f.comesAgain() || len(f.outcomes) > f.received {
		return
	}
	for i := range f.parts {
		p := &f.parts[i]
		all, its := p.write.batch, p.units
		p.write.batch, p.units = nil, nil
		for k := range all {
			if u := unit(its, k); u < int32(n) {
				p.write.batch, p.units = append(p.write.batch, all[k]), append(p.units, u)
			} else {
				f.set(u, pending)
			}
		}
	}
}

// end notes that the flight was delivered, or could not be. What its source has behind it comes
// again then, and need not go out now.
func (f *flight) end(err error) {
	if err != nil && f.comesAgain() {
		f.from.failed.Store(true)
	}
	if f.over != nil {
		close(f.over)
	}
}

func (r *run) settleAll() {
	for f := range r.queue {
		r.settle(r.work, f, <-f.done)
	}
}

// finish is called once for each source that reads no more. After the last one, the steps let go of
// what they hold: those that are paced in their time, unless ctx is done, and then all the others.
func (r *run) finish(ctx context.Context) {
	if r.reading.Add(-1) > 0 {
		return
	}
	r.awaitPaced(ctx, (*stage).holds)
	r.send(&flight{last: true}, func(way *router) error {
		r.ended = true
		switch {
		case len(r.stages) == 0 || !r.holding:
			return nil
		case r.work.Err() != nil:
			return context.Cause(r.work)
		}
		return way.through(r.root, 0, nil, nil)
	})
}

// awaitRoom returns when each paced step has room for n more messages, or ctx is done. While one of
// them waited for that itself, nobody would hear of what it lets go.
func (r *run) awaitRoom(ctx context.Context, n int) {
	r.awaitPaced(ctx, func(s *stage) bool { return s.waiting > 0 && s.waiting+n > s.endpoint.Paced })
}

// awaitPaced returns when no paced step is busy, or ctx is done.
func (r *run) awaitPaced(ctx context.Context, busy func(*stage) bool) {
	for len(r.paced) > 0 {
		r.turn.Lock()
		waits := slices.ContainsFunc(r.paced, busy)
		changed := r.called.wait()
		r.turn.Unlock()
		if !waits {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// giveUp gives back what is owed to a reading, once what is on its way is settled.
func (r *run) giveUp(from *reading) {
	r.send(&flight{gone: from}, func(*router) error { return nil })
	from.owed.Wait()
}
