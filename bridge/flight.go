package bridge

import (
	"context"
	"errors"
	"sync"
	"time"
)

// nackTimeout bounds an Ack that comes when the drain is over.
const nackTimeout = time.Second

// flights are the batches of one source instance between Read and Ack.
//
// With one slot, a batch is written and settled on the goroutine that read it:
// no hand-over, and the next Read waits for the sink. With more, each
// is written on a goroutine of its own, and one more settles them in the order of reading.
type flights struct {
	in   *input
	work context.Context //nolint:containedctx // one value per source instance, made by newFlights
	stop func()          // ends reading after a failure

	queue   chan *flight // nil with one slot
	settled sync.WaitGroup

	mu  sync.Mutex // guards err
	err error      // the first failure
}

type flight struct {
	ack  Ack
	done chan error
}

func (in *input) newFlights(work context.Context, stop func()) *flights {
	f := &flights{in: in, work: work, stop: stop}
	if n := cap(in.slots); n > 1 {
		f.queue = make(chan *flight, n)
		f.settled.Go(f.settleAll)
	}
	return f
}

// launch processes and writes the batch, or starts to. An error stops the pipeline.
func (f *flights) launch(b Batch, ack Ack) error {
	if f.queue == nil {
		err := f.pass(b)
		f.settle(ack, err)
		return err
	}
	l := &flight{ack: ack, done: make(chan error, 1)}
	f.in.turn.Lock()
	b, err := f.in.process(f.work, b)
	f.in.slots <- struct{}{}
	f.queue <- l
	f.in.turn.Unlock()
	if err != nil {
		<-f.in.slots
		l.done <- err
		return err
	}
	f.settled.Go(func() {
		l.done <- guard(f.in.env.Logger, func() error { return f.in.deliver(f.work, b) })
		<-f.in.slots
	})
	return f.failure()
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

func (f *flights) settleAll() {
	for l := range f.queue {
		err := <-l.done
		if err != nil {
			f.fail(err)
		}
		f.settle(l.ack, err)
	}
}

// settle calls ack with the outcome of its batch.
func (f *flights) settle(ack Ack, outcome error) {
	ctx := f.work
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), nackTimeout)
		defer cancel()
	}
	if err := ack(ctx, outcome); err != nil {
		f.in.env.Logger.WarnContext(ctx, "cannot settle, messages may come again", "err", err)
	}
}

func (f *flights) fail(err error) {
	f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}

func (f *flights) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// wait waits until every launched batch is settled and returns what failed.
func (f *flights) wait() error {
	if f.queue != nil {
		close(f.queue)
		f.settled.Wait()
	}
	return f.failure()
}
