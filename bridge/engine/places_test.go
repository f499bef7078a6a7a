package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// refusingSource refuses some of what numbers has.
type refusingSource struct {
	*numbers
	poison func(text string) bool
}

func (s refusingSource) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	b, ack, err := s.numbers.Read(ctx)
	var bad bridge.Refusals
	for i := range b {
		if s.poison(string(b[i].Payload)) {
			bad = append(bad, bridge.Refusal{Index: i, Err: errors.New("poison for the source")})
		}
	}
	if len(bad) > 0 {
		err = bad
	}
	return b, ack, err
}

// refusingStep refuses some messages, and leaves out others.
type refusingStep struct{ poison, leaves func(text string) bool }

func (s refusingStep) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		switch text := string(b[i].Payload); {
		case s.poison(text):
			out.Refuse(i, errors.New("poison for the step"))
		case s.leaves(text):
			out.Drop(i)
		default:
			out.Pass(i)
		}
	}
	return nil
}

func (refusingStep) Close() error { return nil }

// F22: what a source, a step or a sink refuses becomes one letter, with its place and reason, and
// is neither filtered nor keeps others from being delivered. Each place may say otherwise.
func TestF22Places(t *testing.T) {
	ends := func(suffix string) func(string) bool {
		return func(text string) bool { return strings.HasSuffix(text, suffix) }
	}
	for _, flight := range []int{1, 4} {
		sink := &picky{tries: make(map[string]int), never: ends("33")}
		letters, others := &picky{tries: make(map[string]int)}, &picky{tries: make(map[string]int)}
		s := &numbers{n: 10_000}
		p := pipeline(s, &engine.Pipeline{
			Steps: []bridge.Endpoint[bridge.Step]{
				{Type: "sieve", Open: func(context.Context, bridge.Env) (bridge.Step, error) {
					return refusingStep{ends("22"), ends("44")}, nil
				}},
				{
					Type: "sieve", OnError: &bridge.OnError{Then: bridge.FateDrop},
					Open: func(context.Context, bridge.Env) (bridge.Step, error) {
						return refusingStep{ends("55"), ends("none")}, nil
					},
				},
			},
			To:          engine.To(to(sink)),
			OnError:     bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: to(letters)},
			MaxInFlight: flight,
		})
		p.To.OnError = &bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: to(others)}
		p.From[0].Open = func(context.Context, bridge.Env) (bridge.Source, error) {
			return refusingSource{s, ends("11")}, nil
		}
		if err := p.Run(t.Context(), bridge.Env{}, nil); err != nil {
			t.Fatal(err)
		}
		if l, want := p.Ledger(), (engine.Ledger{
			Received: 10_000, Delivered: 9_500, Filtered: 100, DeadLettered: 300,
			Dropped: 100,
		}); l != want || s.settled != 10_000 {
			t.Errorf("the ledger is %+v, want %+v; %d settled", l, want, s.settled)
		}
		got := make(map[string]int)
		for _, text := range append(letters.taken, others.taken...) {
			var d bridge.DeadLetter
			if err := json.Unmarshal([]byte(text), &d); err != nil {
				t.Fatal(err)
			}
			got[fmt.Sprintf("%s %s %s %s %s", d.Place, d.Connector, d.Instance, d.Reason, d.Payload[len(d.Payload)-2:])]++
		}
		want := map[string]int{
			"source numbers test-from poison for the source 11": 100,
			"step sieve test-step poison for the step 22":       100,
			"sink picky test-to poison 33":                      100,
		}
		if diff := cmp.Diff(want, got); diff != "" || len(others.taken) != 100 {
			t.Errorf("letters (-want +got), %d of them of the sink:\n%s", len(others.taken), diff)
		}
	}
}
