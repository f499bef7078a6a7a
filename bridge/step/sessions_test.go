package step

import (
	"fmt"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// TestSessionsThatEndEarlyAreForgotten has sessions that become too long, over and over: what is
// known of one goes with it, and not when it would have ended, since messages say when that is.
func TestSessionsThatEndEarlyAreForgotten(t *testing.T) {
	parts, err := expr.Split("{{ json }}")
	if err != nil {
		t.Fatal(err)
	}
	s := &windowSettings{Session: time.Hour, MaxSession: time.Hour, MaxKeys: 1, MaxBytes: 1 << 20}
	if s.Time, err = parts.Value(); err != nil {
		t.Fatal(err)
	}
	opened, err := openWindow(t.Context(), s, bridgetest.Env(t, "p-step"))
	if err != nil {
		t.Fatal(err)
	}
	w, ended := opened.(*window), 0
	var runner bridge.StepRunner
	for i := range uint64(1000) {
		// The second one of two is nearly an hour before the first, which is too long before the
		// next.
		at := float64(i/2)/100 - float64(i%2)*3599.995
		o, err := runner.Process(t.Context(), w, i+1, bridge.Batch{{Payload: fmt.Append(nil, at)}}, false)
		if err != nil || len(o.Refused) > 0 {
			t.Fatal(err, o.Refused)
		}
		ended += len(o.Messages)
	}
	if open := len(w.series[""].cells); ended < 400 || len(w.ends) != open {
		t.Errorf("%d sessions have ended, %d are open, and %d are known", ended, open, len(w.ends))
	}
}
