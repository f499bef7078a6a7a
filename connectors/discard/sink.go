package discard

import (
	"context"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

type sink struct{}

var _ bridge.Sink = sink{}

func (sink) Write(_ context.Context, batch bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(batch)}, nil
}

func (sink) Close() error { return nil }
