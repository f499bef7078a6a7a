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
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// shortStep cuts payloads to five bytes.
type shortStep struct{}

func (shortStep) Process(_ context.Context, b bridge.Batch) (bridge.Batch, error) {
	for i := range b {
		b[i].Payload = b[i].Payload[:min(5, len(b[i].Payload))]
	}
	return b, nil
}

func (shortStep) Close() error { return nil }

// droppingSink leaves everything out, as a sink with a rate may be configured to.
type droppingSink struct {
	bridge.Sink
	env bridge.Env
}

func (d droppingSink) Write(_ context.Context, b bridge.Batch) (int, error) {
	d.env.Dropped(len(b))
	return len(b), nil
}

func payloadsOf(d *bridgetest.Downstream) []string {
	var all []string
	for _, m := range d.Got() {
		all = append(all, string(m.Payload))
	}
	return all
}

// A letter goes to the sink that did not take it, and to no other one; what the buffer did not take goes through the steps to all of them.
func TestReplayGoesWhereItBelongs(t *testing.T) {
	state := store.New(store.Settings{Dir: t.TempDir()}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	first, second := new(bridgetest.Downstream), new(bridgetest.Downstream)
	first.Fault = func(context.Context, bridge.Batch) (int, error) {
		return 0, bridge.Permanent(errors.New("not this one"))
	}
	up := new(bridgetest.Upstream)
	up.Send(bridge.Message{Payload: []byte("small one")}, bridge.Message{Payload: []byte(strings.Repeat("large", 1<<20))})
	up.Finish()
	p := &bridge.Pipeline{
		Name: "p", State: state, OnError: bridge.OnError{Then: bridge.FateDeadLetter}, Buffer: &bridge.BufferSettings{MaxBytes: 4 << 20},
		From:  []bridge.Endpoint[bridge.Source]{up.Endpoint()},
		Steps: []bridge.Endpoint[bridge.Step]{{Type: "short", Open: func(context.Context, bridge.Env) (bridge.Step, error) { return shortStep{}, nil }}},
		To:    []bridge.Endpoint[bridge.Sink]{first.Endpoint(), second.Endpoint()},
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
		slices.SortFunc(all, func(a, b letter) int { return a.Size - b.Size })
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
		err := replay(t.Context(), std{in: strings.NewReader(""), out: io.Discard, err: new(bytes.Buffer)}, state, p, nil)
		if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("replay: %v", err)
		}
	}
	check("at first", []letter{{"p-to-1", 1, 5}, {"p-buffer", 1, 5 << 20}}, nil, []string{"small"})
	again("2 dead letters could not be delivered again")
	check("after a replay in vain", []letter{{"p-to-1", 2, 5}, {"p-to-1", 1, 5}}, nil, []string{"small", "large"})
	first.Fault = func(_ context.Context, b bridge.Batch) (int, error) { return len(b), nil }
	drops := p.To[0]
	p.To[0].Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
		sink, err := drops.Open(ctx, env)
		return droppingSink{sink, env}, err
	}
	again("2 dead letters could not be delivered again")
	check("after the sink has dropped them", []letter{{"p-to-1", 3, 5}, {"p-to-1", 2, 5}}, nil, []string{"small", "large"})
	p.To[0] = drops
	again("")
	check("at last", nil, []string{"small", "large"}, []string{"small", "large"})
}
