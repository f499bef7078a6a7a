package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// failing returns a step that fails at two messages, each so many times, and the numbers of its
// calls with one of them. It does with the others what rest does.
func failing(times int, rest processing) ([]bridge.Endpoint[bridge.Step], map[string]int) {
	calls := make(map[string]int)
	bad := []string{string(bridgetest.Numbered(60)[37].Payload), string(bridgetest.Numbered(60)[53].Payload)}
	return stepOf(func(b bridge.Batch, out *bridge.Output) error {
		for i := range b {
			if text := string(b[i].Payload); slices.Contains(bad, text) {
				if calls[text]++; calls[text] <= times {
					return errors.New("KeyError: 'temp'")
				}
			}
		}
		return rest(b, out)
	}), calls
}

// Issue 11: a message at which a step fails is blamed for it once that has had it alone, and does
// not keep the others up for ever.
func TestStepThatFailsAtAMessage(t *testing.T) {
	const forEver = 1 << 20
	without := func(n ...int) []bridge.Message {
		var rest []bridge.Message
		for i, m := range bridgetest.Numbered(60) {
			if !slices.Contains(n, i) {
				rest = append(rest, m)
			}
		}
		return rest
	}
	for name, change := range map[string]func(*engine.Pipeline){
		"root":      func(*engine.Pipeline) {},
		"in flight": func(p *engine.Pipeline) { p.MaxInFlight = 4 },
		"branch": func(p *engine.Pipeline) {
			p.To = engine.Branch{Branches: []engine.Branch{{Sink: p.To.Sink, Steps: p.Steps}}}
			p.Steps = nil
		},
		"any": func(p *engine.Pipeline) {
			p.To = engine.Branch{Mode: engine.ModeAny, Branches: []engine.Branch{{Sink: p.To.Sink, Steps: p.Steps}}}
			p.Steps = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, down, dead := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream), new(bridgetest.Downstream)
				p := between(up, down)
				p.MaxBatch = 100
				var calls map[string]int
				p.Steps, calls = failing(forEver, passAll)
				change(p)
				p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDeadLetter, DeadLetter: dead.Endpoint()}
				if err := run(t, p); err != nil {
					t.Fatal(err)
				}
				compare(t, "delivered", without(37, 53), down.Got())
				compare(t, "acked", bridgetest.Numbered(60), up.Acked())
				ledger(t, p, engine.Ledger{Received: 60, Delivered: 58, DeadLettered: 2})
				for text, n := range calls {
					if n < 3 || n > 4 { // the first time perhaps among others
						t.Errorf("the step was called %d times with %s, want 3 or 4", n, text)
					}
				}
				for _, letter := range dead.Got() {
					if s := string(letter.Payload); !strings.Contains(s, `"place":"step"`) && name != "any" ||
						!strings.Contains(s, `"attempts":3`) || !strings.Contains(s, "KeyError") {
						t.Errorf("the letter is %s", s)
					}
				}
			})
		})
	}
	t.Run("holds", func(t *testing.T) { // it fails as well where it holds nothing
		synctest.Test(t, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream)
			p := between(up, down)
			p.Steps, _ = failing(forEver, collect)
			p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDrop}
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			compare(t, "acked", bridgetest.Numbered(60), up.Acked())
			if l := p.Ledger(); l.Merged != 58 || l.Delivered != 1 || l.Dropped < 2 || !l.Balanced() {
				t.Errorf("the ledger is %+v", l)
			}
		})
	})
	t.Run("is held", func(t *testing.T) { // which of those that it holds is to blame, nobody knows
		synctest.Test(t, func(t *testing.T) {
			up := finished(bridgetest.Numbered(60)...)
			p := between(up, new(bridgetest.Downstream))
			p.Steps = step(func(int) (bridge.Step, error) {
				calls := 0
				return processing(func(b bridge.Batch, out *bridge.Output) error {
					if calls += len(b); calls > 37 {
						return errors.New("KeyError: 'temp'")
					}
					return collect(b, out)
				}), nil
			})
			p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDrop}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			const named = `with topic "conformance/topic" and what it held before: test step: KeyError`
			if err := runUntil(ctx, t, p); err == nil || !strings.Contains(err.Error(), named) {
				t.Errorf("got %v, want %s", err, named)
			}
			if l := p.Ledger(); l.Dropped > 0 || len(up.Acked()) > 0 {
				t.Errorf("%d dropped, %d acknowledged", l.Dropped, len(up.Acked()))
			}
		})
	})
	t.Run("behind others", func(t *testing.T) { // of which one makes three of one, and one makes one of three
		synctest.Test(t, func(t *testing.T) {
			threefold := func(b bridge.Batch, out *bridge.Output) error {
				for i, m := range b {
					for _, end := range []string{"a", "b", "c"} {
						out.Emit(i, bridge.Message{Payload: append(slices.Clone(m.Payload), end...)})
					}
				}
				return nil
			}
			merging := func(int) (bridge.Step, error) {
				var held []string
				return processing(func(b bridge.Batch, out *bridge.Output) error {
					for i := range b {
						out.Hold(i)
						held = append(held, string(b[i].Payload))
						if !strings.HasSuffix(held[len(held)-1], "c") {
							continue
						}
						out.Add(bridge.Message{Payload: []byte(strings.Join(held, ","))})
						out.Release(out.Call())
						held = nil
					}
					return nil
				}), nil
			}
			panics := func(at string) []bridge.Endpoint[bridge.Step] {
				return stepOf(func(b bridge.Batch, out *bridge.Output) error {
					for i := range b {
						if strings.HasSuffix(string(b[i].Payload), at) {
							panic("KeyError")
						}
					}
					return passAll(b, out)
				})
			}
			numbered := bridgetest.Numbered(40)
			piece, merged := string(numbered[20].Payload)+"b", string(numbered[13].Payload)+"c"
			up, down, dead := finished(numbered...), &bridgetest.Downstream{IDs: true}, new(bridgetest.Downstream)
			p := between(up, down)
			p.Steps = slices.Concat(stepOf(threefold), panics(piece), step(merging))
			p.To.Steps = panics(merged)
			p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDeadLetter, DeadLetter: dead.Endpoint()}
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			refused := make(map[string]bool)
			for _, m := range dead.Got() {
				var l bridge.DeadLetter
				if err := l.UnmarshalJSON(m.Payload); err != nil {
					t.Fatal(err)
				}
				all := strings.Split(string(l.Payload), ",")
				refused[fmt.Sprintf("%d of %s %s, %s", len(all), all[len(all)-1], l.Instance, l.Reason)] = true
			}
			want := map[string]bool{
				"1 of " + piece + " test-step-2, test step-2: panic: KeyError":    true,
				"3 of " + merged + " test-to-step, test to-step: panic: KeyError": true,
			}
			if diff := cmp.Diff(want, refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if n := len(down.Got()); n != 39 {
				t.Errorf("%d were delivered, want 39", n)
			}
			compare(t, "acked", numbered, up.Acked())
		})
	})
	t.Run("cannot be opened in between", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream)
			p := between(up, down)
			steps, calls := failing(forEver, passAll)
			opens := 0
			p.Steps = []bridge.Endpoint[bridge.Step]{{
				Type: "test", Open: func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
					if opens++; opens%2 == 0 {
						return nil, errors.New("the plugin is being started again")
					}
					return steps[0].Open(ctx, env)
				},
			}}
			p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDrop}
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			compare(t, "delivered", without(37, 53), down.Got())
			for text, n := range calls {
				if n > 4 {
					t.Errorf("the step was called %d times with %s", n, text)
				}
			}
		})
	})
	t.Run("stops", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream)
			p := between(up, down)
			p.Steps, _ = failing(forEver, passAll)
			p.OnError.Tries = 3
			err := run(t, p)
			if want := `test step: message with topic "conformance/topic", 8 bytes: test step: KeyError`; err == nil ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			compare(t, "acked", bridgetest.Numbered(37), up.Acked())
		})
	})
	t.Run("passes in the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream)
			p := between(up, down)
			p.Steps, _ = failing(3, passAll)
			p.OnError = bridge.OnError{Tries: 4, Then: bridge.FateDrop}
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			compare(t, "delivered", bridgetest.Numbered(60), down.Got())
		})
	})
	t.Run("for ever", func(t *testing.T) { // as long as nothing else is asked for, and says so
		synctest.Test(t, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream)
			p := between(up, down)
			p.Steps, _ = failing(forEver, passAll)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := runUntil(ctx, t, p)
			named := `times in a row at the same message, with topic "conformance/topic" and 8 bytes; on_error: {retry: {max: 5}`
			if err == nil || !strings.Contains(err.Error(), named) {
				t.Errorf("got %v, want the message named", err)
			}
			compare(t, "acked", bridgetest.Numbered(37), up.Acked())
		})
	})
	t.Run("so many times", func(t *testing.T) { // is what the log says, and gives no advice that was followed
		synctest.Test(t, func(t *testing.T) {
			p := between(finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream))
			p.Steps, _ = failing(forEver, passAll)
			p.OnError = bridge.OnError{Tries: 5, Then: bridge.FateDrop}
			var log strings.Builder
			if err := p.Run(t.Context(), logTo(&log), nil); err != nil {
				t.Fatal(err)
			}
			if s := log.String(); !strings.Contains(s, "4 times in a row at the same message") ||
				!strings.Contains(s, "and may 5 times") ||
				strings.Contains(s, "would put it aside") {
				t.Errorf("the log is\n%s", s)
			}
		})
	})
}
