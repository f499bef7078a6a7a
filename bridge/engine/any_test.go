package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// A branch of any has no more writes at once than it allows, though the pipeline has.
func TestBranchOfAnyHasItsOwnMaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gauge)
		first := engine.To((&bridgetest.Downstream{Fault: g.fault}).Endpoint())
		first.MaxInFlight = 1
		p := between(finished(bridgetest.Numbered(40)...))
		p.To = anyOf(first, engine.To(new(bridgetest.Downstream).Endpoint()))
		p.MaxBatch, p.MaxInFlight = 1, 4
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if most := g.most.Load(); most != 1 {
			t.Errorf("%d writes at once, want 1", most)
		}
	})
}

// A branch of any whose sink has failed for good, by a panic or otherwise, is opened anew.
func TestBranchOfAnyThatFailedForGoodIsOpenedAnew(t *testing.T) {
	for name, fail := range map[string]func() error{
		"Panic":     func() error { panic("boom") },
		"Permanent": func() error { return bridge.Permanent(errors.New("logged out")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := new(bridgetest.Upstream)
				first, fallback := new(bridgetest.Downstream), new(bridgetest.Downstream)
				p := between(up)
				p.To = anyOf(engine.To(sinks(func(n int) (bridge.Sink, error) {
					if n > 1 {
						return first.Open(t.Context(), bridge.Env{})
					}
					return broken(fail), nil
				})), engine.To(fallback.Endpoint()))
				sent := bridgetest.Numbered(3)
				go func() {
					for _, m := range sent {
						up.Send(m)
						<-time.After(time.Minute)
					}
					up.Finish()
				}()
				if err := run(t, p); err != nil {
					t.Error(err)
				}
				compare(t, "delivered to the fallback", sent[:1], fallback.Got())
				compare(t, "delivered to the first branch", sent[1:], first.Got())
			})
		})
	}
}

// A branch of any that needs IDs and opens late gets messages that have one.
func TestBranchOfAnyThatOpensLateGetsIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &bridgetest.Downstream{IDs: true}
		to := engine.To(late.Endpoint())
		open, n := to.Sink.Open, 0
		to.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			if n++; n < 3 {
				return nil, errors.New("connection refused")
			}
			return open(ctx, env)
		}
		p := between(finished(bridge.Message{Payload: []byte("x")}))
		p.To = anyOf(to, engine.To((&bridgetest.Downstream{Fault: down}).Endpoint()))
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if got := late.Got(); len(got) != 1 || got[0].ID == "" {
			t.Errorf("got %+v, want one message with an ID", got)
		}
	})
}

// What a step in a branch of any drops is filtered, and does not go to another branch.
func TestFilteredInABranchOfAnyGoesToNoOther(t *testing.T) {
	fallback := new(bridgetest.Downstream)
	first := engine.To(new(bridgetest.Downstream).Endpoint())
	first.Steps = steps(func(bridge.Batch) (bridge.Batch, error) { return nil, nil })
	up := finished(bridgetest.Numbered(3)...)
	p := between(up)
	p.To = anyOf(first, engine.To(fallback.Endpoint()))
	if err := run(t, p); err != nil {
		t.Error(err)
	}
	compare(t, "delivered to the fallback", nil, fallback.Got())
	compare(t, "acked", bridgetest.Numbered(3), up.Acked())
	ledger(t, p, engine.Ledger{Received: 3, Filtered: 3})
}

// Once no branch of any can ever be opened again, the pipeline stops with the reasons.
func TestAnyWithoutHopeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		branch := func(why string) engine.Branch {
			return engine.To(sinks(func(n int) (bridge.Sink, error) {
				if n > 1 {
					return nil, bridge.Permanent(errors.New(why))
				}
				return broken(func() error { return errors.New("connection closed") }), nil
			}))
		}
		up := new(bridgetest.Upstream)
		up.Send(bridgetest.Numbered(1)...)
		p := between(up)
		p.To = anyOf(branch("wrong password"), branch("no such topic"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := runUntil(ctx, t, p)
		if ctx.Err() != nil {
			t.Error("it went on until it was stopped")
		}
		for _, why := range []string{"wrong password", "no such topic"} {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("got %v, want %s", err, why)
			}
		}
		if len(up.Acked()) > 0 || len(up.Nacks()) != 1 {
			t.Errorf("acked %v, nacks %v", up.Acked(), up.Nacks())
		}
	})
}

// A step that holds, or makes messages of none, is an error within a branch of any, which says
// that it works in front of that, and it does.
func TestStepInABranchOfAnyMustNotHold(t *testing.T) {
	adds := func(b bridge.Batch, out *bridge.Output) error {
		for i := range b {
			out.Drop(i)
		}
		out.Add(bridge.Message{Payload: []byte("all")})
		return nil
	}
	for name, f := range map[string]processing{"Holds": collect, "Adds": adds} {
		t.Run(name, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(3)...), new(bridgetest.Downstream)
			p := between(up)
			p.To = anyOf(engine.To(down.Endpoint()))
			p.To.Branches[0].Steps = stepOf(f)
			want := "test to-step: it holds messages, which it cannot do in a branch of any: " +
				"put it in front of that"
			if err := run(t, p); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			if len(down.Got()) > 0 || len(up.Acked()) > 0 {
				t.Errorf("delivered %v, acked %v", down.Got(), up.Acked())
			}
		})
		t.Run(name+"InFront", func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(1)...), new(bridgetest.Downstream)
			p := between(up)
			p.To = anyOf(engine.To(down.Endpoint()))
			p.To.Steps = stepOf(f)
			if err := run(t, p); err != nil {
				t.Error(err)
			}
			compare(t, "delivered", texts("all"), down.Got())
			compare(t, "acked", bridgetest.Numbered(1), up.Acked())
		})
	}
}
