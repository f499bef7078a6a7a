package main

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// TestSummary holds the lines for a pipeline over the minutes: what happened in each of them, and
// less of one that does nothing.
func TestSummary(t *testing.T) {
	var text bytes.Buffer
	s := &summary{log: slog.New(slog.NewTextHandler(&text,
		&slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey {
				return slog.Attr{}
			}
			return a
		}}))}
	p := monitor.Pipeline{Name: "sensors", State: monitor.Running}
	say := func(want string) {
		t.Helper()
		text.Reset()
		s.tell(time.Minute, []monitor.Pipeline{p})
		if want != "" {
			want = "pipeline=sensors " + want + "\n"
		}
		if d := cmp.Diff(want, text.String()); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
	p.Ledger = monitor.Ledger{Received: 100, Delivered: 90, Dropped: 3, InFlight: 7}
	p.Owed = 7
	say("in=100 out=90 owed=7 dropped=3 in_the_last=1m0s")
	say("in=0 out=0 owed=7 dropped=0 in_the_last=1m0s") // something hangs
	p.Ledger, p.Returned.Received = monitor.Ledger{Received: 101, Delivered: 96, DeadLettered: 2, Dropped: 3}, 7
	p.Owed = 0
	say("in=8 out=6 owed=0 dropped=0 dead_lettered=2 in_the_last=1m0s")
	say("in=0 out=0 owed=0 dropped=0 quiet_for=1m0s")
	for range 8 {
		say("")
	}
	say("in=0 out=0 owed=0 dropped=0 quiet_for=10m0s")
	say("")
	p.State, p.Reason = monitor.Degraded, "mqtt sensors-to is down"
	say(`in=0 out=0 owed=0 dropped=0 state=degraded why="mqtt sensors-to is down" in_the_last=1m0s`)
	p.Ledger.Delivered, p.State, p.Reason = 97, monitor.Finished, ""
	say("in=0 out=1 owed=0 dropped=0 state=finished in_the_last=1m0s")
	for range 12 {
		say("")
	}
	p.Ledger, p.Returned = monitor.Ledger{Received: 5, Delivered: 5}, monitor.Returned{} // removed, and there again
	say("in=5 out=5 owed=0 dropped=0 state=finished in_the_last=1m0s")
}
