package monitor_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// lines is a source of batches, which blocks behind the last one.
type lines struct{ left []bridge.Batch }

func (l *lines) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if len(l.left) == 0 {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	b := l.left[0]
	l.left = l.left[1:]
	return b, func(context.Context, error) error { return nil }, nil
}

func (*lines) Close() error { return nil }

// door is a sink that blocks until it is opened.
type door struct{ open chan struct{} }

func (d door) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	select {
	case <-d.open:
		return bridge.Result{Settled: len(b)}, nil
	case <-ctx.Done():
		return bridge.Result{}, ctx.Err()
	}
}

func (door) Close() error { return nil }

// TestStatusWhileItRuns looks at a pipeline whose sink is down, then blocked, then well, and then
// paused.
func TestStatusWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("no route to host")
		var opens atomic.Bool
		d := door{make(chan struct{})}
		p := &engine.Pipeline{
			Name: "sensors",
			From: []bridge.Endpoint[bridge.Source]{{
				Type: "lines",
				Open: func(context.Context, bridge.Env) (bridge.Source, error) {
					return &lines{[]bridge.Batch{{{Payload: []byte("one")}}}}, nil
				},
			}},
			To: engine.To(bridge.Endpoint[bridge.Sink]{
				Type: "door",
				Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
					if !opens.Load() {
						return nil, down
					}
					return d, nil
				},
			}),
			StaleAfter: time.Minute,
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		go m.Run(ctx, b)
		look := func(want monitor.State, why string) monitor.Pipeline {
			t.Helper()
			synctest.Wait()
			got := m.Pipelines(b)[0]
			if got.State != want || !strings.Contains(got.Reason, why) {
				t.Errorf("%s: %q, want %s: %q", got.State, got.Reason, want, why)
			}
			return got
		}

		if got := look(monitor.Starting, "door sensors-to is down"); got.Ends[1].Reason != "no route to host" ||
			len(got.Errors) != 1 {
			t.Errorf("%+v", got)
		}
		opens.Store(true)
		time.Sleep(20 * time.Second) //nolint:forbidigo // of the bubble: it is opened
		if got := look(monitor.Running, ""); got.Owed != 1 || got.Oldest == nil || time.Since(*got.Oldest) <= 0 {
			t.Errorf("%+v", got)
		}
		close(d.open)
		if got := look(monitor.Running, ""); got.Owed != 0 || got.Oldest != nil || got.Ledger.Delivered != 1 ||
			got.Ends[1].Messages != 1 || got.Ends[1].Bytes != 3 {
			t.Errorf("%+v", got)
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // of the bubble
		look(monitor.Degraded, "stale_after")
		if err := b.Pause(ctx, "sensors"); err != nil {
			t.Fatal(err)
		}
		look(monitor.Paused, "")
		if err := b.Resume("sensors"); err != nil {
			t.Fatal(err)
		}
		if got := look(monitor.Running, ""); got.Ledger.Delivered != 2 || got.Ends[0].Opened != 2 {
			t.Errorf("%+v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// How much is left of a file, and for how long, goes by bytes of the file, and not by those of
// payloads: one that is packed would seem to be read in no time.
func TestProgressIsOfBytesOfTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var progress func(done, total int64)
		p := &engine.Pipeline{
			Name: "copy",
			From: []bridge.Endpoint[bridge.Source]{{
				Type: "lines",
				Open: func(_ context.Context, env bridge.Env) (bridge.Source, error) {
					progress = env.Progress
					progress(0, 1000)
					return &lines{[]bridge.Batch{{{Payload: make([]byte, 1e6)}}}}, nil
				},
			}},
			To: engine.To(bridge.Endpoint[bridge.Sink]{
				Type: "door",
				Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return door{}, nil },
			}),
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		go m.Run(ctx, b)
		synctest.Wait()
		if got := m.Pipelines(b)[0].Progress; got == nil || got.Done != 0 || got.Total != 1000 || got.Left != nil {
			t.Errorf("at first the progress is %+v", got)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // of the bubble
		progress(200, 1000)
		time.Sleep(10 * time.Second) //nolint:forbidigo // of the bubble
		switch got := m.Pipelines(b)[0].Progress; {
		case got == nil || got.Left == nil:
			t.Errorf("the progress is %+v", got)
		case *got.Left < 75 || *got.Left > 81: // 800 at 10 a second
			t.Errorf("%v seconds are left, want 80", *got.Left)
		}
		progress(1000, 1000)
		if got := m.Pipelines(b)[0].Progress; got == nil || got.Left != nil {
			t.Errorf("of an input that is read out the progress is %+v", got)
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, engine.ErrNotDrained) {
			t.Error(err)
		}
	})
}
