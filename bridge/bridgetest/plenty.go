package bridgetest

import (
	"context"
	"io"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Plenty is a source of as many messages of 256 bytes as it has left, in batches of Size, which costs
// next to nothing: for benchmarks. All payloads are the same bytes, and acknowledgements are ignored.
type Plenty struct {
	Left, Size int

	payload []byte
}

var _ bridge.Source = (*Plenty)(nil)

// Endpoint returns the source as a part of a pipeline, which opens it once.
func (p *Plenty) Endpoint() bridge.Endpoint[bridge.Source] {
	return bridge.Endpoint[bridge.Source]{
		Type: "memory",
		Open: func(context.Context, bridge.Env) (bridge.Source, error) { return p, nil },
	}
}

// Read returns the next batch, and io.EOF when nothing is left.
func (p *Plenty) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	n := min(p.Left, p.Size)
	if n == 0 {
		return nil, nil, io.EOF
	}
	if p.payload == nil {
		p.payload = make([]byte, 256)
	}
	p.Left -= n
	batch, now := make(bridge.Batch, n), time.Now()
	for i := range batch {
		batch[i] = bridge.Message{Topic: "a/b", Payload: p.payload, Time: now}
	}
	return batch, func(context.Context, error) error { return nil }, nil
}

// Close does nothing.
func (*Plenty) Close() error { return nil }

// Nowhere is a sink that confirms every message and keeps none.
type Nowhere struct{}

var _ bridge.Sink = Nowhere{}

// Endpoint returns the sink as a part of a pipeline.
func (n Nowhere) Endpoint() bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{
		Type: "nowhere",
		Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return n, nil },
	}
}

// Write confirms the batch.
func (Nowhere) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b)}, nil
}

// Close does nothing.
func (Nowhere) Close() error { return nil }
