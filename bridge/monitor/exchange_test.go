package monitor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// passes is a step that lets all pass but x.
func passes(b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		if string(b[i].Payload) == "x" {
			out.Drop(i)
		} else {
			out.Pass(i)
		}
	}
	return nil
}

// drops is one that lets nothing pass.
func drops(b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Drop(i)
	}
	return nil
}

// TestExchange exchanges a pipeline for one with ends of the same names: the counts go on. What was
// wrong with the old one is not said of the new one, what is wrong with that is, and it is not
// connected before its own ends are.
func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails, fail := true, errors.New("connection reset")
		first := &engine.Pipeline{
			Name: "p", From: []bridge.Endpoint[bridge.Source]{source("a", "b", "c", "x")},
			Steps: []bridge.Endpoint[bridge.Step]{stepOf("filter", passes)},
			To: engine.To(sinkOf("out", func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				if fails {
					fails = false
					return bridge.Result{}, fail
				}
				return bridge.Result{Settled: len(b)}, nil
			})),
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{first}}
		m.Watch(first)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(time.Minute) //nolint:forbidigo // of the bubble: it is opened again
		synctest.Wait()
		look := func() monitor.Pipeline { return m.Pipelines(b)[0] }
		if got := look(); got.State != monitor.Running || got.Ledger.Delivered != 3 || len(got.Errors) == 0 {
			t.Fatalf("%+v", got)
		}

		ready, open := make(chan struct{}), make(chan struct{})
		next := &engine.Pipeline{
			Name: "p", From: []bridge.Endpoint[bridge.Source]{source("d", "e")},
			Steps: []bridge.Endpoint[bridge.Step]{stepOf("filter", drops)}, To: engine.To(sinkOf("out", takes)),
		}
		inner, sink := next.From[0].Open, next.To.Sink.Open
		next.To.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			<-ready
			return sink(ctx, env)
		}
		next.From[0].Open = func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
			<-open
			return inner(ctx, env)
		}
		exchange := func(next *engine.Pipeline) {
			t.Helper()
			was := b.Situations()[0].Pipeline
			defer b.Hold()()
			if err := b.Stop(ctx, "p"); err != nil && !errors.Is(err, engine.ErrNeverConnected) {
				t.Fatal(err)
			}
			m.Retire(was)
			m.Watch(next)
			if err := b.Start(next); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		exchange(next)
		got := look()
		if got.Ends[0].State != monitor.EndIdle || !got.Ends[0].Since.Equal(time.Now()) {
			t.Errorf("before its sink is open: %+v", got)
		}
		close(ready)
		synctest.Wait()
		got = look()
		if got.State != monitor.Starting || got.Connected() || !got.Undecided() || len(got.Errors) != 0 ||
			got.Ends[0].State != monitor.EndConnecting || got.Ends[1].Passed != 3 || got.Ends[0].Messages != 4 {
			t.Errorf("before its source is open: %+v", got)
		}
		close(open)
		synctest.Wait()
		got = look()
		if want := "filter p-step has got 2 messages"; got.State != monitor.Running || !got.Connected() ||
			!strings.Contains(strings.Join(got.Notes, "\n"), want) || got.Ends[0].Messages != 6 {
			t.Errorf("it does not say %q: %+v", want, got)
		}

		// An end that has failed for good is not one that was tried: its pipeline fails in a moment.
		for _, c := range []struct {
			err       error
			undecided bool
		}{{fail, false}, {bridge.Permanent(fail), true}} {
			last, shut := next.Again(), make(chan struct{})
			last.From = append(last.From, bridge.Endpoint[bridge.Source]{
				Type: "other",
				Open: func(context.Context, bridge.Env) (bridge.Source, error) { return slow{shut}, nil },
			})
			last.From[0] = bridge.Endpoint[bridge.Source]{
				Type: "lines",
				Open: func(context.Context, bridge.Env) (bridge.Source, error) { return nil, c.err },
			}
			exchange(last)
			if got := look(); got.Ends[0].Permanent != c.undecided || got.Undecided() != c.undecided ||
				got.State != monitor.Starting || got.Connected() {
				t.Errorf("%v: %+v", c.err, got)
			}
			close(shut)
		}
		cancel()
		<-done //nolint:errcheck // of the last one the source was never connected
	})
}

// slow is a source that needs leave to close.
type slow struct{ leave chan struct{} }

func (slow) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

func (s slow) Close() error {
	<-s.leave
	return nil
}
