package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// nackTimeout bounds an Ack that comes when the drain is over. It is shorter than what
// a process waits after a second signal.
const nackTimeout = 500 * time.Millisecond

var errBehindRefused = errors.New("a batch before this one was refused")

// settle acknowledges what is settled with the flight, or gives it back if err says that something
// of the flight is not delivered. It is called in the order of the flights, so that all flights
// before it are settled.
func (r *run) settle(ctx context.Context, f *flight, err error) {
	var t [outcomes]int
	for rest := f.outcomes; len(rest) > 0; { // which are nearly always all the same
		n := 1
		for n < len(rest) && rest[n] == rest[0] {
			n++
		}
		t[rest[0]] += n
		rest = rest[n:]
	}
	if err != nil && f.freed == f.number {
		f.front = f.settledFront()
	}
	f.held, f.left, t[held] = t[held], t[pending], 0
	for out := range refused {
		r.counters.count(out, t[out])
	}
	f.parts, f.outcomes = nil, nil // it may be owed for long
	r.owed = append(r.owed, f)
	upTo := f.freed
	if err != nil {
		if err != errBehindRefused { //nolint:errorlint // which another flight has told
			r.fail(err)
		}
		upTo = f.number // something of each batch up to here may have been in it
	}
	n := 0
	for ; n < len(r.owed) && r.owed[n].number <= upTo; n++ {
		r.pay(ctx, r.owed[n], err)
	}
	r.owed = slices.Delete(r.owed, 0, n)
	if f.gone != nil {
		r.owed = slices.DeleteFunc(r.owed, func(o *flight) bool {
			if o.from == f.gone {
				r.pay(ctx, o, errClosed)
			}
			return o.from == f.gone
		})
	}
}

var errClosed = errors.New("the source failed while a step held messages of it: they come again")

// settledFront returns how many messages at the front of the batch are settled. When steps have
// made others of them, nobody knows of which.
func (f *flight) settledFront() (n int) {
	for len(f.outcomes) == f.received && n < f.kept && f.outcomes[n] < refused {
		n++
	}
	return n
}

// giveBack counts what goes back to its source with a batch, whose front is settled.
func (r *run) giveBack(f *flight, why error) {
	c, left := &r.counters, f.held+f.left
	received := min(left, f.received)
	c.backMade.Add(int64(left - received))
	if f.from != nil && f.from.in.endpoint.Guarantee.Level == bridge.LevelAtMostOnce { // from there nothing comes again
		c.lose(received)
	} else {
		c.backReceived.Add(int64(received))
	}
	if r.delivers {
		c.again.Add(int64(f.received - received - f.front))
	}
	if r.delivers || why == errClosed { //nolint:errorlint // which is ours: it comes again at once
		c.beginAnew()
	}
}

// pay acknowledges a batch, or gives it back because of err.
func (r *run) pay(ctx context.Context, f *flight, err error) {
	verdict := err
	if f.from != nil && f.from.refused && verdict == nil {
		verdict = errBehindRefused
	}
	if verdict == nil {
		r.counters.count(held, f.held)
	} else {
		if f.from != nil && f.from.refused {
			f.front = 0 // it stands behind one that comes again
		}
		r.giveBack(f, verdict)
	}
	if f.from == nil {
		return
	}
	f.from.refused = f.from.refused || verdict != nil
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), nackTimeout)
		defer cancel()
	}
	log := f.from.in.place.env.Logger
	failed := guard(log, true, func() error { return f.ack(ctx, bridge.GiveBack(f.front, verdict)) })
	crashpoint.Reach(crashpoint.Acknowledged)
	if failed != nil {
		log.WarnContext(ctx, "cannot settle, messages may come again", "err", failed)
	}
	if bridge.IsPermanent(failed) {
		r.fail(fmt.Errorf("%s: settle: %w", f.from.in.place, failed))
	}
	f.from.owed.Done()
}
