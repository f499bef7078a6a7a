package engine_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// A pipeline that is made again has every setting, and what is done to its endpoints is not done to
// the first one.
func TestAgainHasAllSettings(t *testing.T) {
	open := func(context.Context, bridge.Env) (bridge.Sink, error) { return nil, nil } //nolint:nilnil // never called
	letters := func() *bridge.OnError { return &bridge.OnError{DeadLetter: bridge.Endpoint[bridge.Sink]{Open: open}} }
	p := &engine.Pipeline{
		Name: "p", From: []bridge.Endpoint[bridge.Source]{{Type: "from", OnError: letters()}},
		Steps: []bridge.Endpoint[bridge.Step]{{Type: "step", OnError: letters()}},
		To: engine.Branch{Branches: []engine.Branch{{
			Steps: []bridge.Endpoint[bridge.Step]{{Type: "step", OnError: letters()}}, OnError: letters(),
			Sink: bridge.Endpoint[bridge.Sink]{Type: "to", OnError: letters()},
		}}},
		OnError: *letters(), State: struct{ bridge.State }{}, Buffer: &bridge.BufferSettings{MaxBytes: 1}, MaxInFlight: 2,
		OrderBy: bridge.Text("x"), MaxBatch: 3, DrainTimeout: time.Second,
		Jitter: func(time.Duration) time.Duration { return 0 },
		Clock:  bridge.NewClock(struct{ bridge.TimeSource }{}), Restart: engine.Restart{Off: true}, Optional: true,
		StaleAfter: time.Minute,
	}
	again := p.Again()
	of, made := reflect.ValueOf(p).Elem(), reflect.ValueOf(again).Elem()
	for i := range of.NumField() {
		switch f := of.Type().Field(i); {
		case !f.IsExported():
		case of.Field(i).IsZero():
			t.Errorf("the test does not set %s", f.Name)
		case made.Field(i).IsZero():
			t.Errorf("%s is left out", f.Name)
		}
	}
	again.From[0].Type, again.Steps[0].Type, again.OnError.DeadLetter.Open = "changed", "changed", nil
	one := &again.To.Branches[0]
	one.Sink.Type, one.Steps[0].Type = "changed", "changed"
	for _, on := range []*bridge.OnError{
		again.From[0].OnError, again.Steps[0].OnError, one.Steps[0].OnError, one.OnError, one.Sink.OnError,
	} {
		on.DeadLetter.Open = nil
	}
	was := &p.To.Branches[0]
	for i, on := range []*bridge.OnError{
		p.From[0].OnError, p.Steps[0].OnError, was.Steps[0].OnError, was.OnError, was.Sink.OnError, &p.OnError,
	} {
		if on.DeadLetter.Open == nil {
			t.Errorf("on_error %d is shared", i)
		}
	}
	if p.From[0].Type != "from" || p.Steps[0].Type != "step" || was.Sink.Type != "to" || was.Steps[0].Type != "step" {
		t.Error("an endpoint is shared")
	}
}
