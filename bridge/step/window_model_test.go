package step_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// Whatever the times, keys and settings, each message is in one window (in those that overlap, in
// one at least), or left out as configured; a window has nothing of another time; and at the end
// nothing is owed.
func TestWindowModel(t *testing.T) {
	kinds := []string{
		"every: 10s", "every: 10s, size: 30s", "session: 5s, max_session: 20s",
		`every: 10s, time: "{{ json.at }}"`, `every: 10s, size: 30s, time: "{{ json.at }}"`,
		`session: 5s, max_session: 20s, time: "{{ json.at }}"`,
	}
	rapid.Check(t, func(r *rapid.T) {
		kind, late := rapid.IntRange(0, len(kinds)-1).Draw(r,
			"kind"), rapid.SampledFrom([]string{"again", "drop", "refuse"}).Draw(r, "late")
		yaml := fmt.Sprintf(`window: {%s, late: %s, lateness: %ds, idle: 40s, key: "{{ topic }}", value: "{{ json.n }}", functions: [list, median]}`,
			kinds[kind], late, rapid.IntRange(0, 20).Draw(r, "lateness"))
		source := &clock{now: time.Unix(1_000_000, 0)}
		env := bridgetest.Env(t, "p-step")
		env.Clock = bridge.NewClock(source)
		p, err := parse("pipelines: {p: {from: stdio, to: stdio, steps: [" + yaml + "]}}")
		if err != nil {
			r.Fatal(err)
		}
		s, err := p.Pipelines[0].Steps[0].Open(t.Context(), env)
		if err != nil {
			r.Fatal(err)
		}
		var runner bridge.StepRunner
		var times []time.Time
		seen, calls := make(map[int]int), rapid.IntRange(1, 40).Draw(r, "calls")
		for call := 1; call <= calls+1; call++ {
			source.now = source.now.Add(time.Duration(rapid.IntRange(-5, 60).Draw(r, "wait")) * 200 * time.Millisecond)
			var in bridge.Batch
			for range rapid.IntRange(0, 5).Draw(r, "messages") {
				at := source.now.Add(time.Duration(rapid.IntRange(-60, 30).Draw(r, "off")) * time.Second)
				in = append(in, bridge.Message{
					Topic:   rapid.SampledFrom([]string{"a", "b"}).Draw(r, "topic"),
					Payload: fmt.Appendf(nil, `{"n":%d,"at":%d}`, len(times)+len(in), at.Unix()),
				})
			}
			first := len(times)
			for i := range in {
				var m struct{ At int64 }
				if err := json.Unmarshal(in[i].Payload, &m); err != nil {
					r.Fatal(err)
				}
				times = append(times, time.Unix(m.At, 0))
			}
			o, err := runner.Process(t.Context(), s, uint64(call), in, call == calls+1)
			if err != nil {
				r.Fatal(err)
			}
			for _, i := range o.Dropped {
				seen[first+i]++
			}
			for _, x := range o.Refused {
				seen[first+x.Index]++
			}
			for _, m := range o.Messages {
				var w struct {
					Start, End time.Time
					Count      int
					List       []int
				}
				if err := json.Unmarshal(m.Payload, &w); err != nil || w.Count != len(w.List) {
					r.Fatalf("%s: %v", m.Payload, err)
				}
				for _, n := range w.List {
					seen[n]++
					if kind == 3 || kind == 4 {
						if at := times[n]; at.Before(w.Start) || !at.Before(w.End) {
							r.Fatalf("%s has message %d of %s", m.Payload, n, at)
						}
					}
				}
			}
			if call == calls+1 && o.Released != uint64(call) {
				r.Fatalf("released %d of %d calls", o.Released, call)
			}
		}
		for n := range times {
			if overlap := kind == 1 || kind == 4; seen[n] == 0 || seen[n] > 1 && !overlap {
				r.Fatalf("%s: message %d was seen %d times", yaml, n, seen[n])
			}
		}
	})
}
