package bridge

import (
	"context"
	"errors"
	"sync"
)

// halves are the two pipelines that one with a buffer consists of: one fills the buffer, the other one empties it. So the engine knows
// nothing of buffers but this, and either half waits, retries and drains as any pipeline.
type halves struct {
	intake, delivery *Pipeline
	buffer           Buffer
}

func (p *Pipeline) halve() *halves {
	h := &halves{buffer: p.State.Buffer(p.Name, *p.Buffer)}
	h.intake = &Pipeline{
		Name: p.Name, State: p.State, From: p.From, To: []Endpoint[Sink]{{Type: "buffer", Open: h.buffer.OpenSink}}, OnError: p.OnError,
		MaxBatch: p.MaxBatch, DrainTimeout: p.DrainTimeout, sinkPlace: bufferPlace,
	}
	h.delivery = &Pipeline{
		Name: p.Name, State: p.State, From: []Endpoint[Source]{{Type: "buffer", Open: h.buffer.OpenSource}}, Steps: p.Steps, To: p.To, OnError: p.OnError,
		MaxBatch: p.MaxBatch, MaxInFlight: p.MaxInFlight, DrainTimeout: p.DrainTimeout,
	}
	h.intake.OnError.Tries = 0 // what may have been stored is tried until that is known
	return h
}

// runBuffered runs both halves until both are finished, or one has failed.
func (p *Pipeline) runBuffered(ctx context.Context, env Env, abort <-chan struct{}) error {
	if p.State == nil {
		return Permanent(errors.New("a buffer needs a State"))
	}
	h := p.halve()
	p.halves.Store(h)
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
			h.buffer.Finish()
		}
	})
	running.Go(func() {
		if emptied = h.delivery.run(ctx, env, abort); emptied != nil {
			stop()
		}
	})
	running.Wait()
	return joinOnce(filled, emptied)
}

// ledger tells of both halves as of one pipeline.
func (h *halves) ledger() Ledger {
	in, out := h.intake.counters.ledger(), h.delivery.counters.ledger()
	before, now := h.buffer.Held()
	// What a step made more of, and what was read from the buffer once more, since it could not be settled, counts as received, as it does
	// in a pipeline without a buffer.
	again := int64(h.delivery.counters.made.Load()+h.delivery.counters.refused.Load()) - h.delivery.counters.inFlight.Load()
	return Ledger{
		Carried:      before,
		Received:     in.Received + uint64(max(0, again)),
		Delivered:    out.Delivered,
		Filtered:     out.Filtered,
		DeadLettered: in.DeadLettered + out.DeadLettered,
		Dropped:      in.Dropped + out.Dropped,
		Buffered:     now,
		InFlight:     in.InFlight,
	}
}
