package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// Of a batch that fails as a whole, the message at which it does is blamed, and no other, however
// few tries there are.
func TestOnlyTheMessageThatFailsIsBlamed(t *testing.T) {
	for n := range 8 {
		inAny, panics, tries := n&1 > 0, n&2 > 0, 1+n&4/2
		t.Run(fmt.Sprintf("Any=%t,Panics=%t,Tries=%d", inAny, panics, tries), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := texts("0", "1", "bad", "3")
				fails := failsAt([]byte("bad"))
				a := &bridgetest.Downstream{Fault: func(ctx context.Context, b bridge.Batch) (int, error) {
					n, err := fails(ctx, b)
					if panics && err != nil {
						panic(err)
					}
					return n, err
				}}
				b := &bridgetest.Downstream{Fault: a.Fault}
				p := between(finished(sent...), a)
				if inAny {
					p.To = anyOf(engine.To(a.Endpoint()), engine.To(b.Endpoint()))
				}
				p.OnError = bridge.OnError{Tries: tries, Then: bridge.FateDrop}
				if err := run(t, p); err != nil {
					t.Error(err)
				}
				if got := len(a.Got()) + len(b.Got()); got != 3 {
					t.Errorf("%d were delivered, want 3", got)
				}
				ledger(t, p, engine.Ledger{Received: 4, Delivered: 3, Dropped: 1})
			})
		})
	}
}

// A message is not blamed as long as its branch of any is not open, though another branch fails.
func TestMessageIsNotBlamedBeforeItsBranchOfAnyIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		only := func(payload string, to bridge.Endpoint[bridge.Sink]) engine.Branch {
			b := engine.To(to)
			b.When = condition(func(m *bridge.Message) bool { return string(m.Payload) == payload })
			return b
		}
		late, failing, failures := new(bridgetest.Downstream), new(bridgetest.Downstream), -1
		failing.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			if failures++; failures > 0 && failures < 4 {
				return 0, errors.New("not now")
			}
			return len(b), nil
		}
		p := between(finished(texts("failing", "late", "failing")...)) // the first one goes alone
		p.To = anyOf(only("late", sinks(func(n int) (bridge.Sink, error) {
			if n < 12 {
				return nil, errors.New("connection refused")
			}
			return late.Open(t.Context(), bridge.Env{})
		})), only("failing", failing.Endpoint()))
		p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDrop}
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		compare(t, "delivered late", texts("late"), late.Got())
		compare(t, "delivered after failures", texts("failing", "failing"), failing.Got())
		ledger(t, p, engine.Ledger{Received: 3, Delivered: 3})
	})
}

// Tries are counted in an any within another one as well.
func TestTriesAreCountedInNestedAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := engine.To((&bridgetest.Downstream{Fault: down}).Endpoint())
		up := finished(bridgetest.Numbered(1)...)
		p := between(up)
		p.To = anyOf(anyOf(never, never))
		p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDrop}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := runUntil(ctx, t, p); err != nil {
			t.Error(err)
		}
		compare(t, "acked", bridgetest.Numbered(1), up.Acked())
		ledger(t, p, engine.Ledger{Received: 1, Dropped: 1})
	})
}
