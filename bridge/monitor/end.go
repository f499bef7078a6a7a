package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// end is what is known of a source, step or sink, over all its instances.
type end struct {
	pipeline *pipeline
	place    string // its Instance without the name of the pipeline
	kind     string
	shape    End // what a reload of the configuration may change
	messages, bytes, refused, passed, opened,
	last atomic.Uint64 // unix nanoseconds; 0: never
	given   atomic.Uint64 // to a sink, before it has taken them
	asked   atomic.Int64  // calls of Read that have not returned
	debts   debts         // batches of a source that are read and not settled
	working debts         // calls of Process or Write that have not returned
	past    history       // guarded by the lock of the monitor
	holds   bool          // of a step: it may keep messages for later
	before  sofar         // counts when its pipeline was exchanged last; guarded by the lock of the pipeline

	mu       sync.Mutex // guards what follows
	newest   uint64     // number of the instance that was opened last
	state    EndState
	reason   error
	since    time.Time
	began    time.Time // to open the newest instance
	dry      uint64    // messages that a step got since it has passed one
	drySince time.Time // since when
}

func (p *pipeline) newEnd(shape End) *end {
	place := strings.TrimPrefix(shape.Instance, p.name+"-")
	return &end{pipeline: p, place: place, kind: shape.Kind, shape: shape, state: EndIdle, since: time.Now()}
}

// renew has the end begin anew, in another pipeline of that name. The counts go on; what an instance
// from before may still say does not. The lock of the pipeline must be held.
func (e *end) renew(shape End) {
	e.shape, e.before = shape, e.counts()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.newest++
	e.state, e.reason, e.since, e.dry = EndIdle, nil, time.Now(), 0
}

// instance is one of those of an end. What is said of one that has been replaced says nothing of the
// end: an old one may fail, or be closed, when the next one is up.
type instance struct {
	*end
	number uint64
}

// enter notes what the end does now; nil for err leaves the reason unless it is up.
func (i instance) enter(s EndState, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.number != i.newest {
		return
	}
	if i.state != s {
		i.state, i.since = s, time.Now()
	}
	if err != nil || s == EndUp {
		i.reason = err
	}
}

// open has an instance opened, and notes how that goes.
func open[T any](ctx context.Context, e *end, env bridge.Env,
	how func(context.Context, bridge.Env) (T, error),
) (T, instance, error) {
	e.mu.Lock()
	e.newest++
	e.began = time.Now()
	i := instance{e, e.newest}
	if e.state != EndDown { // one that is tried again and again stays down
		e.state, e.since = EndConnecting, time.Now()
	}
	e.mu.Unlock()
	defer i.panics(ctx, true)
	opened, err := how(ctx, env)
	switch {
	case err == nil:
		e.opened.Add(1)
		i.enter(EndUp, nil)
	case errors.Is(ctx.Err(), context.Canceled):
		i.enter(EndClosed, nil)
	default:
		i.fails(ctx, err)
	}
	return opened, i, err
}

// fails notes that an instance has failed, unless it was to stop.
func (i instance) fails(ctx context.Context, err error) {
	if err == nil || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	i.enter(EndDown, err)
	i.pipeline.failed(i.end, err)
}

// panics notes a panic, which is the engine's to catch; lasting says that it takes it for permanent.
func (i instance) panics(ctx context.Context, lasting bool) {
	if p := recover(); p != nil {
		err := fmt.Errorf("panic: %v", p)
		if lasting {
			err = bridge.Permanent(err)
		}
		i.fails(ctx, err)
		panic(p)
	}
}

// closed notes that an instance was closed that had not failed.
func (i instance) closed() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.number == i.newest && i.state == EndUp {
		i.state, i.since = EndClosed, time.Now()
	}
}

// count counts messages that came by.
func (e *end) count(b bridge.Batch, now time.Time) {
	e.add(len(b), size(b), now)
}

func (e *end) add(messages, bytes int, now time.Time) {
	e.messages.Add(uint64(messages))
	e.bytes.Add(uint64(bytes))
	e.last.Store(uint64(now.UnixNano()))
}

func size(b bridge.Batch) (bytes int) {
	for i := range b {
		bytes += len(b[i].Payload)
	}
	return bytes
}

// through returns how many bytes have come into the pipeline here, or gone out.
func (e *end) through() (in, out uint64) {
	switch e.shape.Kind {
	case "source":
		in = e.bytes.Load()
	case "sink":
		out = e.bytes.Load()
	}
	return in, out
}

// refuses counts messages that were refused.
func (e *end) refuses(r bridge.Refusals) {
	if len(r) == 0 {
		return
	}
	e.refused.Add(uint64(len(r)))
	if last := r[len(r)-1].Err; last != nil { // one without a reason is a fault that the engine tells of
		e.pipeline.refused(e, last, len(r))
	}
}

func (e *end) total(now time.Time) total { return total{now, e.messages.Load(), e.bytes.Load()} }

// source wraps an instance.
type source struct {
	bridge.Source
	instance
}

func (s source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	defer s.panics(ctx, true)
	s.asked.Add(1)
	defer s.asked.Add(-1)
	b, ack, err := s.Source.Read(ctx)
	if len(b) > 0 {
		now := time.Now()
		s.pipeline.comes(now)
		s.count(b, now)
		owed, inner := s.debts.add(now), ack
		ack = func(ctx context.Context, why error) error {
			s.debts.pay(owed)
			if why == nil {
				s.pipeline.settled(time.Since(owed.since))
			}
			return inner(ctx, why)
		}
	}
	said, refused := err.(bridge.Refusals) //nolint:errorlint // as the engine does
	if s.wanted() > 0 {
		s.show(len(b), read(b, said))
	}
	switch {
	case refused:
		s.refuses(said)
	case err == io.EOF: //nolint:errorlint // as the engine does
		s.enter(EndClosed, nil)
	default:
		s.fails(ctx, err)
	}
	return b, ack, err
}

func (s source) Close() error {
	s.closed()
	return s.Source.Close()
}

// step wraps an instance.
type step struct {
	bridge.Step
	instance
}

func (s step) Process(ctx context.Context, b bridge.Batch, out *bridge.Output) error {
	defer s.panics(ctx, false)
	now := time.Now()
	if len(b) > 0 {
		s.count(b, now)
	}
	k := s.wanted()
	var before bridge.Batch
	if k > 0 {
		before = slices.Clone(b[:min(k, len(b))]) // the step works in place
	}
	err := func() error {
		defer s.working.pay(s.working.add(now))
		return s.Step.Process(ctx, b, out)
	}()
	s.fails(ctx, err)
	said := out.SoFar()
	s.passed.Add(uint64(len(said.Messages)))
	s.refuses(said.Refused)
	s.dries(len(b), len(said.Messages)+len(said.Refused), now)
	if k > 0 {
		s.show(processed(len(b), before, said, err))
	}
	return err
}

// dries counts the messages that a step got since one of them went on.
func (e *end) dries(got, on int, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if on > 0 {
		e.dry = 0
		return
	}
	if e.dry == 0 {
		e.drySince = now
	}
	e.dry += uint64(got)
}

func (s step) Close() error {
	s.closed()
	return s.Step.Close()
}

// sink wraps an instance.
type sink struct {
	bridge.Sink
	instance
}

func (s sink) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	defer s.panics(ctx, false)
	s.given.Add(uint64(len(b)))
	r, err := func() (bridge.Result, error) {
		defer s.working.pay(s.working.add(time.Now()))
		return s.Sink.Write(ctx, b)
	}()
	if n := r.Settled; n > 0 && n <= len(b) {
		bytes := size(b[:n])
		out := func(i int) {
			if n--; i >= 0 && i < len(b) { // what is wrong the engine says
				bytes -= len(b[i].Payload)
			}
		}
		for _, bad := range r.Refused {
			out(bad.Index)
		}
		for _, i := range r.Omitted {
			out(i)
		}
		if n > 0 {
			s.add(n, max(0, bytes), time.Now())
		}
		s.refuses(r.Refused)
	}
	s.fails(ctx, err)
	if s.wanted() > 0 {
		s.show(len(b), written(b, r, err))
	}
	return r, err
}

func (s sink) Close() error {
	s.closed()
	return s.Sink.Close()
}
