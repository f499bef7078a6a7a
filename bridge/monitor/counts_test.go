package monitor_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// TestCountsOnlyGrow looks at a pipeline all the time, while messages flow that are filtered, split
// and refused, steps fail, and the pipeline is stopped with something in flight, started again, and
// replaced by another one of its name: at every look the equation holds, and no counter is smaller
// than before.
func TestCountsOnlyGrow(t *testing.T) {
	rng := faulttest.Rand(t)
	const rounds, each = 6, 500
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	down.Refuse = func(m *bridge.Message) error {
		if m.Payload[len(m.Payload)-1] == '3' {
			return errors.New("never")
		}
		return nil
	}
	var blocked atomic.Bool
	var luck sync.Mutex // guards rng
	down.Fault = func(ctx context.Context, b bridge.Batch) (int, error) {
		if blocked.Load() {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		luck.Lock()
		defer luck.Unlock()
		if rng.IntN(8) == 0 {
			return rng.IntN(len(b)), errors.New("not now")
		}
		return len(b), nil
	}
	build := func() *engine.Pipeline {
		return &engine.Pipeline{
			Name: "p", MaxBatch: 16, MaxInFlight: 3,
			From: []bridge.Endpoint[bridge.Source]{up.Endpoint()},
			Steps: []bridge.Endpoint[bridge.Step]{{Type: "play", Open: func(context.Context, bridge.Env) (bridge.Step, error) {
				return play{}, nil
			}}},
			To: engine.To(down.Endpoint()), DrainTimeout: time.Millisecond,
			OnError: bridge.OnError{Then: bridge.FateDrop, FirstWait: time.Millisecond, LongestWait: time.Millisecond},
		}
	}
	m, first := monitor.New(), build()
	m.Watch(first)
	b := &engine.Bridge{Pipelines: []*engine.Pipeline{first}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()

	var before monitor.Pipeline
	looks := 0
	var looking sync.Mutex // guards both
	look := func() {
		looking.Lock()
		defer looking.Unlock()
		looks++
		for _, p := range m.Pipelines(b) {
			grows(t, before, p)
			before = p
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				look()
			}
		}
	}()
	now := first
	for round := range rounds {
		messages := make([]bridge.Message, each)
		for i := range messages {
			messages[i] = bridge.Message{Payload: []byte{'a', byte('0' + i%10)}}
		}
		sent := now.Ledger().Received
		up.Send(messages...)
		bridgetest.Eventually(t, "some are read", func() bool { return now.Ledger().Received > sent })
		blocked.Store(round > 1) // so that something is given back
		if round > 1 {
			up.Send(messages...)
			bridgetest.Eventually(t, "some are in flight", func() bool { return now.Ledger().InFlight > 0 })
		}
		if round%2 == 0 {
			if err := b.Pause(ctx, "p"); err != nil && !errors.Is(err, engine.ErrNotDrained) {
				t.Fatal(err)
			}
			look()
			blocked.Store(false)
			if err := b.Resume("p"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		release, old := b.Hold(), now
		now = build()
		if err := b.Stop(ctx, "p"); err != nil && !errors.Is(err, engine.ErrNotDrained) {
			t.Fatal(err)
		}
		look()
		m.Retire(old)
		look()
		m.Watch(now)
		look()
		blocked.Store(false)
		if err := b.Start(now); err != nil {
			t.Fatal(err)
		}
		release()
	}
	up.Finish()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(stop)
	<-stopped
	look()
	l := before.Ledger
	if l.InFlight != 0 || l.Received < rounds*each || l.Delivered == 0 || l.Filtered == 0 || l.Made == 0 ||
		l.Dropped == 0 ||
		before.Returned.Received == 0 {
		t.Errorf("%+v", l)
	}
	t.Logf("%d looks: %+v, returned %+v", looks, l, before.Returned)
}

// grows checks that the ledger of b is in balance, and that no count is smaller than in a, which was
// seen before.
func grows(t *testing.T, a, b monitor.Pipeline) {
	t.Helper()
	l := b.Ledger
	if in, out := l.Carried+l.Received+l.Made, l.Delivered+l.Filtered+l.Merged+l.DeadLettered+l.Dropped+l.Buffered+
		l.InFlight; in != out {
		t.Errorf("%d have come and %d are accounted for: %+v", in, out, l)
	}
	for name, was := range counters(a) {
		if is := counters(b)[name]; is < was {
			t.Errorf("%s was %d and is %d", name, was, is)
		}
	}
}

func counters(p monitor.Pipeline) map[string]uint64 {
	l := p.Ledger
	all := map[string]uint64{
		"carried": l.Carried, "received": l.Received + p.Returned.Received, "made": l.Made + p.Returned.Made,
		"returned received": p.Returned.Received, "returned made": p.Returned.Made,
		"delivered": l.Delivered, "filtered": l.Filtered, "merged": l.Merged, "dead-lettered": l.DeadLettered,
		"dropped":  l.Dropped,
		"bytes in": p.BytesIn, "bytes out": p.BytesOut, "restarts": p.Restarts,
	}
	for _, c := range p.Reasons {
		all[c.Outcome+" "+c.Reason] = c.N
	}
	return all
}

// play leaves out, passes on, or makes several of a message, by its last byte.
type play struct{}

func (play) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		switch b[i].Payload[len(b[i].Payload)-1] {
		case '1':
			out.Drop(i)
		case '2':
			out.Emit(i, b[i])
			out.Emit(i, b[i])
			out.Emit(i, b[i])
		default:
			out.Pass(i)
		}
	}
	return nil
}

func (play) Close() error { return nil }
