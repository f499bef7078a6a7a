package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func from(level bridge.Level, unacked int) []bridge.Endpoint[bridge.Source] {
	return []bridge.Endpoint[bridge.Source]{{Type: "in", Description: bridge.Description{
		Guarantee: bridge.Guarantee{Level: level, StableIDs: true}, MaxUnacked: unacked,
	}}}
}

func to(level bridge.Level, o *bridge.OnError) engine.Branch {
	b := engine.To(bridge.Endpoint[bridge.Sink]{
		Type:        "out",
		Description: bridge.Description{Guarantee: bridge.Guarantee{Level: level}},
	})
	b.OnError = o
	return b
}

func windowSteps(o *bridge.OnError) []bridge.Endpoint[bridge.Step] {
	return []bridge.Endpoint[bridge.Step]{{Type: "window", Description: bridge.Description{Holds: true}, OnError: o}}
}

// What a pipeline guarantees is what its weakest place does, wherever in the tree that is.
func TestPromises(t *testing.T) {
	drop, letters := &bridge.OnError{Then: bridge.FateDrop}, &bridge.OnError{Then: bridge.FateDeadLetter}
	once, least := bridge.LevelOnce, bridge.LevelAtLeastOnce
	stalls := "in hands over 20 messages and then waits for them, so that a step window that holds more stalls; " +
		"buffer: disk ends that"
	for _, c := range []struct {
		name     string
		p        *engine.Pipeline
		want     string
		order    string
		warnings string
	}{
		{"once", &engine.Pipeline{From: from(least, 0), To: to(once, nil)}, "once, de-duplicated", "in order", ""},
		{
			"a window", &engine.Pipeline{From: from(least, 20), Steps: windowSteps(nil), To: to(once, nil)},
			"at least once", "in order", stalls,
		},
		{"a window behind a buffer", &engine.Pipeline{
			From: from(least, 20), Steps: windowSteps(nil),
			To: to(once, nil), Buffer: new(bridge.BufferSettings),
		}, "at least once", "in order", ""},
		{"a window in a branch", &engine.Pipeline{
			From: from(least, 20),
			To: engine.Branch{
				Steps:    windowSteps(nil),
				Branches: []engine.Branch{to(once, nil)},
			},
		}, "at least once", "in order", stalls},
		{"the weakest of all", &engine.Pipeline{
			From: from(least, 0),
			To: engine.Branch{Branches: []engine.Branch{
				to(once, nil),
				to(bridge.LevelAtMostOnce, nil),
			}},
		}, "at most once", "in order", ""},
		{"one of any", &engine.Pipeline{
			From: from(least, 0),
			To: engine.Branch{
				Mode:     engine.ModeAny,
				Branches: []engine.Branch{to(once, nil), to(once, nil)},
			},
		}, "at least once", "in order", ""},
		{"in turn", &engine.Pipeline{
			From: from(least, 0),
			To: engine.Branch{
				Mode:     engine.ModeShare,
				Branches: []engine.Branch{to(once, nil), to(once, nil)},
			},
		}, "at least once", "in no order (share)", ""},
		{"by key", &engine.Pipeline{
			From: from(least, 0),
			To: engine.Branch{
				Mode: engine.ModeShare, By: bridge.Text("x"),
				Branches: []engine.Branch{to(once, nil), to(once, nil)},
			},
		}, "once, de-duplicated", "in order", ""},
		{"dropped in a branch", &engine.Pipeline{
			From: from(least, 0),
			To:   engine.Branch{Branches: []engine.Branch{to(once, nil), to(once, drop)}},
		}, "once, de-duplicated, drops", "in order", ""},
		{
			"dropped by any", &engine.Pipeline{
				From: from(least, 0),
				To: engine.Branch{
					Mode: engine.ModeAny, OnError: drop,
					Branches: []engine.Branch{to(least, letters), to(least, nil)},
				},
			}, "at least once, drops", "in order", "",
		},
		{"dropped by a route", &engine.Pipeline{
			From: from(least, 0),
			To: engine.Branch{
				Mode: engine.ModeRoute, OnError: drop,
				Branches: []engine.Branch{to(least, letters)},
			},
		}, "at least once, drops", "in order", ""},
		{
			"dropped by a step", &engine.Pipeline{From: from(least, 0), Steps: windowSteps(drop), To: to(once, nil)},
			"at least once, drops", "in order", "",
		},
		{"dropped nowhere, though it says so around", &engine.Pipeline{
			From: []bridge.Endpoint[bridge.Source]{{
				Description: from(least, 0)[0].Description,
				OnError:     letters,
			}}, To: to(least, letters), OnError: *drop,
		}, "at least once", "in order", ""},
		{"overtaking in a branch", &engine.Pipeline{
			From: from(least, 0),
			To: engine.Branch{MaxInFlight: 2, Branches: []engine.Branch{to(least,
				nil)}},
		}, "at least once", "in no order (max_in_flight)", ""},
		{"lanes", &engine.Pipeline{
			From: from(least, 0), To: to(least, nil), MaxInFlight: 2,
			OrderBy: bridge.Text("x"),
		}, "at least once", "in order for each key (order_by)", ""},
	} {
		got := promised(c.p, store.Settings{}, "")
		guarantee := got.Guarantee
		if got.Drops {
			guarantee += ", drops"
		}
		if d := cmp.Diff([]string{c.want, c.order, c.warnings},
			[]string{guarantee, got.Order, strings.Join(got.Warnings, "\n")}); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// Where a message is that stops its pipeline hangs on who can deliver it again.
func TestStoppedMessageStays(t *testing.T) {
	again, lost, unknown := from(bridge.LevelAtLeastOnce, 0), from(bridge.LevelAtMostOnce, 0), from(bridge.LevelUnknown, 0)
	for name, c := range map[string]struct {
		from     []bridge.Endpoint[bridge.Source]
		buffered bool
		want     string
	}{
		"a source that delivers again": {again, false, "stays with its source"},
		"a pipe":                       {lost, false, "is lost, as its source cannot deliver it again"},
		"a pipe behind a buffer":       {lost, true, "stays in the buffer"},
		"both": {
			append(again[:1:1], lost...), false,
			"stays with its source, if that can deliver it again",
		},
		"who knows": {unknown, false, "stays with its source, if that can deliver it again"},
	} {
		p := &engine.Pipeline{From: c.from, To: to(bridge.LevelOnce, nil)}
		if c.buffered {
			p.Buffer = new(bridge.BufferSettings)
		}
		got, want := promised(p, store.Settings{}, "").OnError.Why, "what fails for good stops the pipeline and "+c.want
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
