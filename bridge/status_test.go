package bridge_test

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
)

// The status says why the sink for dead letters is not open, though no message is refused yet.
func TestStatusSaysWhyDeadLettersCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
		p.OnError = bridge.OnError{
			Then: bridge.FateDeadLetter,
			DeadLetter: sinks(func(int) (bridge.Sink, error) {
				return nil, errors.New("unknown host")
			}),
		}
		err := runFor(t, p, time.Minute, func() {
			s := endStatus(t, p, "test-dead")
			if s.Phase != bridge.PhaseConnecting || !strings.Contains(s.Reason, "unknown host") {
				t.Errorf("the status is %+v", s)
			}
		})
		if !errors.Is(err, bridge.ErrNeverConnected) {
			t.Errorf("got %v, want ErrNeverConnected", err)
		}
	})
}

// A pipeline whose step cannot be opened is connecting, and says why, until it can.
func TestStatusSaysWhyAStepCannotBeOpened(t *testing.T) {
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
		err := runFor(t, p, time.Hour, func() {
			s := p.Status()
			if s.Phase != bridge.PhaseConnecting || !strings.Contains(s.Reason, "test step: no such host") {
				t.Errorf("the status is %+v", s)
			}
			there.Store(true)
			<-time.After(time.Minute)
			synctest.Wait()
			if s := p.Status(); s.Phase != bridge.PhaseRunning || s.Reason != "" {
				t.Errorf("at the end the status is %+v", s)
			}
		})
		if err != nil {
			t.Error(err)
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
		if !errors.Is(err, bridge.ErrNeverConnected) {
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
		p.To = bridge.To(sinks(func(n int) (bridge.Sink, error) {
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
		err := runFor(t, p, time.Minute, func() {
			s := endStatus(t, p, "test-to")
			if s.Phase != bridge.PhaseConnecting || !strings.Contains(s.Reason, "refused") {
				t.Errorf("the status is %+v", s)
			}
		})
		if err != nil {
			t.Errorf("got %v, want nil: nothing was in flight", err)
		}
		compare(t, "delivered", bridgetest.Numbered(2), down.Got())
	})
}
