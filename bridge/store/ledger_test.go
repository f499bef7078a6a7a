package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// TestLedgerOverRestarts stops a pipeline with a buffer again and again while its sink fails now
// and then and never takes some messages: the ledger of each run balances, what one has in the
// buffer at its end the next one has at its beginning, and over all of them everything that came in
// is accounted for.
func TestLedgerOverRestarts(t *testing.T) {
	t.Parallel()
	rng := faulttest.Rand(t)
	const runs, total, batch = 12, 12_000, 37
	dir := t.TempDir()
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	letters := new(bridgetest.Downstream)
	luck := rand.New(rand.NewPCG(rng.Uint64(), 0)) //nolint:gosec // no secret; of the sink's goroutine
	var failing atomic.Bool
	down.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
		if failing.Load() || luck.IntN(20) == 0 {
			return luck.IntN(len(b)), errors.New("not now")
		}
		return len(b), nil
	}
	down.Refuse = func(m *bridge.Message) error {
		if m.Payload[len(m.Payload)-1] == '7' {
			return errors.New("never")
		}
		return nil
	}
	var sum engine.Ledger
	var held uint64
	for run := range runs {
		failing.Store(run%3 == 1)
		state := open(t, dir)
		p := &engine.Pipeline{
			Name: pipeline, State: state, Buffer: &bridge.BufferSettings{MaxBytes: 64 << 20}, MaxBatch: batch,
			From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}, To: engine.To(down.Endpoint()),
			OnError: bridge.OnError{
				Then: bridge.FateDeadLetter, DeadLetter: letters.Endpoint(),
				FirstWait: time.Millisecond, LongestWait: 5 * time.Millisecond,
			},
			DrainTimeout: 20 * time.Millisecond,
		}
		up.Send(numbered(run*total/runs+1, (run+1)*total/runs, 30)...)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx, bridgetest.Env(t, ""), nil) }()
		part := uint64(1 + rng.IntN(total/runs))
		if run == runs-1 {
			up.Finish()
		} else {
			bridgetest.Eventually(t, "some are read", func() bool { return p.Ledger().Received >= part })
			stop()
		}
		err := <-ended
		if err != nil && !errors.Is(err, engine.ErrNotDrained) {
			t.Fatal(err)
		}
		stop()
		l := p.Ledger()
		// What the store had no time for is in flight at the end, and comes again.
		if !l.Balanced() || l.InFlight != 0 && err == nil || l.Dropped != 0 || l.Made != 0 || l.Merged != 0 {
			t.Errorf("run %d: the ledger is %+v, %v", run, l, err)
		}
		if l.Carried != held {
			t.Errorf("run %d began with %d in the buffer, the one before ended with %d", run, l.Carried, held)
		}
		held = l.Buffered
		sum.Received += l.Received - l.InFlight
		sum.Delivered += l.Delivered
		sum.DeadLettered += l.DeadLettered
		shut(t, state)
	}
	const poisoned = total / 10
	// When the drain ends between a write and its dead letter, what was written behind the message
	// that is refused is not counted, and comes again.
	again := len(down.Got()) - int(sum.Delivered)
	if held != 0 || len(up.Acked()) != total || len(letters.Got()) < poisoned ||
		sum.DeadLettered != uint64(len(letters.Got())) ||
		again < 0 || again > runs*batch || sum.Received != sum.Delivered+sum.DeadLettered {
		t.Errorf("in all: %+v; %d acknowledged, %d delivered, %d dead letters, %d in the buffer", sum,
			len(up.Acked()), len(down.Got()), len(letters.Got()), held)
	}
	seen := make(map[string]bool)
	for _, m := range down.Got() {
		seen[string(m.Payload)] = true
	}
	if len(seen) != total-poisoned {
		t.Errorf("%d different messages were delivered, want %d", len(seen), total-poisoned)
	}
	t.Logf("%+v over %d runs", sum, runs)
}
