package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// source returns an endpoint that opens what wrap makes of the upstream's sources.
func source(up *bridgetest.Upstream, wrap func(bridge.Source) bridge.Source) bridge.Endpoint[bridge.Source] {
	return bridge.Endpoint[bridge.Source]{
		Type: "memory",
		Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
			s, err := up.Open(ctx, env)
			return wrap(s), err
		},
	}
}

// down is a sink that is never there.
func down(context.Context, bridge.Batch) (int, error) { return 0, errors.New("down") }

// A source that always has something is not read any more after a stop.
func TestStopUnderLoadEndsReading(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		t.Run(fmt.Sprint(inFlight), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, slow := new(bridgetest.Upstream), new(bridgetest.Downstream)
				slow.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
					<-time.After(time.Second)
					return len(b), nil
				}
				up.Send(bridgetest.Numbered(100_000)...)
				p := between(up, slow)
				p.MaxBatch, p.MaxInFlight = 10, inFlight
				ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
				defer cancel()
				start := time.Now()
				if err := p.Run(ctx, bridgetest.Env(t, ""), nil); err != nil {
					t.Errorf("got %v, want nil", err)
				}
				if took := time.Since(start); took > 8*time.Second {
					t.Errorf("took %s, want no more than what was in flight", took)
				}
				if l := p.Ledger(); l.InFlight != 0 || uint64(len(up.Acked())) != l.Received {
					t.Errorf("%d acked, ledger %+v", len(up.Acked()), l)
				}
			})
		})
	}
}

// When the drain is cut short, what was delivered behind a batch that was not is refused with it:
// it comes twice, but the position of a source does not move past what was not delivered.
func TestUndrainedBatchHoldsBackThoseBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, d := new(bridgetest.Upstream), new(bridgetest.Downstream)
		sent := bridgetest.Numbered(4)
		d.Fault = func(ctx context.Context, b bridge.Batch) (int, error) {
			if string(b[0].Payload) == string(sent[1].Payload) {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return len(b), nil
		}
		up.Send(sent...)
		p := between(up, d)
		p.MaxBatch, p.MaxInFlight = 1, 4
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := runUntil(ctx, t, p); !errors.Is(err, engine.ErrNotDrained) {
			t.Errorf("got %v, want ErrNotDrained", err)
		}
		compare(t, "acked", sent[:1], up.Acked())
		if len(up.Nacks()) != 3 {
			t.Errorf("nacks %v, want three", up.Nacks())
		}
	})
}

// A pipeline that has failed has a deadline for the rest, and says once that it was missed.
func TestFailureIsNotHeldUpByAnotherSink(t *testing.T) {
	for _, c := range []struct {
		name     string
		inFlight int
		acked    int
		sinks    []*bridgetest.Downstream
	}{
		{"TwoSinks", 1, 0, []*bridgetest.Downstream{{Fault: down}, {Fault: poison(1)}}},
		{"OneSinkInFlight4", 4, 1, []*bridgetest.Downstream{{Fault: afterFirst(poison(3))}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := new(bridgetest.Upstream)
				up.Send(bridgetest.Numbered(20)...)
				p := between(up, c.sinks...)
				p.MaxBatch, p.MaxInFlight = 1, c.inFlight
				start := time.Now()
				err := run(t, p)
				if took := time.Since(start); took > 2*engine.DefaultDrainTimeout {
					t.Errorf("took %s", took)
				}
				if err == nil || !strings.Contains(err.Error(), "poison") ||
					strings.Count(err.Error(), engine.ErrNotDrained.Error()) != 1 {
					t.Errorf("got %v, want the poison and ErrNotDrained, once each", err)
				}
				if len(up.Acked()) != c.acked {
					t.Errorf("acked %v", up.Acked())
				}
			})
		})
	}
}

// afterFirst lets the first write succeed, before which there is no other one.
func afterFirst(fault func(context.Context, bridge.Batch) (int, error)) func(context.Context, bridge.Batch) (int, error) {
	first := make(chan struct{}, 1)
	first <- struct{}{}
	return func(ctx context.Context, b bridge.Batch) (int, error) {
		select {
		case <-first:
			return len(b), nil
		default:
			return fault(ctx, b)
		}
	}
}

// poison returns a fault: the n-th write fails for good, the others as long as they are tried.
func poison(n int) func(context.Context, bridge.Batch) (int, error) {
	writes := make(chan int, 1)
	writes <- 0
	return func(ctx context.Context, _ bridge.Batch) (int, error) {
		i := <-writes + 1
		writes <- i
		if i == n {
			return 0, bridge.Permanent(errors.New("poison"))
		}
		<-ctx.Done()
		return 0, ctx.Err()
	}
}

// Only io.EOF itself, and only from Read, is the end of the input.
func TestOtherEOFIsNoSuccess(t *testing.T) {
	broken := fmt.Errorf("connection: %w", io.EOF)
	t.Run("Read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			up, d := new(bridgetest.Upstream), new(bridgetest.Downstream)
			up.Send(bridgetest.Numbered(3)...)
			up.Finish()
			p := between(up, d)
			p.MaxBatch = 1
			p.From[0] = source(up, func(s bridge.Source) bridge.Source { return &breaking{s, broken} })
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			compare(t, "delivered", bridgetest.Numbered(3), d.Got())
		})
	})
	for name, fail := range map[string]func(*engine.Pipeline, *bridgetest.Downstream){
		"Write": func(_ *engine.Pipeline, d *bridgetest.Downstream) {
			d.Fault = func(context.Context, bridge.Batch) (int, error) { return 0, bridge.Permanent(broken) }
		},
		"Step": func(p *engine.Pipeline, _ *bridgetest.Downstream) {
			p.Steps = steps(func(bridge.Batch) (bridge.Batch, error) { return nil, bridge.Permanent(broken) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			up, d := new(bridgetest.Upstream), new(bridgetest.Downstream)
			up.Send(bridgetest.Numbered(3)...)
			p := between(up, d)
			fail(p, d)
			if err := run(t, p); !errors.Is(err, io.EOF) {
				t.Errorf("got %v, want the failure", err)
			}
		})
	}
}

func steps(f func(bridge.Batch) (bridge.Batch, error)) []bridge.Endpoint[bridge.Step] {
	return []bridge.Endpoint[bridge.Step]{{
		Type: "test",
		Open: func(context.Context, bridge.Env) (bridge.Step, error) { return stepFunc(f), nil },
	}}
}

// stepFunc is a step that lets pass what it returns, which must be all or nothing.
type stepFunc func(bridge.Batch) (bridge.Batch, error)

func (f stepFunc) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	kept, err := f(b)
	for i := range b {
		if i < len(kept) {
			out.Pass(i)
		} else {
			out.Drop(i)
		}
	}
	return err
}

func (stepFunc) Close() error { return nil }

// deaf heeds no context: its Read ends with Close only.
type deaf struct{ bridge.Source }

func (d deaf) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	return d.Source.Read(context.Background())
}

func TestSourceThatHeedsNoContextIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := new(bridgetest.Upstream)
		p := between(up, new(bridgetest.Downstream))
		p.From[0] = source(up, func(s bridge.Source) bridge.Source { return deaf{s} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := runUntil(ctx, t, p); err != nil {
			t.Errorf("got %v, want nil: nothing was in flight", err)
		}
		if took := time.Since(start); took > time.Second+engine.DefaultDrainTimeout+time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// idle returns nothing, and at once.
type idle struct{ bridge.Source }

func (idle) Read(context.Context) (bridge.Batch, bridge.Ack, error) { return nil, nil, nil }

func TestReadOfNothingDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, opened := new(bridgetest.Upstream), 0
		p := between(up, new(bridgetest.Downstream))
		p.From[0] = source(up, func(s bridge.Source) bridge.Source { opened++; return idle{s} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := runUntil(ctx, t, p); err != nil {
			t.Error(err)
		}
		if opened > 20 {
			t.Errorf("opened %d times in a minute", opened)
		}
	})
}

// mine blows up in one of its methods.
type mine struct {
	bridge.Source
	at string
}

func (m mine) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if m.at == "Read" {
		panic("boom")
	}
	b, ack, err := m.Source.Read(ctx)
	if m.at == "Ack" {
		ack = func(context.Context, error) error { panic("boom") }
	}
	return b, ack, err
}

func (m mine) Close() error {
	if m.at == "Close" {
		panic("boom")
	}
	return m.Source.Close()
}

// A panic anywhere in a connector becomes an error, and neither another source
// nor a goroutine is left waiting.
func TestPanicAnywhereEndsThePipeline(t *testing.T) {
	for _, at := range []string{"OpenSource", "OpenSink", "OpenStep", "Read", "Process", "Write", "Ack", "Close"} {
		for _, inFlight := range []int{1, 4} {
			t.Run(fmt.Sprint(at, inFlight), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					up, other, d := new(bridgetest.Upstream), new(bridgetest.Upstream), new(bridgetest.Downstream)
					up.Send(bridgetest.Numbered(100)...)
					other.Send(bridgetest.Numbered(100)...)
					p := between(other, d)
					p.MaxBatch, p.MaxInFlight, p.OnError.Tries = 5, inFlight, 1
					p.From = append(p.From, source(up, func(s bridge.Source) bridge.Source {
						if at == "OpenSource" {
							panic("boom")
						}
						return mine{s, at}
					}))
					p.Steps = steps(func(b bridge.Batch) (bridge.Batch, error) {
						if at == "Process" {
							panic("boom")
						}
						return b, nil
					})
					switch at {
					case "OpenStep":
						p.Steps[0].Open = func(context.Context, bridge.Env) (bridge.Step, error) { panic("boom") }
					case "OpenSink":
						p.To.Sink.Open = func(context.Context, bridge.Env) (bridge.Sink, error) { panic("boom") }
					case "Write":
						d.Fault = func(context.Context, bridge.Batch) (int, error) { panic("boom") }
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					err := runUntil(ctx, t, p)
					if at == "Close" {
						if err != nil { // everything had been delivered
							t.Errorf("got %v", err)
						}
					} else if err == nil || !strings.Contains(err.Error(), "panic: boom") {
						t.Errorf("got %v, want the panic", err)
					}
				})
			})
		}
	}
}

func TestNoSinkIsAnError(t *testing.T) {
	up := new(bridgetest.Upstream)
	up.Send(bridgetest.Numbered(1)...)
	up.Finish()
	if err := run(t, between(up)); err == nil || len(up.Acked()) > 0 {
		t.Errorf("got %v, and %d messages acked that went nowhere", err, len(up.Acked()))
	}
}
