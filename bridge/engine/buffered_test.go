package engine_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// inMemory is a state that has one buffer, which is an upstream.
type inMemory struct{ bridgetest.Upstream }

func (*inMemory) Checkpoint(string, string) bridge.Checkpoint { return new(bridge.MemoryCheckpoint) }

func (s *inMemory) Buffer(string, bridge.BufferSettings) bridge.Buffer { return buffer{s} }

func (*inMemory) DeadLetters(string) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{}
}

type buffer struct{ *inMemory }

func (b buffer) OpenSink(context.Context, bridge.Env) (bridge.Sink, error) {
	return sinkFunc(func(_ context.Context, ms bridge.Batch) (bridge.Result, error) {
		b.Send(ms...)
		return bridge.Result{Settled: len(ms)}, nil
	}), nil
}

func (b buffer) OpenSource(ctx context.Context, env bridge.Env) (bridge.Source, error) {
	return b.Open(ctx, env)
}

func (b buffer) Finish(finished bool) {
	if finished {
		b.Upstream.Finish()
	}
}

func (buffer) Held() (h bridge.Held) { return h }

// The two halves of a pipeline with a buffer write dead letters by instances of different names.
func TestHalvesHaveDifferentNamesForDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards open
		open := make(map[string]bool)
		set := func(name string, now bool) {
			mu.Lock()
			defer mu.Unlock()
			if now && open[name] {
				t.Errorf("two instances are %s at once", name)
			}
			open[name] = now
		}
		slow := &bridgetest.Downstream{Fault: new(gauge).fault}
		p := between(finished(bridgetest.Numbered(10)...), slow)
		p.State, p.Buffer = new(inMemory), new(bridge.BufferSettings)
		p.OnError.Then = bridge.FateDeadLetter
		p.OnError.DeadLetter = bridge.Endpoint[bridge.Sink]{
			Type: "test",
			Open: func(_ context.Context, env bridge.Env) (bridge.Sink, error) {
				set(env.Instance, true)
				return withClose{sinkFunc(takeAll), func() { set(env.Instance, false) }}, nil
			},
		}
		if err := p.Run(t.Context(), bridgetest.Env(t, ""), nil); err != nil {
			t.Error(err)
		}
		compare(t, "delivered", bridgetest.Numbered(10), slow.Got())
		if len(open) != 2 {
			t.Errorf("the instances were %v, want one of each half", open)
		}
	})
}

// A stop is well though dead letters cannot be written, since what they are made of is buffered.
func TestStopWithABufferIsWellThoughDeadLettersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := new(bridgetest.Upstream)
		up.Send(texts("bad")...)
		p := between(up, refusing("bad"))
		p.State, p.Buffer = new(inMemory), new(bridge.BufferSettings)
		p.OnError.Then = bridge.FateDeadLetter
		p.OnError.DeadLetter = (&bridgetest.Downstream{Fault: down}).Endpoint()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := p.Run(ctx, bridgetest.Env(t, ""), nil); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if took := time.Since(start) - time.Minute; took > 6*time.Second {
			t.Errorf("the stop took %s", took)
		}
		compare(t, "acked", texts("bad"), up.Acked())
	})
}
