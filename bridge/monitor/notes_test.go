package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// source is an endpoint whose instances give what is said, and then nothing.
func source(payloads ...string) bridge.Endpoint[bridge.Source] {
	return bridge.Endpoint[bridge.Source]{Type: "lines", Open: func(context.Context, bridge.Env) (bridge.Source, error) {
		var all []bridge.Batch
		for _, text := range payloads {
			all = append(all, bridge.Batch{{Topic: "a/b", Payload: []byte(text)}})
		}
		return &lines{all}, nil
	}}
}

// writer is a sink.
type writer func(context.Context, bridge.Batch) (bridge.Result, error)

func (w writer) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) { return w(ctx, b) }

func (writer) Close() error { return nil }

func sinkOf(typ string, w writer) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{
		Type: typ,
		Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return w, nil },
	}
}

func takes(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	return bridge.Result{Settled: len(b)}, nil
}

func hangs(ctx context.Context, _ bridge.Batch) (bridge.Result, error) {
	<-ctx.Done()
	return bridge.Result{}, ctx.Err()
}

// processor is a step.
type processor func(bridge.Batch, *bridge.Output) error

func (p processor) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	return p(b, out)
}

func (processor) Close() error { return nil }

func stepOf(typ string, p processor) bridge.Endpoint[bridge.Step] {
	return bridge.Endpoint[bridge.Step]{
		Type: typ,
		Open: func(context.Context, bridge.Env) (bridge.Step, error) { return p, nil },
	}
}

// never is a condition that holds for no message.
type never struct{}

func (never) Match(*bridge.Message) (bool, error) { return false, nil }

// TestStatusNamesCauses holds, for each reason why a pipeline delivers nothing, that its status
// names it, with the place and what to do.
func TestStatusNamesCauses(t *testing.T) {
	down := errors.New("connection refused")
	for _, c := range []struct {
		name  string
		p     *engine.Pipeline
		wait  time.Duration
		state monitor.State
		want  string // in the reason or a note
	}{
		{
			"a sink is down", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")},
				To: engine.To(bridge.Endpoint[bridge.Sink]{
					Type: "out",
					Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
						return nil, down
					},
				}),
			}, time.Minute, monitor.Starting, "out p-to is down: connection refused",
		},
		{
			"sources wait for a sink", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")},
				To: engine.To(bridge.Endpoint[bridge.Sink]{
					Type: "out",
					Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
						return nil, down
					},
				}),
			}, 0, monitor.Starting, "nothing is read yet: lines p-from is opened when all behind it is open",
		},
		{
			"a wrong password", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{{Type: "in", Open: func(context.Context, bridge.Env) (bridge.Source, error) {
					return nil, bridge.Permanent(errors.New("not authorized: check username and password"))
				}}},
				To: engine.To(sinkOf("out", takes)), Restart: engine.Restart{First: time.Hour, Most: time.Hour},
			}, time.Minute, monitor.Waiting, "in source: not authorized: check username and password",
		},
		{
			"a panic while opening", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{{Type: "in", Open: func(context.Context, bridge.Env) (bridge.Source, error) {
					panic("oh")
				}}},
				To: engine.To(sinkOf("out", takes)), Restart: engine.Restart{First: time.Hour, Most: time.Hour},
			}, time.Minute, monitor.Waiting, "panic: oh",
		},
		{
			"a filter that lets nothing pass", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x", "y")}, To: engine.To(sinkOf("out", takes)),
				Steps: []bridge.Endpoint[bridge.Step]{stepOf("filter", func(b bridge.Batch, out *bridge.Output) error {
					for i := range b {
						out.Drop(i)
					}
					return nil
				})},
			}, 0, monitor.Running, "filter p-step has got 2 messages since 2000-01-01 00:00:00 and let none of them pass",
		},
		{
			"a route without a match", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x", "y", "z")},
				To: engine.Branch{Mode: engine.ModeRoute, Branches: []engine.Branch{
					{When: never{}, Sink: sinkOf("one", takes)}, {When: never{}, Sink: sinkOf("two", takes)},
				}},
			}, 0, monitor.Running, "3 messages came out of p-from, and none was for one p-to, " +
				"two p-to-2: see the when of each",
		},
		{
			"nothing comes", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source()}, To: engine.To(sinkOf("out", takes)),
			}, time.Minute, monitor.Running, "lines p-from is open, and nothing has come since 2000-01-01 00:00:00: see whether",
		},
		{
			"it waits for something, which is logged", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{{
					Type: "file",
					Open: func(_ context.Context, env bridge.Env) (bridge.Source, error) {
						env.Logger.Warn("no file to follow yet, waiting for one", "path", "logs/a.log")
						return &lines{}, nil
					},
				}},
				To: engine.To(sinkOf("out", takes)),
			}, 0, monitor.Running, "file p-from is open, and nothing has come since 2000-01-01 00:00:00: " +
				"no file to follow yet, waiting for one path=logs/a.log",
		},
		{
			"a stale source", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")}, To: engine.To(sinkOf("out", takes)), StaleAfter: time.Minute,
			}, 90 * time.Second, monitor.Degraded,
			"nothing has come for 1m30s, and something should every 1m0s (stale_after): " +
				"see whether anything is sent to lines p-from",
		},
		{
			"a sink that hangs, which is no stale source", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x", "y")}, To: engine.To(sinkOf("out", hangs)),
				StaleAfter: time.Second,
			}, time.Minute, monitor.Running, "out p-to has not answered for what it got at 2000-01-01 00:00:00",
		},
		{
			"a message that fails again and again", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")},
				To: engine.To(sinkOf("out", func(context.Context, bridge.Batch) (bridge.Result, error) {
					return bridge.Result{}, errors.New("value out of range")
				})),
			}, time.Minute, monitor.Degraded, "out p-to: the sink fails at the same message again and again: " +
				`failed 3 times in a row at the same message, with topic "a/b" and 1 byte; on_error`,
		},
		{
			"a step that fails again and again", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")}, To: engine.To(sinkOf("out", takes)),
				Steps: []bridge.Endpoint[bridge.Step]{stepOf("jq",
					func(bridge.Batch, *bridge.Output) error { return errors.New("no memory") })},
			}, time.Minute, monitor.Waiting, `failed 6 times in a row at the same message, with topic "a/b"`,
		},
		{
			"a condition that has no answer", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")}, OnError: bridge.OnError{Then: bridge.FateDrop},
				To: engine.Branch{When: broken{}, Sink: sinkOf("out", takes)},
			}, 0, monitor.Running, "dropped what was refused: when: no field level",
		},
		{
			"dead letters that cannot be written", &engine.Pipeline{
				From: []bridge.Endpoint[bridge.Source]{source("x")},
				To: engine.To(sinkOf("out", func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
					return bridge.Result{Settled: 1, Refused: bridge.Refusals{{Index: 0, Err: errors.New("too large")}}}, nil
				})),
				OnError: bridge.OnError{
					Then: bridge.FateDeadLetter,
					DeadLetter: sinkOf("file", func(context.Context, bridge.Batch) (bridge.Result, error) {
						return bridge.Result{}, errors.New("no space left on device")
					}),
				},
			}, time.Minute, monitor.Running,
			"dead letters cannot be written, and what was refused waits for that: file p-dead: no space left on device",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := monitor.New(), c.p
				p.Name = "p"
				p.Jitter = func(time.Duration) time.Duration { return 0 }
				b := &engine.Bridge{Pipelines: []*engine.Pipeline{p}, Logger: m.Logger(slog.New(slog.DiscardHandler))}
				m.Watch(p)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- b.Run(ctx) }()
				time.Sleep(c.wait) //nolint:forbidigo // of the bubble
				synctest.Wait()
				got := m.Pipelines(b)[0]
				var errs []string
				for _, e := range got.Errors {
					errs = append(errs, e.Instance+": "+e.Text)
				}
				all := strings.Join(append(append([]string{got.Reason}, got.Notes...), errs...), "\n")
				if got.State != c.state || !strings.Contains(strings.ReplaceAll(all, local(), "2000-01-01 00:00:00"), c.want) {
					t.Errorf("%s:\n%s\nwant %s: %s", got.State, all, c.state, c.want)
				}
				cancel()
				<-done //nolint:errcheck // what was not delivered is what this is about
			})
		})
	}
}

// Of a pipeline that has failed it is said when it is started again, which it is then.
func TestStatusSaysWhenItTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int64
		p := &engine.Pipeline{
			Name: "p",
			From: []bridge.Endpoint[bridge.Source]{{
				Type: "in", Open: func(context.Context, bridge.Env) (bridge.Source, error) {
					opened.Add(1)
					return nil, bridge.Permanent(errors.New("not authorized"))
				},
			}},
			To: engine.To(sinkOf("out", takes)), Restart: engine.Restart{First: time.Hour, Most: 8 * time.Hour},
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		for n := int64(1); n < 4; n++ {
			synctest.Wait()
			got := m.Pipelines(b)[0]
			if got.State != monitor.Waiting || got.Again == nil || opened.Load() != n {
				t.Fatalf("%s, again at %v, opened %d times, want waiting, and %d times",
					got.State, got.Again, opened.Load(), n)
			}
			time.Sleep(time.Until(*got.Again) - time.Nanosecond) //nolint:forbidigo // of the bubble
			synctest.Wait()
			if opened.Load() != n {
				t.Errorf("it was opened before %v", got.Again)
			}
			time.Sleep(time.Nanosecond) //nolint:forbidigo // of the bubble
		}
		cancel()
		<-done //nolint:errcheck // it failed
		if got := m.Pipelines(b)[0]; got.State != monitor.Failed || got.Again != nil {
			t.Errorf("%s, again at %v", got.State, got.Again)
		}
	})
}

// What keeps a pipeline that is to stop from that is said when its time for draining is over.
func TestStatusNamesWhatDoesNotLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &engine.Pipeline{
			Name: "p", From: []bridge.Endpoint[bridge.Source]{source("x")}, DrainTimeout: time.Second,
			To: engine.To(sinkOf("out", func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				<-release
				return bridge.Result{Settled: len(b)}, nil
			})),
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		cancel()
		time.Sleep(5 * time.Second) //nolint:forbidigo // of the bubble
		if got := m.Pipelines(b)[0]; got.State != monitor.Draining || len(got.Notes) > 0 {
			t.Errorf("%s %q", got.State, got.Notes)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // of the bubble
		if got := m.Pipelines(b)[0]; got.State != monitor.Draining || len(got.Notes) != 1 ||
			!strings.Contains(got.Notes[0], "out p-to does not let go") {
			t.Errorf("%s %q", got.State, got.Notes)
		}
		close(release)
		<-done //nolint:errcheck // it was late
	})
}

// local is when a bubble begins, as a status has it.
func local() string { return time.Unix(946684800, 0).Format(time.DateTime) }

type broken struct{}

func (broken) Match(*bridge.Message) (bool, error) { return false, errors.New("no field level") }

// TestOldInstancesSayNothing of an end: one that fails, or is closed, when the next one is up.
func TestOldInstancesSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		release := make(chan struct{})
		p := &engine.Pipeline{
			Name: "p", MaxInFlight: 2, MaxBatch: 1, From: []bridge.Endpoint[bridge.Source]{source("a", "b", "c", "x", "y", "z")},
			To: engine.To(bridge.Endpoint[bridge.Sink]{
				Type: "out",
				Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
					opened++
					if opened > 1 {
						return writer(takes), nil
					}
					return writer(func(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
						switch string(b[0].Payload) {
						case "x":
							<-release // it fails late
						case "a", "b", "c":
							return takes(ctx, b)
						}
						return bridge.Result{}, fmt.Errorf("lost with %s", b[0].Payload)
					}), nil
				},
			}),
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(time.Minute) //nolint:forbidigo // of the bubble: it is opened again
		synctest.Wait()
		close(release)
		synctest.Wait()
		if got := m.Pipelines(b)[0]; opened != 2 || got.Ends[1].State != monitor.EndUp || got.State != monitor.Running {
			t.Errorf("opened %d times: %s %q: %+v", opened, got.State, got.Reason, got.Ends[1])
		}
		cancel()
		<-done //nolint:errcheck // what was not delivered is what this is about
	})
}

// TestNoSpareEnd is left, which is no bridge that is ready.
func TestNoSpareEnd(t *testing.T) {
	for want, state := range map[bool]monitor.EndState{true: monitor.EndUp, false: monitor.EndDown} {
		s := monitor.Status{Pipelines: []monitor.Pipeline{{Name: "p", State: monitor.Degraded, Ends: []monitor.End{
			{Kind: "source", State: monitor.EndUp},
			{Kind: "sink", Optional: true, State: monitor.EndDown},
			{Kind: "sink", Optional: true, State: state},
		}}}}
		if s.Judge(); s.Ready != want {
			t.Errorf("one is %s: ready %v, %v", state, s.Ready, s.Reasons)
		}
	}
}

// TestSpareEnds are no reason to be starting: what takes their messages delivers.
func TestSpareEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &engine.Pipeline{
			Name: "p", From: []bridge.Endpoint[bridge.Source]{source("x")},
			To: engine.Branch{Mode: engine.ModeAny, Branches: []engine.Branch{
				engine.To(sinkOf("one", takes)),
				engine.To(bridge.Endpoint[bridge.Sink]{Type: "two", Open: func(context.Context, bridge.Env) (bridge.Sink, error) {
					return nil, errors.New("connection refused")
				}}),
			}},
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(time.Minute) //nolint:forbidigo // of the bubble
		synctest.Wait()
		if got := m.Pipelines(b)[0]; got.State != monitor.Degraded || got.Ledger.Delivered != 1 {
			t.Errorf("%s %q: %+v", got.State, got.Reason, got.Ledger)
		}
		cancel()
		<-done //nolint:errcheck // what was not delivered is what this is about
	})
}

// TestReconnected holds that an end that is up again is not said to have what it was down for, and
// that its pipeline runs since then.
func TestReconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const down = "connection refused"
		began := time.Now()
		p := &engine.Pipeline{
			Name: "p", From: []bridge.Endpoint[bridge.Source]{{
				Type: "in",
				Open: func(context.Context, bridge.Env) (bridge.Source, error) {
					switch since := time.Since(began); {
					case since == 0:
						return lost{}, nil
					case since < 30*time.Second:
						return nil, errors.New(down)
					}
					return &lines{}, nil
				},
			}}, To: engine.To(sinkOf("out", takes)),
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(20 * time.Second) //nolint:forbidigo // of the bubble
		synctest.Wait()
		if got := m.Pipelines(b)[0]; got.State != monitor.Degraded || got.Since.Sub(began) != 10*time.Second {
			t.Errorf("%s since %v: %s", got.State, got.Since.Sub(began), got.Reason)
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // of the bubble
		synctest.Wait()
		got := m.Pipelines(b)[0]
		notes := strings.Join(got.Notes, "; ")
		if strings.Contains(notes, down) || !strings.Contains(notes, "nothing has come") {
			t.Errorf("%q", notes)
		}
		if got.State != monitor.Running || got.Since.Sub(began) < 30*time.Second || !got.Since.Equal(got.Ends[0].Since) {
			t.Errorf("%s since %v, its source %v", got.State, got.Since.Sub(began), got.Ends[0].Since.Sub(began))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// lost is a source that fails after 10 seconds.
type lost struct{}

func (lost) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	select {
	case <-time.After(10 * time.Second):
		return nil, nil, errors.New("connection lost")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (lost) Close() error { return nil }

// TestFreshAgain holds that a pipeline that was stale runs since a message has come.
func TestFreshAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := &engine.Pipeline{
			Name: "p", From: []bridge.Endpoint[bridge.Source]{{
				Type: "in", Open: func(context.Context, bridge.Env) (bridge.Source, error) { return &late{}, nil },
			}}, To: engine.To(sinkOf("out", takes)), StaleAfter: 5 * time.Second,
		}
		m, b := monitor.New(), &engine.Bridge{Pipelines: []*engine.Pipeline{p}}
		m.Watch(p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		for _, want := range []struct {
			at, since time.Duration
			state     monitor.State
		}{
			{9 * time.Second, 5 * time.Second, monitor.Degraded},
			{11 * time.Second, 10 * time.Second, monitor.Running},
			{14 * time.Second, 10 * time.Second, monitor.Running},
			{16 * time.Second, 15 * time.Second, monitor.Degraded},
		} {
			time.Sleep(want.at - time.Since(began)) //nolint:forbidigo // of the bubble
			synctest.Wait()
			if got := m.Pipelines(b)[0]; got.State != want.state || got.Since.Sub(began) != want.since {
				t.Errorf("after %v: %s since %v, want %s since %v",
					want.at, got.State, got.Since.Sub(began), want.state, want.since)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// late is a source of one message, after 10 seconds.
type late struct{ lines }

func (l *late) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if l.left == nil {
		l.left = []bridge.Batch{{{Payload: []byte("x")}}}
		select {
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
		}
	}
	return l.lines.Read(ctx)
}
