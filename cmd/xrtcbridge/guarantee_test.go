package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func from(level bridge.Level, unacked int) []bridge.Endpoint[bridge.Source] {
	return []bridge.Endpoint[bridge.Source]{{Type: "in", Description: bridge.Description{
		Guarantee: bridge.Guarantee{Level: level, StableIDs: true}, MaxUnacked: unacked,
	}}}
}

func to(level bridge.Level, o *bridge.OnError) bridge.Branch {
	b := bridge.To(bridge.Endpoint[bridge.Sink]{Type: "out", Description: bridge.Description{Guarantee: bridge.Guarantee{Level: level}}})
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
	stalls := "in hands over 20 messages and then waits for them, so that a step window that holds more stalls; buffer: disk ends that"
	for _, c := range []struct {
		name     string
		p        *bridge.Pipeline
		want     string
		order    string
		warnings string
	}{
		{"once", &bridge.Pipeline{From: from(least, 0), To: to(once, nil)}, "once, de-duplicated", "in order", ""},
		{"a window", &bridge.Pipeline{From: from(least, 20), Steps: windowSteps(nil), To: to(once, nil)}, "at least once", "in order", stalls},
		{"a window behind a buffer", &bridge.Pipeline{From: from(least, 20), Steps: windowSteps(nil), To: to(once, nil), Buffer: new(bridge.BufferSettings)}, "at least once", "in order", ""},
		{"a window in a branch", &bridge.Pipeline{From: from(least, 20), To: bridge.Branch{Steps: windowSteps(nil), Branches: []bridge.Branch{to(once, nil)}}}, "at least once", "in order", stalls},
		{"the weakest of all", &bridge.Pipeline{From: from(least, 0), To: bridge.Branch{Branches: []bridge.Branch{to(once, nil), to(bridge.LevelAtMostOnce, nil)}}}, "at most once", "in order", ""},
		{"one of any", &bridge.Pipeline{From: from(least, 0), To: bridge.Branch{Mode: bridge.ModeAny, Branches: []bridge.Branch{to(once, nil), to(once, nil)}}}, "at least once", "in order", ""},
		{"in turn", &bridge.Pipeline{From: from(least, 0), To: bridge.Branch{Mode: bridge.ModeShare, Branches: []bridge.Branch{to(once, nil), to(once, nil)}}}, "at least once", "in no order (share)", ""},
		{"by key", &bridge.Pipeline{From: from(least, 0), To: bridge.Branch{Mode: bridge.ModeShare, By: bridge.Text("x"), Branches: []bridge.Branch{to(once, nil), to(once, nil)}}}, "once, de-duplicated", "in order", ""},
		{"dropped in a branch", &bridge.Pipeline{From: from(least, 0), To: bridge.Branch{Branches: []bridge.Branch{to(once, nil), to(once, drop)}}}, "at most once", "in order", ""},
		{"dropped by a step", &bridge.Pipeline{From: from(least, 0), Steps: windowSteps(drop), To: to(once, nil)}, "at most once", "in order", ""},
		{"dropped nowhere, though it says so around", &bridge.Pipeline{
			From: []bridge.Endpoint[bridge.Source]{{Description: from(least, 0)[0].Description, OnError: letters}}, To: to(least, letters), OnError: *drop,
		}, "at least once", "in order", ""},
		{"overtaking in a branch", &bridge.Pipeline{From: from(least, 0), To: bridge.Branch{MaxInFlight: 2, Branches: []bridge.Branch{to(least, nil)}}}, "at least once", "in no order (max_in_flight)", ""},
		{"lanes", &bridge.Pipeline{From: from(least, 0), To: to(least, nil), MaxInFlight: 2, OrderBy: bridge.Text("x")}, "at least once", "in order for each key (order_by)", ""},
	} {
		got := promised(c.p, store.Settings{})
		if d := cmp.Diff([]string{c.want, c.order, c.warnings}, []string{got.Guarantee, got.Order, strings.Join(got.Warnings, "\n")}); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
