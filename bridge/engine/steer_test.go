package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// steering runs a bridge with a pipeline that needs a second to stop.
func steering(t *testing.T, do func(t *testing.T, b *engine.Bridge, p *engine.Pipeline)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		up, slow := new(bridgetest.Upstream), new(bridgetest.Downstream)
		slow.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			<-time.After(time.Second)
			return len(b), nil
		}
		up.Send(bridgetest.Numbered(100_000)...)
		p := between(up, slow)
		p.MaxBatch = 10
		b := &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		do(t, b, p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func phase(b *engine.Bridge) engine.Phase { return b.Situations()[0].Phase }

// What is draining does so since it was told to stop, and not since it runs.
func TestSinceOfADrain(t *testing.T) {
	steering(t, func(t *testing.T, b *engine.Bridge, p *engine.Pipeline) {
		<-time.After(1500 * time.Millisecond) // of the bubble: something is on its way
		told := time.Now()
		paused := make(chan error)
		go func() { paused <- b.Pause(t.Context(), p.Name) }()
		synctest.Wait()
		<-time.After(100 * time.Millisecond)
		if s := b.Situations()[0]; s.Phase != engine.Draining || !s.Since.Equal(told) {
			t.Errorf("it is %s since %v, want since %v", s.Phase, s.Since, told)
		}
		if err := <-paused; err != nil {
			t.Error(err)
		}
	})
}

// What a pipeline has not delivered is told by Run, too, unless another one takes its place.
func TestStopOfOneThatDoesNotDrain(t *testing.T) {
	const (
		during, behind   = "the bridge stops, too", "it stops behind that"
		follows, removed = "another follows", "it is removed"
	)
	for _, name := range []string{during, behind, follows, removed} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
				down.Fault = func(ctx context.Context, _ bridge.Batch) (int, error) {
					<-ctx.Done()
					return 0, ctx.Err()
				}
				up.Send(bridgetest.Numbered(10)...)
				p := between(up, down)
				p.DrainTimeout = time.Second
				b := &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
				release := b.Hold()
				ctx, cancel := context.WithCancel(t.Context())
				done, stopped := make(chan error), make(chan error)
				go func() { done <- b.Run(ctx) }()
				synctest.Wait()
				go func() { stopped <- b.Stop(t.Context(), p.Name) }()
				synctest.Wait()
				if name == during {
					cancel()
				}
				ofStop := <-stopped
				var err error
				switch name {
				case follows:
					err = b.Place(p.Again(), false)
				case removed:
					err = b.Remove(p.Name)
				}
				cancel()
				of := <-done
				if told := name == during || name == behind; err != nil || !errors.Is(ofStop, engine.ErrNotDrained) ||
					errors.Is(of, engine.ErrNotDrained) != told {
					t.Errorf("Stop: %v, Run: %v; %v", ofStop, of, err)
				}
				release()
			})
		})
	}
}

// Of a pause and a restart at a time, either order may win, and the pause says if it has not held.
func TestPauseAgainstRestart(t *testing.T) {
	for name, first := range map[string]bool{"pause first": true, "restart first": false} {
		t.Run(name, func(t *testing.T) {
			steering(t, func(t *testing.T, b *engine.Bridge, p *engine.Pipeline) {
				paused, restarted := make(chan error), make(chan error)
				pause := func() { paused <- b.Pause(t.Context(), p.Name) }
				restart := func() { restarted <- b.Restart(t.Context(), p.Name) }
				if !first {
					pause, restart = restart, pause
				}
				go pause()
				synctest.Wait()
				go restart()
				synctest.Wait()
				ofPause, ofRestart := <-paused, <-restarted
				synctest.Wait()
				if ofRestart != nil || phase(b) != engine.Running ||
					ofPause != nil && !errors.As(ofPause, new(engine.RefusedError)) {
					t.Errorf("pause: %v, restart: %v, it is %s", ofPause, ofRestart, phase(b))
				}
			})
		})
	}
}

// A pause of a pipeline whose input was read out lets go of what its steps hold: it has ended then,
// and no resume reads and delivers all of that again.
func TestPauseAtTheEndOfTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := new(bridgetest.Downstream)
		p := between(finished(bridgetest.Numbered(3)...), down)
		p.From[0].Ends = true
		p.Steps = oneAMinute()
		b, ended := &engine.Bridge{Pipelines: []*engine.Pipeline{p}}, make(chan error, 1)
		go func() { ended <- b.Run(t.Context()) }()
		<-time.After(90 * time.Second) // one message of three has gone
		if err := b.Pause(t.Context(), p.Name); !errors.As(err, new(engine.RefusedError)) || phase(b) != engine.Finished {
			t.Errorf("pause: %v, it is %s, want it finished", err, phase(b))
		}
		if err := b.Resume(p.Name); err == nil {
			t.Error("it was resumed")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		compare(t, "delivered", bridgetest.Numbered(3), down.Got())
	})
}

// A restart does not bring back a pipeline that was exchanged, or removed, meanwhile.
func TestRestartOfOneThatWasExchanged(t *testing.T) {
	steering(t, func(t *testing.T, b *engine.Bridge, p *engine.Pipeline) {
		next := p.Again()
		stopped, restarted := make(chan error), make(chan error)
		go func() {
			err := b.Stop(t.Context(), p.Name)
			stopped <- errors.Join(err, b.Place(next, true))
		}()
		synctest.Wait()
		go func() { restarted <- b.Restart(t.Context(), p.Name) }()
		synctest.Wait()
		exchanged, err := <-stopped, <-restarted
		now := b.Situations()[0].Pipeline
		switch refused := errors.As(err, new(engine.RefusedError)); {
		case exchanged == nil && (now != next || !refused), exchanged != nil && (now != p || err != nil):
			t.Errorf("exchange: %v, restart: %v, the old one is there: %v", exchanged, err, now == p)
		}
	})
}

// What a run returned is no reason not to start it again.
func TestRestartOfOneThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
		broken, open := true, p.To.Sink.Open
		p.To.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			if broken {
				return nil, bridge.Permanent(errors.New("broken"))
			}
			return open(ctx, env)
		}
		p.Restart.Off = true
		b := &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		release := b.Hold()
		done := make(chan error)
		go func() { done <- b.Run(t.Context()) }()
		synctest.Wait()
		if phase(b) != engine.Failed {
			t.Fatalf("it is %s", phase(b))
		}
		broken = false
		if err := b.Restart(t.Context(), p.Name); err == nil || errors.As(err, new(engine.RefusedError)) {
			t.Errorf("got %v, want what it failed of", err)
		}
		synctest.Wait()
		if phase(b) != engine.Running {
			t.Errorf("it is %s", phase(b))
		}
		release()
		if err := b.Stop(t.Context(), p.Name); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
