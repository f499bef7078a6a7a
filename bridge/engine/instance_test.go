package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// A write that panics after its instance was closed because of another one is tried again, as any.
func TestPanicOfAClosedInstanceIsNoFailureForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, got := texts("fails", "panics"), new(bridgetest.Downstream)
		p := between(finished(sent...))
		p.MaxBatch, p.MaxInFlight = 1, 2
		p.To = engine.To(sinks(func(n int) (bridge.Sink, error) {
			if n > 1 {
				return got.Open(t.Context(), bridge.Env{})
			}
			closed := make(chan struct{})
			write := func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				if string(b[0].Payload) == "panics" {
					<-closed
					panic("used after Close")
				}
				<-time.After(time.Millisecond)
				return bridge.Result{}, errors.New("connection reset")
			}
			return withClose{sinkFunc(write), func() { close(closed) }}, nil
		}))
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		ledger(t, p, engine.Ledger{Received: 2, Delivered: 2})
		if n := len(got.Got()); n != 2 {
			t.Errorf("%d were delivered, want 2", n)
		}
	})
}

// No write begins on an instance that was closed while the write waited for its turn.
func TestNoWriteBeginsOnAClosedInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(finished(texts("bad", "bad", "bad", "bad", "good", "good")...))
		p.MaxBatch, p.MaxInFlight = 1, 4
		p.To = engine.To(sinks(func(n int) (bridge.Sink, error) {
			var closed atomic.Bool
			write := func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				if closed.Load() {
					t.Errorf("a write begins on instance %d after its Close", n)
				}
				<-time.After(10 * time.Millisecond)
				if n < 4 && string(b[0].Payload) == "bad" {
					return bridge.Result{}, errors.New("connection reset")
				}
				return bridge.Result{Settled: len(b)}, nil
			}
			return withClose{sinkFunc(write), func() { closed.Store(true) }}, nil
		}))
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		ledger(t, p, engine.Ledger{Received: 6, Delivered: 6})
	})
}

// An instance that settled all and returned an error is replaced, and what it settled counts.
func TestInstanceThatSettledAllAndFailedIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		p := between(finished(bridgetest.Numbered(3)...))
		p.MaxBatch = 1
		p.To = engine.To(sinks(func(n int) (bridge.Sink, error) {
			opened = n
			failed := false
			return sinkFunc(func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				if failed {
					t.Errorf("instance %d is written to after an error", n)
				}
				failed = true
				return bridge.Result{Settled: len(b)}, errors.New("closed after the confirmation")
			}), nil
		}))
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if opened < 3 {
			t.Errorf("opened %d times, want 3 or more", opened)
		}
		ledger(t, p, engine.Ledger{Received: 3, Delivered: 3})
	})
}

// What was delivered is acknowledged at once, though writes beside it wait for a new instance.
func TestDeliveredIsAckedWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, sent := new(bridgetest.Upstream), texts("good", "bad", "bad")
		up.Send(sent...)
		p := between(up)
		p.MaxBatch, p.MaxInFlight = 1, 3
		p.To = engine.To(sinks(func(n int) (bridge.Sink, error) {
			if n > 1 {
				return nil, errors.New("connection refused")
			}
			return sinkFunc(func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				if string(b[0].Payload) == "bad" {
					<-time.After(50 * time.Millisecond)
					return bridge.Result{}, errors.New("connection reset")
				}
				<-time.After(5 * time.Second)
				return bridge.Result{Settled: len(b)}, nil
			}), nil
		}))
		err := runFor(t, p, time.Minute, func() {
			compare(t, "acked", sent[:1], up.Acked())
		})
		if !errors.Is(err, engine.ErrNotDrained) {
			t.Errorf("got %v, want ErrNotDrained", err)
		}
	})
}
