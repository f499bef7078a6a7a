package bridge

import (
	"context"
	"errors"
	"sync"
)

// Ack settles the batch that it was returned with, exactly once: with nil if
// every message was delivered or dropped on purpose, else with the reason why
// not all were, and the source should then deliver again, as soon as its technology allows, what
// [Settled] leaves of it. The engine settles the batches of one source instance in
// the order in which they were read, and all of them before it closes the instance. Once one
// is refused, so are those behind it, delivered or not: what a source knows may
// be no more than a position, which must not move past it.
//
// Ack may run while the next Read is blocked, on another goroutine. An error
// says that the outcome may not have reached the source's system, which may
// then deliver the batch again; the engine logs it, and [Permanent] stops the pipeline. After
// Ack the source may reuse the memory of the batch.
type Ack func(ctx context.Context, err error) error

// UnsettledError is what an [Ack] gets for a batch of which messages at the front are settled. A
// source that does not ask [Settled] takes it for any other error, and delivers the whole batch
// again.
type UnsettledError struct {
	From int // index of the first message that is not settled, above 0
	Err  error
}

func (u *UnsettledError) Error() string { return u.Err.Error() }

func (u *UnsettledError) Unwrap() error { return u.Err }

// GiveBack returns what an [Ack] gets for a batch of which so many messages at the front are
// settled, and why the others are not.
func GiveBack(settled int, err error) error {
	if settled <= 0 || err == nil {
		return err
	}
	return &UnsettledError{settled, err}
}

// Settled returns how many messages at the front of a batch of n are settled, by what its [Ack]
// got.
func Settled(n int, err error) int {
	if err == nil {
		return n
	}
	if u, ok := errors.AsType[*UnsettledError](err); ok {
		return min(n, u.From)
	}
	return 0
}

// Portions settles a batch that goes on in several parts, one after the other: its Ack is called
// with the last one, and the batch is settled up to the first message that is not.
type Portions struct {
	Ack Ack // of the batch

	mu      sync.Mutex // guards what follows
	settled int
	err     error
}

// Next returns the Ack of the next part, of n messages. They must be called in that order.
func (p *Portions) Next(n int, last bool) Ack {
	return func(ctx context.Context, err error) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err == nil {
			p.settled += Settled(n, err)
			p.err = err
		}
		if !last {
			return nil
		}
		return p.Ack(ctx, GiveBack(p.settled, p.err))
	}
}
