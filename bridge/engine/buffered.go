package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// bufferedDrain is how long a stop waits for sinks if what they do not take stays in the buffer:
// enough for writes that are under way, on a machine that is busy, too.
const bufferedDrain = 5 * time.Second

// halves are the two pipelines that one with a buffer consists of: one fills the buffer, the other
// one empties it. So the engine knows nothing of buffers but this, and either half waits, retries
// and drains as any pipeline.
type halves struct {
	intake, delivery *Pipeline
	buffer           bridge.Buffer
}

// halve makes the halves, at the first run.
func (p *Pipeline) halve() *halves {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.halves != nil {
		return p.halves
	}
	h := &halves{buffer: p.State.Buffer(p.Name, *p.Buffer)}
	h.intake = &Pipeline{
		Name: p.Name, State: p.State, From: p.From, OnError: p.OnError,
		To:       To(bridge.Endpoint[bridge.Sink]{Type: bufferPlace, Open: h.buffer.OpenSink}),
		MaxBatch: p.MaxBatch, DrainTimeout: p.DrainTimeout, Jitter: p.Jitter, Clock: p.Clock, sinks: bufferPlace,
	}
	h.delivery = &Pipeline{
		Name: p.Name, State: p.State, Steps: p.Steps, To: p.To, OnError: p.OnError,
		From:     []bridge.Endpoint[bridge.Source]{{Type: bufferPlace, Open: h.buffer.OpenSource, KeepIDs: true}},
		MaxBatch: p.MaxBatch, MaxInFlight: p.MaxInFlight, OrderBy: p.OrderBy,
		DrainTimeout: p.DrainTimeout, Jitter: p.Jitter, Clock: p.Clock, delivers: true,
	}
	h.intake.top, h.delivery.top = p, p
	h.intake.OnError.Tries = 0 // what may have been stored is tried until that is known
	p.halves = h
	return h
}

// runBuffered runs both halves until both are finished, or one has failed.
func (p *Pipeline) runBuffered(ctx context.Context, env bridge.Env, abort <-chan struct{}) error {
	if p.State == nil {
		return bridge.Permanent(errors.New("a buffer needs a State"))
	}
	h := p.halve()
	h.buffer.Finish(false)
	outer := ctx
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		running         sync.WaitGroup
		filled, emptied error
	)
	running.Go(func() {
		if filled = h.intake.run(ctx, env, abort); filled != nil {
			stop()
			return
		}
		if ctx.Err() == nil {
			h.buffer.Finish(true)
		}
	})
	running.Go(func() {
		// The buffer goes on being filled while the delivery is started again.
		emptied = p.again(ctx, env.Logger, func() error { return h.delivery.run(ctx, env, abort) })
		if emptied != nil {
			stop()
		}
	})
	running.Wait()
	if onlyStopped(emptied) {
		emptied = nil // what was not delivered is in the buffer
	}
	if onlyStopped(filled) && outer.Err() == nil {
		filled = nil // because of the other half
	}
	return joinOnce(filled, emptied)
}

// onlyStopped reports whether err says no more than that a stop came before the end.
func onlyStopped(err error) bool {
	return !slices.ContainsFunc(each(err), func(e error) bool {
		return !errors.Is(e, ErrNotDrained) && !errors.Is(e, ErrNeverConnected) && !errors.Is(e, ErrCut)
	})
}

// now tells of both halves as of one pipeline. What is delivered is read before what is buffered,
// and that before what is received, so that nothing is missing.
func (h *halves) now() Counts {
	delivery := h.delivery.counters.now()
	// What the delivery has settled and not acknowledged is in the buffer still, and comes again.
	again := unsigned(&h.delivery.counters.again)
	held := h.buffer.Held()
	intake := h.intake.counters.now()
	in, out := intake.Ledger, delivery.Ledger
	return Counts{
		Ledger: Ledger{
			Carried:      held.Before,
			Received:     in.Received + again,
			Made:         out.Made,
			Delivered:    out.Delivered,
			Filtered:     out.Filtered,
			Merged:       out.Merged,
			DeadLettered: in.DeadLettered + out.DeadLettered,
			Dropped:      in.Dropped + out.Dropped + held.Lost,
			Buffered:     held.Now,
			InFlight:     in.InFlight,
		},
		Drops: Drops{
			OnError: intake.Drops.OnError + delivery.Drops.OnError,
			Sink:    intake.Drops.Sink + delivery.Drops.Sink,
			Stop:    intake.Drops.Stop + delivery.Drops.Stop,
			Source:  intake.Drops.Source,
			Buffer:  delivery.Drops.Source + held.Lost,
		},
		Returned: Returned{intake.Returned.Received, delivery.Returned.Made},
	}
}
