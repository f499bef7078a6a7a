package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// shortStep cuts payloads to five bytes.
type shortStep struct{}

func (shortStep) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i, m := range b {
		m.Payload = m.Payload[:min(5, len(m.Payload))]
		out.Emit(i, m)
	}
	return nil
}

func (shortStep) Close() error { return nil }

// omittingSink leaves everything out, as a sink with a rate may be configured to.
type omittingSink struct{ bridge.Sink }

func (omittingSink) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	res := bridge.Result{Settled: len(b)}
	for i := range b {
		res.Omitted = append(res.Omitted, i)
	}
	return res, nil
}

func payloadsOf(d *bridgetest.Downstream) []string {
	var all []string
	for _, m := range d.Got() {
		all = append(all, string(m.Payload))
	}
	return all
}

// A letter goes to the sink that did not take it, and to no other one; what the buffer did not take
// goes through the steps to all of them.
func TestReplayGoesWhereItBelongs(t *testing.T) {
	t.Parallel()
	state := store.New(store.Settings{Dir: t.TempDir()}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	first, second := new(bridgetest.Downstream), new(bridgetest.Downstream)
	first.Refuse = func(*bridge.Message) error { return errors.New("not this one") }
	up := new(bridgetest.Upstream)
	up.Send(bridge.Message{Payload: []byte("small one")}, bridge.Message{Payload: []byte(strings.Repeat("large", 1<<19))})
	up.Finish()
	p := &engine.Pipeline{
		Name: "p", State: state, OnError: bridge.OnError{Then: bridge.FateDeadLetter},
		Buffer: &bridge.BufferSettings{MaxBytes: 4 << 20},
		From:   []bridge.Endpoint[bridge.Source]{up.Endpoint()},
		Steps: []bridge.Endpoint[bridge.Step]{{
			Type: "short",
			Open: func(context.Context, bridge.Env) (bridge.Step, error) { return shortStep{}, nil },
		}},
		To: engine.Branch{Branches: []engine.Branch{engine.To(first.Endpoint()), engine.To(second.Endpoint())}},
	}
	if err := p.Run(t.Context(), bridgetest.Env(t, ""), nil); err != nil {
		t.Fatal(err)
	}
	type letter struct {
		Instance string
		Attempts int
		Size     int
	}
	letters := func() (all []letter) {
		t.Helper()
		err := state.Letters(t.Context(), "p", func(l store.Letter) bool {
			all = append(all, letter{l.Instance, l.Attempts, len(l.Payload)})
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(all, func(a, b letter) int { // those of the buffer and of the sink are made side by side
			if a.Size != b.Size {
				return a.Size - b.Size
			}
			return b.Attempts - a.Attempts
		})
		return all
	}
	check := func(what string, wantLetters []letter, wantFirst, wantSecond []string) {
		t.Helper()
		if d := cmp.Diff(wantLetters, letters()); d != "" {
			t.Errorf("%s: letters: %s", what, d)
		}
		if d := cmp.Diff([][]string{wantFirst, wantSecond}, [][]string{payloadsOf(first), payloadsOf(second)}); d != "" {
			t.Errorf("%s: delivered: %s", what, d)
		}
	}
	again := func(wantErr string) {
		t.Helper()
		r := &replaying{
			Pipeline: p, std: std{in: strings.NewReader(""), data: io.Discard, err: new(bytes.Buffer)},
			log:   slog.New(slog.NewTextHandler(t.Output(), nil)),
			state: state, flags: new(stateFlags),
		}
		err := r.run(t.Context())
		if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("replay: %v", err)
		}
	}
	check("at first", []letter{{"p-to", 1, 5}, {"p-buffer", 1, 5 << 19}}, nil, []string{"small"})
	again("could not be delivered again, and kept: 2 dead letters by new numbers")
	check("after a replay in vain", []letter{{"p-to", 2, 5}, {"p-to", 1, 5}}, nil, []string{"small", "large"})
	first.Refuse = nil
	sink := &p.To.Branches[0].Sink
	takes := sink.Open
	sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
		s, err := takes(ctx, env)
		return omittingSink{s}, err
	}
	again("could not be delivered again, and kept: 2 dead letters by new numbers")
	check("after the sink has left them out", []letter{{"p-to", 3, 5}, {"p-to", 2, 5}}, nil, []string{"small", "large"})
	sink.Open = takes
	again("")
	check("at last", nil, []string{"small", "large"}, []string{"small", "large"})
}
