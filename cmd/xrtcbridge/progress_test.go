package main

import (
	"context"
	"io"
	"testing"
	"testing/synctest"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// readOut is a source of one message, and a sink that takes it when it is released.
type readOut struct{ batches, release chan bridge.Batch }

func (r readOut) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	if b, ok := <-r.batches; ok {
		return b, func(context.Context, error) error { return nil }, nil
	}
	return nil, nil, io.EOF
}

func (r readOut) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	<-r.release
	return bridge.Result{Settled: len(b)}, nil
}

func (readOut) Close() error { return nil }

// The bar is not at its end while a message that was read waits for its sink.
func TestBarIsNotAtItsEndBeforeAllIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := readOut{make(chan bridge.Batch, 1), make(chan bridge.Batch)}
		r.batches <- bridge.Batch{{Payload: []byte("x")}}
		close(r.batches)
		b := &engine.Bridge{Pipelines: []*engine.Pipeline{{
			Name: "p",
			From: []bridge.Endpoint[bridge.Source]{{Type: "in", Open: func(_ context.Context, env bridge.Env) (
				bridge.Source, error,
			) {
				env.Progress(100, 100)
				return r, nil
			}}},
			To: engine.To(bridge.Endpoint[bridge.Sink]{
				Type: "out", Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return r, nil },
			}),
		}}}
		done := make(chan error, 1)
		go func() { done <- b.Run(t.Context()) }()
		synctest.Wait()
		if read, total := progress(b); read != 99 || total != 100 {
			t.Errorf("%d of %d while a message waits, want 99 of 100", read, total)
		}
		close(r.release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if read, total := progress(b); read != 100 || total != 100 {
			t.Errorf("%d of %d at the end", read, total)
		}
	})
}
