package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// debt is what is owed for a flight: an acknowledgement of its batch, if it has one, and the count
// of its messages.
type debt struct {
	number uint64
	from   *reading // nil: of a call by time
	ack    Ack

	received int // messages of the batch
	made     int // of them, beside them, or out of what was held
	settled  int // of both, so many are counted
	held     int // of both, by steps; counted as merged when these have let go
}

// add counts messages that were made.
func (d *debt) add(c *counters, n int) {
	d.made += n
	c.made.Add(int64(n))
	c.inFlight.Add(int64(n))
}

// count moves n messages from in flight to one of the final counts.
func (d *debt) count(c *counters, to *atomic.Int64, n int) {
	if n != 0 {
		d.settled += n
		to.Add(int64(n))
		c.inFlight.Add(int64(-n))
	}
}

// countAll counts the outcomes of a flight.
func (d *debt) countAll(c *counters, t tally) {
	d.count(c, &c.filtered, t[filtered])
	d.count(c, &c.delivered, t[delivered])
	d.count(c, &c.deadLettered, t[deadLettered])
	d.count(c, &c.dropped, t[dropped])
	d.held += t[held]
}

// nackTimeout bounds an Ack that comes when the drain is over. It is shorter than what
// a process waits after a second signal.
const nackTimeout = 500 * time.Millisecond

var errBehindRefused = errors.New("a batch before this one was refused")

// settle acknowledges what is settled with the flight, or gives it back if err says that something
// of the flight is not delivered. It is called in the order of the flights, so that all flights
// before it are settled.
func (r *run) settle(ctx context.Context, f *flight, err error) {
	f.debt.countAll(&r.counters, f.tally())
	if err != nil {
		r.fail(err)
	}
	upTo := f.freed
	if err != nil {
		upTo = f.number // something of each batch up to here may have been in it
	}
	for {
		d := r.nextDebt(upTo)
		if d == nil {
			break
		}
		r.pay(ctx, d, err)
	}
	if f.gone != nil {
		for _, d := range r.debtsOf(f.gone) {
			r.pay(ctx, d, errClosed)
		}
	}
}

var errClosed = errors.New("the source failed while a step held messages of it: they come again")

// nextDebt takes the oldest debt off the list if it is not newer than number upTo.
func (r *run) nextDebt(upTo uint64) *debt {
	r.debtsMu.Lock()
	defer r.debtsMu.Unlock()
	if len(r.debts) == 0 || r.debts[0].number > upTo {
		return nil
	}
	d := r.debts[0]
	r.debts[0] = nil
	r.debts = r.debts[1:]
	return d
}

// debtsOf takes all debts to a reading off the list.
func (r *run) debtsOf(from *reading) (of []*debt) {
	r.debtsMu.Lock()
	defer r.debtsMu.Unlock()
	rest := make([]*debt, 0, len(r.debts))
	for _, d := range r.debts {
		if d.from == from {
			of = append(of, d)
		} else {
			rest = append(rest, d)
		}
	}
	r.debts = rest
	return of
}

// owe puts a debt on the list. It is called in turn.
func (r *run) owe(d *debt) {
	r.debtsMu.Lock()
	defer r.debtsMu.Unlock()
	r.debts = append(r.debts, d)
	if d.from != nil {
		d.from.owed.Add(1)
	}
}

// giveBack counts what goes back to its source with a batch.
func (r *run) giveBack(d *debt, why error) {
	c, left := &r.counters, d.received+d.made-d.settled
	received := min(left, d.received)
	c.backMade.Add(int64(left - received))
	if d.from != nil && d.from.in.endpoint.Guarantee.Level == LevelAtMostOnce { // from there nothing comes again
		c.dropped.Add(int64(received))
		c.inFlight.Add(int64(-received))
	} else {
		c.backReceived.Add(int64(received))
	}
	if r.delivers {
		c.again.Add(int64(d.received - received))
	}
	if r.delivers || why == errClosed { //nolint:errorlint // which is ours: it comes again at once
		c.beginAnew()
	}
}

// pay acknowledges a batch, or gives it back because of err.
func (r *run) pay(ctx context.Context, d *debt, err error) {
	verdict := err
	if d.from != nil && d.from.refused && verdict == nil {
		verdict = errBehindRefused
	}
	if verdict == nil {
		d.count(&r.counters, &r.counters.merged, d.held)
	} else {
		r.giveBack(d, verdict)
	}
	if d.from == nil {
		return
	}
	d.from.refused = d.from.refused || verdict != nil
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), nackTimeout)
		defer cancel()
	}
	log := d.from.in.place.env.Logger
	failed := guard(log, func() error { return d.ack(ctx, verdict) })
	crashpoint.Reach(crashpoint.Acknowledged)
	if failed != nil {
		log.WarnContext(ctx, "cannot settle, messages may come again", "err", failed)
	}
	if IsPermanent(failed) {
		r.fail(fmt.Errorf("%s: settle: %w", d.from.in.place, failed))
	}
	d.from.owed.Done()
}
