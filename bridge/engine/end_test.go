package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// A stop says why the sink for dead letters is not open, though no message is refused yet.
func TestStopSaysWhyDeadLettersCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
		p.OnError = bridge.OnError{
			Then: bridge.FateDeadLetter,
			DeadLetter: sinks(func(int) (bridge.Sink, error) {
				return nil, errors.New("unknown host")
			}),
		}
		err := runFor(t, p, time.Minute, func() {})
		if !errors.Is(err, engine.ErrNeverConnected) || !strings.Contains(err.Error(), "unknown host") {
			t.Errorf("got %v, want ErrNeverConnected, and why", err)
		}
	})
}

// A pipeline whose step cannot be opened says why, and tries until it can.
func TestLogSaysWhyAStepCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		up.Send(bridgetest.Numbered(1)...)
		p := between(up, down)
		var there atomic.Bool
		p.Steps = step(func(int) (bridge.Step, error) {
			if !there.Load() {
				return nil, errors.New("no such host")
			}
			return processing(passAll), nil
		})
		log := new(strings.Builder)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx, logTo(log), nil) }()
		<-time.After(time.Hour)
		there.Store(true)
		<-time.After(time.Minute)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "test step: no such host") {
			t.Errorf("the log is %s", log)
		}
		compare(t, "delivered", bridgetest.Numbered(1), down.Got())
	})
}

// A stop while a step is being opened is one before everything was connected.
func TestStopWhileAStepOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
		p.Steps = stepOf(passAll)
		p.Steps[0].Open = func(ctx context.Context, _ bridge.Env) (bridge.Step, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		err := runFor(t, p, time.Second, func() {})
		if !errors.Is(err, engine.ErrNeverConnected) {
			t.Errorf("got %v, want ErrNeverConnected", err)
		}
	})
}

// A stop while a sink is opened again, because a step has failed, does not say that it never was.
func TestSinkThatWasOpenOnceIsNotNeverConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		up.Send(bridgetest.Numbered(3)...)
		p := between(up)
		p.MaxBatch = 1
		p.To = engine.To(sinks(func(n int) (bridge.Sink, error) {
			if n > 1 {
				return nil, errors.New("connection refused")
			}
			return down.Open(t.Context(), bridge.Env{})
		}))
		calls := 0
		p.Steps = stepOf(func(b bridge.Batch, out *bridge.Output) error {
			if calls++; calls == 3 {
				return errors.New("broken by the test")
			}
			return passAll(b, out)
		})
		if err := runFor(t, p, time.Minute, func() {}); err != nil {
			t.Errorf("got %v, want nil: nothing was in flight", err)
		}
		compare(t, "delivered", bridgetest.Numbered(2), down.Got())
	})
}
