package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// An instance of a step that returned an error or panicked is called no more, not for what it holds
// at the end either.
func TestFailedStepIsNotCalledAgain(t *testing.T) {
	for name, c := range map[string]struct {
		fail func() error
		want string // error of the pipeline
	}{
		"Error": {func() error { return errors.New("boom") }, ""},
		"Panic": {func() error { panic("boom") }, "panic: boom"},
	} {
		for _, inFlight := range []int{1, 4} {
			t.Run(fmt.Sprint(name, inFlight), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := between(finished(bridgetest.Numbered(4)...), new(bridgetest.Downstream))
					p.MaxBatch, p.MaxInFlight = 1, inFlight
					p.Steps = step(func(n int) (bridge.Step, error) {
						calls := 0
						return processing(func(b bridge.Batch, out *bridge.Output) error {
							if calls++; n == 1 && calls == 3 {
								return c.fail()
							}
							if n == 1 && calls > 3 {
								t.Errorf("called after it failed, last %t", out.Last())
							}
							return collect(b, out)
						}), nil
					})
					err := run(t, p)
					if c.want == "" && err != nil || err != nil && !strings.Contains(err.Error(), c.want) {
						t.Errorf("got %v, want %q", err, c.want)
					}
				})
			})
		}
	}
}

// A step that has failed with a batch of one source is not called with that of another, which
// waited for its turn.
func TestFailedStepIsNotCalledForAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := new(bridgetest.Downstream)
		a, b := finished(texts("same")...), finished(texts("same")...)
		p := between(a, down)
		p.From = append(p.From, b.Endpoint())
		p.Steps = step(func(n int) (bridge.Step, error) {
			calls := 0
			return processing(func(b bridge.Batch, out *bridge.Output) error {
				if calls++; n == 1 {
					if calls > 1 {
						t.Error("called after it failed")
					}
					<-time.After(time.Second) // the other source has read meanwhile
					return errors.New("boom")
				}
				return passAll(b, out)
			}), nil
		})
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		compare(t, "delivered", texts("same", "same"), down.Got())
	})
}

// Whatever several steps make of one message, no two of it have the same ID.
func TestCopiesOfCopiesHaveDifferentIDs(t *testing.T) {
	double := func() []bridge.Endpoint[bridge.Step] {
		return step(func(int) (bridge.Step, error) { return doubling{}, nil })
	}
	for name, put := range map[string]func(p *engine.Pipeline){
		"InFront": func(p *engine.Pipeline) { p.Steps = append(double(), double()...) },
		"InABranch": func(p *engine.Pipeline) {
			p.Steps = double()
			p.To.Steps = double()
		},
		"InABranchOfAny": func(p *engine.Pipeline) {
			p.Steps = double()
			p.To.Steps = double()
			p.To = anyOf(p.To)
		},
	} {
		t.Run(name, func(t *testing.T) {
			down := &bridgetest.Downstream{IDs: true}
			p := between(finished(texts("x")...), down)
			put(p)
			if err := run(t, p); err != nil {
				t.Error(err)
			}
			ids := make(map[string]bool)
			for _, m := range down.Got() {
				ids[m.ID] = true
			}
			if len(down.Got()) != 4 || len(ids) != 4 || ids[""] {
				t.Errorf("%d messages with the IDs %v, want 4", len(down.Got()), ids)
			}
		})
	}
}

// Every step has its own name, though branches stand in branches.
func TestStepsHaveDifferentNames(t *testing.T) {
	names := make(map[string]int)
	named := []bridge.Endpoint[bridge.Step]{{
		Type: "test",
		Open: func(_ context.Context, env bridge.Env) (bridge.Step, error) {
			names[env.Instance]++
			return processing(passAll), nil
		},
	}}
	p := between(finished())
	inner := engine.To(new(bridgetest.Downstream).Endpoint())
	inner.Steps = named
	middle := engine.Branch{Mode: engine.ModeRoute, Steps: named, Branches: []engine.Branch{inner}}
	p.To = engine.Branch{Mode: engine.ModeRoute, Steps: named, Branches: []engine.Branch{middle}}
	p.Steps = named
	if err := run(t, p); err != nil {
		t.Error(err)
	}
	if len(names) != 4 {
		t.Errorf("4 steps have the names %v", names)
	}
}

// A step is not called with a batch of which the source has refused everything.
func TestStepIsNotCalledWithNothing(t *testing.T) {
	s := &numbers{n: 1}
	p := pipeline(s, &engine.Pipeline{
		To:      engine.To(new(bridgetest.Downstream).Endpoint()),
		OnError: bridge.OnError{Then: bridge.FateDrop},
	})
	p.From[0].Open = func(context.Context, bridge.Env) (bridge.Source, error) {
		return refusingSource{s, func(string) bool { return true }}, nil
	}
	p.Steps = stepOf(func(b bridge.Batch, out *bridge.Output) error {
		if len(b) == 0 {
			t.Error("called with nothing, though it did not ask for that")
		}
		return passAll(b, out)
	})
	if err := run(t, p); err != nil {
		t.Error(err)
	}
	ledger(t, p, engine.Ledger{Received: 1, Dropped: 1})
}

// The last call of a step has what a step in front of it lets go of by then, and nothing else.
func TestLastCallHasWhatWasHeldInFront(t *testing.T) {
	got := ""
	p := pipeline(&numbers{n: 3}, &engine.Pipeline{To: engine.To(new(bridgetest.Downstream).Endpoint())})
	p.Steps = append(stepOf(collect), stepOf(func(b bridge.Batch, out *bridge.Output) error {
		for i := range b {
			got += fmt.Sprintf("%s, last %t", b[i].Payload, out.Last())
		}
		return passAll(b, out)
	})...)
	if err := run(t, p); err != nil || got != "all, last true" {
		t.Errorf("the step behind got %q, %v", got, err)
	}
	ledger(t, p, engine.Ledger{Received: 3, Made: 1, Merged: 3, Delivered: 1})
}

// oneAMinute returns a paced step that lets a message go each minute.
func oneAMinute() []bridge.Endpoint[bridge.Step] {
	var waiting bridge.Batch
	steps := stepOf(func(b bridge.Batch, out *bridge.Output) error {
		goes := 0
		switch {
		case out.Last():
			goes = len(waiting)
		case len(b) == 0:
			goes = 1
		}
		for _, m := range waiting[:goes] {
			out.Add(m)
		}
		waiting = waiting[goes:]
		for i := range b {
			out.Hold(i)
			waiting = append(waiting, b[i])
		}
		if len(waiting) == 0 {
			out.Release(out.Call())
		} else {
			out.Wake(time.Minute)
		}
		return nil
	})
	steps[0].Paced = 3
	return steps
}

// At the end of the input a paced step keeps its time, those behind it hear of the end when it has
// let go, and a stop does not wait for it.
func TestPacedStepsAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		stop time.Duration // zero: never
		took time.Duration
		want []int // messages of each call behind the step
	}{
		"end of the input": {took: 3 * time.Minute, want: []int{1, 1, 1, 0}},
		"stop":             {stop: 90 * time.Second, took: 90 * time.Second, want: []int{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []int
				down := new(bridgetest.Downstream)
				p := between(finished(bridgetest.Numbered(3)...), down)
				p.Steps = append(oneAMinute(), stepOf(func(b bridge.Batch, out *bridge.Output) error {
					got = append(got, len(b))
					if out.Last() != (len(got) == len(c.want)) {
						t.Errorf("call %d: last %t", len(got), out.Last())
					}
					return passAll(b, out)
				})...)
				ctx := t.Context()
				if c.stop > 0 {
					stopped, stop := context.WithTimeout(ctx, c.stop)
					defer stop()
					ctx = stopped
				}
				began := time.Now()
				if err := runUntil(ctx, t, p); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				compare(t, "delivered", bridgetest.Numbered(3), down.Got())
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("messages of each call behind it (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What a paced step has no room for waits in front of the steps, so that it goes on in its time,
// and not by the batch.
func TestPacedStepsHaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := new(bridgetest.Downstream)
		p := between(finished(bridgetest.Numbered(20)...), down)
		p.Steps = oneAMinute()
		most := 0
		p.Steps = append(p.Steps, stepOf(func(b bridge.Batch, out *bridge.Output) error {
			most = max(most, len(b))
			return passAll(b, out)
		})...)
		began := time.Now()
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); most != 1 || took < 19*time.Minute || took > 21*time.Minute {
			t.Errorf("%d at once at most, in %v", most, took)
		}
		compare(t, "delivered", bridgetest.Numbered(20), down.Got())
	})
}

// Several sources wait for the same room one after the other.
func TestPacedStepsHaveRoomForSeveralSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := new(bridgetest.Downstream)
		p := between(finished(bridgetest.Numbered(20)...), down)
		for range 3 {
			p.From = append(p.From, finished(bridgetest.Numbered(20)...).Endpoint())
		}
		held, most := 0, 0
		counted := func(sign int) []bridge.Endpoint[bridge.Step] {
			return stepOf(func(b bridge.Batch, out *bridge.Output) error {
				if held += sign * len(b); most == 0 {
					<-time.After(time.Second) // until the other sources have read, too
				}
				most = max(most, held)
				return passAll(b, out)
			})
		}
		p.Steps = append(append(counted(1), oneAMinute()...), counted(-1)...)
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if n := len(down.Got()); n != 80 || most > p.Steps[1].Paced {
			t.Errorf("%d delivered, %d held at most, want 80 and no more than %d", n, most, p.Steps[1].Paced)
		}
	})
}

// breaksAt is a source whose n-th read breaks.
type breaksAt struct {
	bridge.Source
	n int
}

func (s *breaksAt) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if s.n--; s.n == 0 {
		return nil, nil, errors.New("connection reset")
	}
	return s.Source.Read(ctx)
}

// What a step holds of a source that broke comes again, and nothing of it stays in flight.
func TestHeldOfABrokenSourceIsNotInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down, opened := finished(bridgetest.Numbered(3)...), new(bridgetest.Downstream), 0
		p := between(up, down)
		p.MaxBatch = 1
		p.From[0] = source(up, func(s bridge.Source) bridge.Source {
			if opened++; opened == 1 {
				return &breaksAt{s, 3}
			}
			return s
		})
		p.Steps = stepOf(collect)
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if opened != 2 {
			t.Errorf("opened %d times, want 2", opened)
		}
		compare(t, "delivered", texts("all"), down.Got())
		compare(t, "acked", bridgetest.Numbered(3), up.Acked())
		if l := p.Ledger(); l.InFlight != 0 {
			t.Errorf("ledger %+v", l)
		}
	})
}

// A step that fails when it is to let go at a stop does not hide that the input was cut, nor that
// it failed.
func TestStepThatFailsAtAStopHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := new(bridgetest.Upstream)
		up.Send(bridgetest.Numbered(3)...)
		p := between(up, new(bridgetest.Downstream))
		p.From[0].Ends, p.From[0].Guarantee.Why = true, "a restart begins anew"
		boom := errors.New("boom")
		p.Steps = stepOf(func(b bridge.Batch, out *bridge.Output) error {
			if out.Last() {
				return boom
			}
			for i := range b {
				out.Hold(i)
				out.Add(b[i])
			}
			out.Release(out.Call())
			return nil
		})
		err := runFor(t, p, time.Minute, func() {})
		if !errors.Is(err, engine.ErrCut) || !errors.Is(err, boom) ||
			!strings.Contains(err.Error(), "; a restart begins anew") {
			t.Errorf("got %v, want ErrCut, what that means, and the failure", err)
		}
	})
}

// What was read of an input that is there once is lost with the step, so that its end is no success.
func TestFailedStepLosesAnInputThatIsThereOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(finished(bridgetest.Numbered(4)...), new(bridgetest.Downstream))
		p.From[0].Ends, p.From[0].Guarantee.Level = true, bridge.LevelAtMostOnce
		p.Steps = step(func(int) (bridge.Step, error) {
			return processing(func(bridge.Batch, *bridge.Output) error { return errors.New("boom") }), nil
		})
		if err := run(t, p); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("got %v, want what the step said", err)
		}
		if l := p.Ledger(); l.Dropped != 4 || !l.Balanced() {
			t.Errorf("the ledger is %+v", l)
		}
	})
}
