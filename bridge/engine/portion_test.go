package engine_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// A message that a step holds is not settled because another branch has it, be it held for one call
// only.
func TestFrontEndsWhereAStepHolds(t *testing.T) {
	joined := func(b bridge.Batch, out *bridge.Output) error {
		var all [][]byte
		for i := range b {
			if all = append(all, b[i].Payload); i < len(b)-1 {
				out.Hold(i)
				continue
			}
			out.Emit(i, bridge.Message{Topic: "w", Payload: bytes.Join(all, []byte("+"))})
			out.Release(out.Call())
		}
		return nil
	}
	bad := errors.New("bad message")
	up, windows := finished(texts("p", "a", "b")...), new(bridgetest.Downstream)
	windows.Refuse = func(m *bridge.Message) error {
		if bytes.Contains(m.Payload, []byte("+")) {
			return bad
		}
		return nil
	}
	p := between(up)
	p.To = engine.Branch{Branches: []engine.Branch{
		engine.To(new(bridgetest.Downstream).Endpoint()), {Sink: windows.Endpoint(), Steps: stepOf(joined)},
	}}
	if err := run(t, p); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	compare(t, "acked", texts("p"), up.Acked())
	windows.Refuse = nil
	if err := run(t, p); err != nil {
		t.Fatal(err)
	}
	compare(t, "windows", texts("p", "a", "b"), windows.Got())
}

// A source whose refusals make no sense is broken, whatever portions its batch goes in.
func TestRefusalsThatMakeNoSense(t *testing.T) {
	cut := errors.New("cut")
	for name, said := range map[string]bridge.Refusals{
		"beyond":       {{Index: 7, Err: cut}},
		"not in order": {{Index: 2, Err: cut}, {Index: 0, Err: cut}},
		"twice":        {{Index: 1, Err: cut}, {Index: 1, Err: cut}},
		"no reason":    {{Index: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			up, down := finished(texts("a", "b", "c")...), new(bridgetest.Downstream)
			p := between(up, down)
			p.OnError = bridge.OnError{Then: bridge.FateDrop}
			p.From[0] = source(up, func(s bridge.Source) bridge.Source { return &senseless{s, said} })
			if err := run(t, p); err == nil || len(down.Got()) > 0 {
				t.Errorf("got %v, %d delivered, want an error and nothing", err, len(down.Got()))
			}
		})
	}
}

// senseless says so of each batch.
type senseless struct {
	bridge.Source
	said bridge.Refusals
}

func (s *senseless) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	b, ack, err := s.Source.Read(ctx)
	if err == nil {
		err = s.said
	}
	return b, ack, err
}

// A message that stops its pipeline comes again alone, however often that is started: what stands
// before it is settled, and what stands behind it does not go out.
func TestMessageThatStopsComesAlone(t *testing.T) {
	bad := errors.New("bad message")
	refused := func(m *bridge.Message) error {
		if slices.Equal(m.Payload, bridgetest.Numbered(38)[37].Payload) {
			return bad
		}
		return nil
	}
	refuses := func(b bridge.Batch, out *bridge.Output) error {
		for i := range b {
			if err := refused(&b[i]); err != nil {
				out.Refuse(i, err)
			} else {
				out.Pass(i)
			}
		}
		return nil
	}
	for name, spoil := range map[string]func(*engine.Pipeline, *bridgetest.Downstream){
		"sink": func(_ *engine.Pipeline, d *bridgetest.Downstream) { d.Refuse = refused },
		"sink beside another": func(p *engine.Pipeline, _ *bridgetest.Downstream) {
			p.To.Branches = append(p.To.Branches, engine.To((&bridgetest.Downstream{Refuse: refused}).Endpoint()))
		},
		"sink that fails": func(p *engine.Pipeline, d *bridgetest.Downstream) {
			p.OnError.Tries = 3
			d.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
				for i := range b {
					if err := refused(&b[i]); err != nil {
						return i, err
					}
				}
				return len(b), nil
			}
		},
		"step":      func(p *engine.Pipeline, _ *bridgetest.Downstream) { p.Steps = stepOf(refuses) },
		"in flight": func(p *engine.Pipeline, d *bridgetest.Downstream) { d.Refuse, p.MaxInFlight = refused, 4 },
	} {
		t.Run(name, func(t *testing.T) {
			up, down := finished(bridgetest.Numbered(200)...), new(bridgetest.Downstream)
			p := between(up, down)
			p.MaxBatch = 100
			p.To = engine.Branch{Branches: []engine.Branch{p.To}}
			spoil(p, down)
			for start := range 4 {
				before := len(down.Got())
				if err := run(t, p); !errors.Is(err, bad) {
					t.Fatalf("start %d: %v, want the bad message", start, err)
				}
				compare(t, "acked", bridgetest.Numbered(37), up.Acked())
				if got := down.Got()[before:]; start > 0 && len(got) > 1 {
					t.Errorf("start %d delivered %d messages, want at most the bad one", start, len(got))
				}
			}
			down.Refuse, down.Fault, p.Steps, p.To.Branches = nil, nil, nil, p.To.Branches[:1]
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			compare(t, "acked", bridgetest.Numbered(200), up.Acked())
			if l := p.Ledger(); !l.Balanced() || l.InFlight != 0 {
				t.Errorf("the ledger is %+v", l)
			}
		})
	}
}

// What a step or a condition refuses, and what stands behind it, goes to no branch at all when that
// stops the pipeline.
func TestNothingBehindGoesOut(t *testing.T) {
	bad := errors.New("bad message")
	refuses := func(b bridge.Batch, out *bridge.Output) error {
		for i := range b {
			if slices.Equal(b[i].Payload, bridgetest.Numbered(38)[37].Payload) {
				out.Refuse(i, bad)
			} else {
				out.Pass(i)
			}
		}
		return nil
	}
	up, one, other := finished(bridgetest.Numbered(60)...), new(bridgetest.Downstream), new(bridgetest.Downstream)
	p := between(up)
	p.To = engine.Branch{Branches: []engine.Branch{
		engine.To(one.Endpoint()), {Sink: other.Endpoint(), Steps: stepOf(refuses)},
	}}
	for range 3 {
		if err := run(t, p); !errors.Is(err, bad) {
			t.Fatal(err)
		}
		compare(t, "delivered to one", bridgetest.Numbered(37), one.Got())
		compare(t, "delivered to the other", bridgetest.Numbered(37), other.Got())
		compare(t, "acked", bridgetest.Numbered(37), up.Acked())
	}
	p.OnError.Then = bridge.FateDrop
	if err := run(t, p); err != nil {
		t.Fatal(err)
	}
	compare(t, "delivered to one", bridgetest.Numbered(60), one.Got())
	ledger(t, p, engine.Ledger{Received: 60, Delivered: 59, Dropped: 1})
}

// S50: of messages of which steps may make much, no more go on at once than may become a GiB; of
// others, whole batches do.
func TestS50WhatABatchMayBecome(t *testing.T) {
	const n = 200
	for name, c := range map[string]struct {
		grows    []func(int) int
		inFlight int
		most     int
	}{
		"nothing is said":  {nil, 1, 64},
		"little":           {[]func(int) int{func(size int) int { return 10 * size }}, 4, 64},
		"much":             {[]func(int) int{func(int) int { return 1 << 27 }}, 1, 8},
		"of several":       {[]func(int) int{func(int) int { return 1 << 27 }}, 4, 2},
		"more than fits":   {[]func(int) int{func(int) int { return 1 << 31 }}, 4, 1},
		"one after others": {[]func(int) int{func(int) int { return 1 << 10 }, func(size int) int { return size << 18 }}, 1, 4},
	} {
		up, down, most := finished(bridgetest.Numbered(n)...), new(bridgetest.Downstream), 0
		p := between(up, down)
		p.MaxBatch, p.MaxInFlight = 64, c.inFlight
		for _, g := range c.grows {
			p.Steps = append(p.Steps, stepOf(passAll)...)
			p.Steps[len(p.Steps)-1].Grows = g
		}
		p.Steps = append(p.Steps, stepOf(func(b bridge.Batch, out *bridge.Output) error {
			most = max(most, len(b))
			return passAll(b, out)
		})...)
		if err := run(t, p); err != nil {
			t.Fatal(err)
		}
		if most != c.most {
			t.Errorf("%s: %d messages at once, want %d", name, most, c.most)
		}
		got := down.Got() // in any order, where there are several flights
		slices.SortStableFunc(got, func(a, b bridge.Message) int { return bytes.Compare(a.Payload, b.Payload) })
		want := bridgetest.Numbered(n)
		slices.SortStableFunc(want, func(a, b bridge.Message) int { return bytes.Compare(a.Payload, b.Payload) })
		compare(t, "delivered", want, got)
	}
}
