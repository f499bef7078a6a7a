package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// nackTimeout bounds an Ack that comes when the drain is over. It is shorter than what
// a process waits after a second signal.
const nackTimeout = 500 * time.Millisecond

// flights are the batches of one source instance between Read and Ack.
//
// With one slot, a batch is written and settled on the goroutine that read it:
// no hand-over, and the next Read waits for the sink. With more, each
// is written on a goroutine of its own, and one more settles them in the order of reading.
type flights struct {
	in   *input
	work context.Context //nolint:containedctx // one value per source instance, made by newFlights

	queue   chan *flight // nil with one slot
	settled sync.WaitGroup

	err error // what failed; belongs to the goroutine that settles, and then to wait
}

type flight struct {
	ack  Ack
	n    int // messages
	done chan error
}

func (in *input) newFlights(work context.Context) *flights {
	f := &flights{in: in, work: work}
	if n := cap(in.slots); n > 1 {
		f.queue = make(chan *flight, n)
		f.settled.Go(f.settleAll)
	}
	return f
}

// launch processes and writes the batch, or starts to. What fails has stopped reading,
// and wait returns it.
func (f *flights) launch(b Batch, ack Ack) {
	if crashpoint.Misordered { // wrong on purpose
		f.settle(ack, 0, nil)
		ack = func(context.Context, error) error { return nil }
	}
	if f.queue == nil {
		f.settle(ack, len(b), f.pass(b))
		return
	}
	l := &flight{ack: ack, n: len(b), done: make(chan error, 1)}
	f.queue <- l
	b, err := f.board(b)
	if err != nil {
		l.done <- err
		return
	}
	f.settled.Go(func() {
		l.done <- f.in.deliver(f.work, b)
		<-f.in.slots
	})
}

// pass takes a batch through steps and sinks while other sources wait.
func (f *flights) pass(b Batch) error {
	f.in.turn.Lock()
	defer f.in.turn.Unlock()
	b, err := f.in.process(f.work, b)
	if err != nil {
		return err
	}
	return f.in.deliver(f.work, b)
}

// board takes a batch through the steps and into a slot while other sources wait.
func (f *flights) board(b Batch) (Batch, error) {
	f.in.turn.Lock()
	defer f.in.turn.Unlock()
	b, err := f.in.process(f.work, b)
	if err == nil {
		f.in.slots <- struct{}{}
	}
	return b, err
}

func (f *flights) settleAll() {
	for l := range f.queue {
		f.settle(l.ack, l.n, <-l.done)
	}
}

var errBehindRefused = errors.New("a batch before this one was refused")

// settle calls ack with the outcome of its batch of n messages.
func (f *flights) settle(ack Ack, n int, outcome error) {
	verdict := outcome
	if f.err != nil && verdict == nil {
		verdict = errBehindRefused
	}
	if verdict != nil {
		f.in.counters.refused.Add(uint64(n))
	}
	ctx := f.work
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), nackTimeout)
		defer cancel()
	}
	err := guard(f.in.env.Logger, func() error { return ack(ctx, verdict) })
	crashpoint.Reach(crashpoint.Acknowledged)
	if err != nil {
		f.in.env.Logger.WarnContext(ctx, "cannot settle, messages may come again", "err", err)
	}
	if IsPermanent(err) {
		f.in.stop()
		outcome = joinOnce(outcome, fmt.Errorf("%s source: settle: %w", f.in.endpoint.Type, err))
	}
	f.err = joinOnce(f.err, outcome)
}

// wait waits until every launched batch is settled and returns what failed.
func (f *flights) wait() error {
	if f.queue != nil {
		close(f.queue)
		f.settled.Wait()
	}
	return f.err
}
