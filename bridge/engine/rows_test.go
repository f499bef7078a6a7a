package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// hangingUp is a sink whose connection ends when a message "bad" comes, which all writes under way
// notice.
type hangingUp struct {
	to    bridge.Sink
	gone  chan struct{}
	close func()
}

func hangUp(down *bridgetest.Downstream) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{
		Type: "broker",
		Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			to, err := down.Open(ctx, env)
			h := &hangingUp{to: to, gone: make(chan struct{})}
			h.close = sync.OnceFunc(func() { close(h.gone) })
			return h, err
		},
	}
}

func (h *hangingUp) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	for i := range b {
		took := 200 * time.Millisecond
		if string(b[i].Payload) == "bad" {
			took /= 2
		}
		select {
		case <-h.gone:
			return bridge.Result{Settled: i}, errors.New("connection closed")
		case <-ctx.Done():
			return bridge.Result{Settled: i}, ctx.Err()
		case <-time.After(took):
		}
		if string(b[i].Payload) == "bad" {
			h.close()
			return bridge.Result{Settled: i}, errors.New("connection closed")
		}
		if _, err := h.to.Write(ctx, b[i:i+1]); err != nil {
			return bridge.Result{Settled: i}, err
		}
	}
	return bridge.Result{Settled: len(b)}, nil
}

func (h *hangingUp) Close() error { h.close(); return nil }

func texts(payloads ...string) []bridge.Message {
	var ms []bridge.Message
	for i, p := range payloads {
		ms = append(ms, bridge.Message{ID: fmt.Sprint(i), Topic: "t", Payload: []byte(p)})
	}
	return ms
}

// finished returns an upstream of messages with an end.
func finished(messages ...bridge.Message) *bridgetest.Upstream {
	up := new(bridgetest.Upstream)
	up.Send(messages...)
	up.Finish()
	return up
}

func ledger(t *testing.T, p *engine.Pipeline, want engine.Ledger) {
	t.Helper()
	if diff := cmp.Diff(want, p.Ledger()); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

// A message that ends the connection under others is charged for it, and they are not.
func TestE1TriesAreNotChargedToNeighbours(t *testing.T) {
	for _, c := range []struct {
		neighbours int
		inAny      bool
	}{{1, false}, {5, false}, {1, true}, {5, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := texts("bad")
				for i := range c.neighbours {
					sent = append(sent, texts(fmt.Sprint("good", i))...)
				}
				down := new(bridgetest.Downstream)
				p := between(finished(sent...))
				p.To = engine.To(hangUp(down))
				if c.inAny {
					p.To = anyOf(p.To)
				}
				p.MaxBatch, p.MaxInFlight = 1, 2
				p.OnError = bridge.OnError{Tries: 3, Then: bridge.FateDrop}
				if err := run(t, p); err != nil {
					t.Fatal(err)
				}
				if n := len(down.Got()); n != c.neighbours {
					t.Errorf("%d were delivered, want %d", n, c.neighbours)
				}
				ledger(t, p, engine.Ledger{Received: uint64(c.neighbours) + 1, Delivered: uint64(c.neighbours), Dropped: 1})
			})
		})
	}
}

// refusing is a downstream that takes each message but one.
func refusing(payload string) *bridgetest.Downstream {
	return &bridgetest.Downstream{Refuse: func(m *bridge.Message) error {
		if string(m.Payload) == payload {
			return errors.New("no " + payload)
		}
		return nil
	}}
}

// What one of two sinks refused is not delivered.
func TestE2DeliveredIsWhatAllTook(t *testing.T) {
	for _, flight := range []int{1, 4} {
		p := between(finished(texts("0", "1", "2")...), refusing("0"), refusing("1"))
		p.MaxInFlight = flight
		p.OnError.Then = bridge.FateDrop
		if err := run(t, p); err != nil {
			t.Fatal(err)
		}
		ledger(t, p, engine.Ledger{Received: 3, Delivered: 1, Dropped: 2})
	}
}

// Two sinks that refuse one message make two letters, which a sink that de-duplicates tells apart,
// and each leads to its own sink.
func TestE5EverySinkHasItsOwnLetter(t *testing.T) {
	letters := new(bridgetest.Downstream)
	p := between(finished(texts("0", "1")...), refusing("1"), refusing("1"))
	p.To.Branches[0].Sink.Type, p.To.Branches[1].Sink.Type = "one", "two"
	p.OnError = bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: letters.Endpoint()}
	if err := run(t, p); err != nil {
		t.Fatal(err)
	}
	ledger(t, p, engine.Ledger{Received: 2, Delivered: 1, DeadLettered: 1})
	ids, leads := make(map[string]bool), make(map[string]bool)
	for _, m := range letters.Got() {
		var d bridge.DeadLetter
		if err := json.Unmarshal(m.Payload, &d); err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(p.Places(), func(p engine.Place) bool { return p.Instance == d.Instance })
		if at < 0 {
			t.Fatalf("there is no %s", d.Instance)
		}
		to := p.Places()[at].To.Sink.Type
		if to != d.Connector || d.ID != "test-from:1" {
			t.Errorf("the letter of %s with id %s leads to %s", d.Connector, d.ID, to)
		}
		ids[m.ID], leads[to] = true, true
	}
	if want := map[string]bool{"one": true, "two": true}; len(ids) != 2 || ids[""] || !cmp.Equal(want, leads) {
		t.Errorf("ids %v, which lead to %v", ids, leads)
	}
}

// No pause is too short to be waited for.
func TestE7ShortestPauses(t *testing.T) {
	for _, wait := range []time.Duration{0, 1, 2, time.Microsecond, time.Millisecond, 1<<63 - 1} {
		synctest.Test(t, func(t *testing.T) {
			opened := 0
			down := &bridgetest.Downstream{Fault: func(_ context.Context, b bridge.Batch) (int, error) {
				if opened < 70 {
					return 0, errors.New("down")
				}
				return len(b), nil
			}}
			p := between(finished(texts("0")...), down)
			open := p.To.Sink.Open
			p.To.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) { opened++; return open(ctx, env) }
			p.OnError = bridge.OnError{FirstWait: min(wait, time.Second), LongestWait: min(wait, time.Hour)}
			if err := run(t, p); err != nil {
				t.Error(err)
			}
		})
	}
}

// A source that was open for a while is opened again soon, though it had nothing to read; one that
// never opens is not.
func TestE8BackoffForgetsWhatWasWell(t *testing.T) {
	for _, c := range []struct {
		name          string
		opens, stays  time.Duration
		fails         bool
		wait, atLeast time.Duration // the longest of the last waits
	}{
		{"quiet", 0, time.Minute, false, 250 * time.Millisecond, 0},
		{"ends at once", 0, 0, false, 8 * time.Second, 4 * time.Second},
		{"opens late and ends at once", 20 * time.Second, 0, false, 8 * time.Second, 4 * time.Second},
		{"never opens", 20 * time.Second, 0, true, 8 * time.Second, 4 * time.Second},
		{"hangs", time.Hour, 0, true, 8 * time.Second, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var ended time.Time
				var waits []time.Duration
				p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
				p.From[0].Open = func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
					if !ended.IsZero() {
						waits = append(waits, time.Since(ended))
					}
					if len(waits) == 20 {
						stop()
					}
					select {
					case <-time.After(c.opens):
					case <-ctx.Done():
					}
					if ended = time.Now(); c.fails {
						return nil, errors.New("no route")
					}
					return quiet{c.stays, &ended}, nil
				}
				_ = runUntil(ctx, t, p)
				for _, wait := range waits[10:] {
					if wait > c.wait || wait < c.atLeast {
						t.Errorf("waited %s, want %s to %s", wait, c.atLeast, c.wait)
					}
				}
			})
		})
	}
}

// quiet is a source without messages, whose connection ends after a while.
type quiet struct {
	stays time.Duration
	ended *time.Time
}

func (q quiet) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	<-time.After(q.stays)
	*q.ended = time.Now()
	return nil, nil, fmt.Errorf("connection: %w", io.EOF)
}

func (quiet) Close() error { return nil }

// A pipeline that fails is started again, with pauses that grow up to a bound, and says each time
// that it has failed, and why. The one beside it goes on.
func TestE11FailedPipelineIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var starts []time.Duration
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		up.Send(texts("0")...)
		bad := between(up, down)
		bad.Name = "bad"
		bad.To.Sink.Open = func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			starts = append(starts, time.Since(began))
			if len(starts) <= 12 {
				return nil, bridge.Permanent(errors.New("no such folder"))
			}
			return down.Open(ctx, env)
		}
		bad.Jitter = func(d time.Duration) time.Duration { return d }
		beside := new(bridgetest.Upstream)
		got := new(bridgetest.Downstream)
		good := between(beside, got)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		log := new(strings.Builder)
		b := &engine.Bridge{Pipelines: []*engine.Pipeline{bad, good}, Logger: logTo(log).Logger}
		go func() { done <- b.Run(ctx) }()
		<-time.After(100 * time.Second)
		synctest.Wait()
		beside.Send(texts("1")...)
		synctest.Wait()
		compare(t, "delivered beside it", texts("1"), got.Got())
		<-time.After(time.Hour)
		compare(t, "delivered after all", texts("0"), down.Got())
		for i := 1; i < len(starts); i++ {
			if wait, want := starts[i]-starts[i-1], min(time.Second<<(i-1), 5*time.Minute); wait != want {
				t.Errorf("pause %d was %s, want %s", i, wait, want)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		said := regexp.MustCompile(`pipeline failed, will start it again" pipeline=bad .*no such folder`)
		if n := len(said.FindAllString(log.String(), -1)); n != 12 || len(starts) != 13 {
			t.Errorf("%d starts, %d failures in the log, want 13 and 12:\n%s", len(starts), n, log)
		}
	})
}

// A stop in the middle of another attempt says why the ones before it failed.
func TestE11StopSaysWhyItFailed(t *testing.T) {
	for _, end := range []string{"test-from", "test-to"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				fail := func(ctx context.Context) error {
					if attempts++; attempts == 1 {
						return bridge.Permanent(errors.New("no such folder"))
					}
					<-ctx.Done()
					return ctx.Err()
				}
				p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
				if end == "test-to" {
					p.To.Sink.Open = func(ctx context.Context, _ bridge.Env) (bridge.Sink, error) { return nil, fail(ctx) }
				} else {
					p.From[0].Open = func(ctx context.Context, _ bridge.Env) (bridge.Source, error) { return nil, fail(ctx) }
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				done := make(chan error, 1)
				go func() { done <- (&engine.Bridge{Pipelines: []*engine.Pipeline{p}}).Run(ctx) }()
				<-time.After(5 * time.Second) // in the middle of the second attempt
				stop()
				if err := <-done; !errors.Is(err, engine.ErrNeverConnected) || !strings.Contains(err.Error(), "no such folder") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// doubling makes two messages of each; pairing one of two.
type doubling struct{}

func (doubling) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Pass(i)
		out.Emit(i, b[i])
	}
	return nil
}

func (doubling) Close() error { return nil }

type pairing struct{ first []byte }

func (p *pairing) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Hold(i)
		if p.first == nil {
			p.first = append([]byte{}, b[i].Payload...)
			continue
		}
		out.Add(bridge.Message{Payload: append(p.first, b[i].Payload...)})
		p.first = nil
		out.Release(out.Call())
	}
	if out.Last() {
		p.first = nil
		out.Release(out.Call())
	}
	return nil
}

func (*pairing) Close() error { return nil }

// Received is what came in, whatever steps make of it.
func TestE13ReceivedIsWhatCameIn(t *testing.T) {
	for _, c := range []struct {
		name string
		step func() bridge.Step
		want engine.Ledger
	}{
		{"more", func() bridge.Step { return doubling{} }, engine.Ledger{Received: 10, Made: 10, Delivered: 20}},
		{"fewer", func() bridge.Step { return new(pairing) }, engine.Ledger{Received: 10, Made: 5, Delivered: 5, Merged: 10}},
	} {
		for _, branch := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, branch), func(t *testing.T) {
				up := finished(bridgetest.Numbered(10)...)
				p := between(up, new(bridgetest.Downstream))
				steps := []bridge.Endpoint[bridge.Step]{{
					Type: "test",
					Open: func(context.Context, bridge.Env) (bridge.Step, error) { return c.step(), nil },
				}}
				p.MaxBatch = 3
				if branch {
					p.To.Steps = steps
				} else {
					p.Steps = steps
				}
				if err := run(t, p); err != nil {
					t.Fatal(err)
				}
				ledger(t, p, c.want)
				compare(t, "acked", bridgetest.Numbered(10), up.Acked())
			})
		}
	}
}

// A message that makes the broker hang up again and again is named, with its size and the cure, in
// the log.
func TestE17MessageThatEndsTheConnectionIsNamed(t *testing.T) {
	for _, flight := range []int{1, 4} {
		t.Run(fmt.Sprint(flight), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
				up.Send(texts("good", "bad", "good")...)
				p := between(up)
				p.To = engine.To(hangUp(down))
				p.MaxBatch, p.MaxInFlight = 1, flight
				p.Jitter = func(time.Duration) time.Duration { return 0 } // so that it waits at the end of the minute
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				log := new(strings.Builder)
				done := make(chan error, 1)
				go func() { done <- p.Run(ctx, logTo(log), nil) }()
				<-time.After(time.Minute)
				stop()
				if err := <-done; !errors.Is(err, engine.ErrNotDrained) {
					t.Errorf("got %v", err)
				}
				for _, word := range []string{
					"t", "3 bytes", "on_error: {retry: {max: 5}, then: dead_letter}", "connection closed",
				} {
					if !strings.Contains(log.String(), word) {
						t.Errorf("the log does not say %q: %s", word, log)
					}
				}
			})
		})
	}
}
