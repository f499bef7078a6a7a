package monitor

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// What is in a buffer is carried once by all pipelines of a name, however they follow one another,
// and is never received; what one has left is buffered until another one has emptied it.
func TestCountsOfPipelinesThatFollow(t *testing.T) {
	type run struct {
		counts   engine.Ledger
		buffered bool
	}
	received, failed := engine.Ledger{Received: 5, Delivered: 5}, engine.Ledger{Received: 1, DeadLettered: 1}
	for name, c := range map[string]struct {
		runs []run
		want engine.Ledger
	}{
		"the first finds some": {
			[]run{{engine.Ledger{Carried: 100, Delivered: 30, Buffered: 70}, true}},
			engine.Ledger{Carried: 100, Delivered: 30, Buffered: 70},
		},
		"the second has a buffer, with something of an earlier process": {
			[]run{{received, false}, {engine.Ledger{Carried: 100, Delivered: 40, Buffered: 60}, true}},
			engine.Ledger{Carried: 100, Received: 5, Delivered: 45, Buffered: 60},
		},
		"the first ends before it has opened its buffer": {
			[]run{{failed, true}, {engine.Ledger{Carried: 100, Buffered: 100}, true}},
			engine.Ledger{Carried: 100, Received: 1, DeadLettered: 1, Buffered: 100},
		},
		"the second has not opened it yet": {
			[]run{{engine.Ledger{Received: 9, Delivered: 2, Buffered: 7}, true}, {engine.Ledger{}, true}},
			engine.Ledger{Received: 9, Delivered: 2, Buffered: 7},
		},
		"the second empties it": {
			[]run{
				{engine.Ledger{Received: 9, Delivered: 2, Buffered: 7}, true},
				{engine.Ledger{Carried: 7, Received: 2, Delivered: 8, InFlight: 1}, true},
			},
			engine.Ledger{Received: 11, Delivered: 10, InFlight: 1},
		},
		"the second has no buffer": {
			[]run{
				{engine.Ledger{Received: 9, Delivered: 2, Buffered: 7}, true},
				{engine.Ledger{Received: 3, Delivered: 1, InFlight: 2}, false},
			},
			engine.Ledger{Received: 12, Delivered: 3, Buffered: 7, InFlight: 2},
		},
		"and the third has one again": {
			[]run{
				{engine.Ledger{Received: 9, Delivered: 2, Buffered: 7}, true},
				{engine.Ledger{Received: 3, Delivered: 3}, false},
				{engine.Ledger{Carried: 7, Delivered: 6, Buffered: 1}, true},
			},
			engine.Ledger{Received: 12, Delivered: 11, Buffered: 1},
		},
	} {
		var all engine.Counts
		for _, r := range c.runs {
			all = ofOneMoment(and(all, engine.Counts{Ledger: r.counts}), r.buffered)
		}
		if d := cmp.Diff(c.want, all.Ledger); d != "" || !all.Ledger.Balanced() {
			t.Errorf("%s: %s", name, d)
		}
	}
}
