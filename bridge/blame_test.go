package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// Of a batch that fails as a whole, the message at which it does is blamed, and no other, however
// few tries there are.
func TestOnlyTheMessageThatFailsIsBlamed(t *testing.T) {
	for _, inAny := range []bool{false, true} {
		for _, tries := range []int{1, 3} {
			t.Run(fmt.Sprintf("Any=%t,Tries=%d", inAny, tries), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := texts("0", "1", "bad", "3")
					a := &bridgetest.Downstream{Fault: failsAt([]byte("bad"))}
					b := &bridgetest.Downstream{Fault: a.Fault}
					p := between(finished(sent...), a)
					if inAny {
						p.To = anyOf(bridge.To(a.Endpoint()), bridge.To(b.Endpoint()))
					}
					p.OnError = bridge.OnError{Tries: tries, Then: bridge.FateDrop}
					if err := run(t, p); err != nil {
						t.Error(err)
					}
					if got := len(a.Got()) + len(b.Got()); got != 3 {
						t.Errorf("%d were delivered, want 3", got)
					}
					ledger(t, p, bridge.Ledger{Received: 4, Delivered: 3, Dropped: 1})
				})
			})
		}
	}
}

// A message is not blamed as long as its branch of any is not open, though another branch fails.
func TestMessageIsNotBlamedBeforeItsBranchOfAnyIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		only := func(payload string, to bridge.Endpoint[bridge.Sink]) bridge.Branch {
			b := bridge.To(to)
			b.When = condition(func(m *bridge.Message) bool { return string(m.Payload) == payload })
			return b
		}
		late, failing, failures := new(bridgetest.Downstream), new(bridgetest.Downstream), 0
		failing.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			if failures++; failures < 4 {
				return 0, errors.New("not now")
			}
			return len(b), nil
		}
		p := between(finished(texts("late", "failing")...))
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
		compare(t, "delivered after failures", texts("failing"), failing.Got())
		ledger(t, p, bridge.Ledger{Received: 2, Delivered: 2})
	})
}

// Tries are counted in an any within another one as well.
func TestTriesAreCountedInNestedAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := bridge.To((&bridgetest.Downstream{Fault: down}).Endpoint())
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
		ledger(t, p, bridge.Ledger{Received: 1, Dropped: 1})
	})
}
