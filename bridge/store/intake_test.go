package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// A sink that has failed for good stops the delivery until that is started again, and not the
// filling of the buffer: what cannot be sent twice would be lost meanwhile.
func TestBufferIsFilledWhileTheDeliveryHasFailed(t *testing.T) {
	state := open(t, t.TempDir())
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	var mended atomic.Bool
	var opened atomic.Int32
	sink := down.Endpoint()
	sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
		if opened.Add(1); !mended.Load() {
			return nil, bridge.Permanent(errors.New("wrong password"))
		}
		return down.Open(ctx, env)
	}
	p := &engine.Pipeline{
		Name: pipeline, State: state, Buffer: new(bridge.BufferSettings), To: engine.To(sink),
		From:    []bridge.Endpoint[bridge.Source]{up.Endpoint()},
		Restart: engine.Restart{First: 20 * time.Millisecond, Most: 50 * time.Millisecond},
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- (&engine.Bridge{Pipelines: []*engine.Pipeline{p}}).Run(ctx) }()
	bridgetest.Eventually(t, "the delivery has failed twice", func() bool { return opened.Load() > 2 })
	up.Send(numbered(1, 100, 10)...)
	bridgetest.Eventually(t, "all are in the buffer", func() bool { return len(up.Acked()) == 100 })
	if l := p.Ledger(); l.Buffered != 100 || !l.Balanced() {
		t.Errorf("the ledger is %+v", l)
	}
	mended.Store(true)
	bridgetest.Eventually(t, "all are delivered", func() bool { return len(down.Got()) == 100 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	shut(t, state)
}
