package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }

// between returns a pipeline from up to down.
func between(up *bridgetest.Upstream, down ...*bridgetest.Downstream) *engine.Pipeline {
	p := &engine.Pipeline{Name: "test", From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}}
	p.To = engine.Branch{Mode: engine.ModeAll}
	for _, d := range down {
		p.To.Branches = append(p.To.Branches, engine.To(d.Endpoint()))
	}
	if len(down) == 1 {
		p.To = p.To.Branches[0]
	}
	return p
}

func run(t *testing.T, p *engine.Pipeline) error {
	t.Helper()
	return runUntil(t.Context(), t, p)
}

func runUntil(ctx context.Context, t *testing.T, p *engine.Pipeline) error {
	t.Helper()
	err := p.Run(ctx, bridgetest.Env(t, ""), nil)
	if l := p.Ledger(); !l.Balanced() {
		t.Errorf("the ledger does not balance: %+v", l)
	}
	return err
}

func payloads(ms []bridge.Message) []string {
	var out []string
	for _, m := range ms {
		out = append(out, string(m.Payload))
	}
	return out
}

func compare(t *testing.T, what string, want, got []bridge.Message) {
	t.Helper()
	if diff := cmp.Diff(payloads(want), payloads(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestEndOfInputDeliversAndAcksAll(t *testing.T) {
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	want := bridgetest.Numbered(5000)
	up.Send(want...)
	up.Finish()
	p := between(up, down)
	if err := run(t, p); err != nil {
		t.Fatal(err)
	}
	compare(t, "delivered", want, down.Got())
	compare(t, "acked", want, up.Acked())
	if got, want := p.Ledger(), (engine.Ledger{Received: 5000, Delivered: 5000}); got != want {
		t.Errorf("ledger %+v, want %+v", got, want)
	}
}

// A sink that takes a random part of each batch and fails half of the time
// still gets every message once and in order, since the rest is resumed.
func TestPartialWritesAreResumed(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		down.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			n := rng.IntN(len(b) + 1)
			if n == len(b) {
				return n, nil
			}
			return n, errors.New("broken by the test")
		}
		want := bridgetest.Numbered(300)
		up.Send(want...)
		up.Finish()
		p := between(up, down)
		p.MaxBatch = 32
		if err := run(t, p); err != nil {
			t.Fatal(err)
		}
		compare(t, "delivered", want, down.Got())
		compare(t, "acked", want, up.Acked())
	})
}

func TestWriteWithoutErrorAndProgressIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		down.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			if calls++; calls < 3 {
				return 0, nil
			}
			return len(b), nil
		}
		up.Send(bridgetest.Numbered(3)...)
		up.Finish()
		if err := run(t, between(up, down)); err != nil {
			t.Fatal(err)
		}
		compare(t, "delivered", bridgetest.Numbered(3), down.Got())
	})
}

func TestPermanentWriteErrorStopsAndNamesTheMessage(t *testing.T) {
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	down.Refuse = func(m *bridge.Message) error {
		if string(m.Payload) == `{"n":7}` {
			return errors.New("too large")
		}
		return nil
	}
	sent := bridgetest.Numbered(10)
	up.Send(sent...)
	p := between(up, down)
	err := run(t, p)
	want := `pipeline "test": memory sink: message with topic "conformance/topic", 7 bytes: too large; on_error: dead_letter would put it aside, and drop leave it out`
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	compare(t, "delivered", slices.Delete(slices.Clone(sent), 7, 8), down.Got())
	compare(t, "acked", sent[:7], up.Acked())
	if len(up.Nacks()) != 1 {
		t.Errorf("got nacks %v, want one", up.Nacks())
	}
	if got, want := p.Ledger(), (engine.Ledger{Received: 10, Delivered: 7, InFlight: 3}); got != want {
		t.Errorf("ledger %+v, want %+v", got, want)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Run("Permanent", func(t *testing.T) {
		p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
		p.To.Sink.Open = func(context.Context, bridge.Env) (bridge.Sink, error) {
			return nil, bridge.Permanent(errors.New("no such thing"))
		}
		if err := run(t, p); err == nil || !strings.Contains(err.Error(), "memory sink: no such thing") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("TransientWithBackoff", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
			up.Send(bridgetest.Numbered(1)...)
			up.Finish()
			p := between(up, down)
			var attempts []time.Time
			p.From[0].Open = func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				if attempts = append(attempts, time.Now()); len(attempts) < 10 {
					return nil, fmt.Errorf("not yet: %w", io.EOF) // which is not the end of the input
				}
				return up.Open(ctx, env)
			}
			if err := run(t, p); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(attempts); i++ {
				most := min(8*time.Second, 250*time.Millisecond<<(i-1))
				if wait := attempts[i].Sub(attempts[i-1]); wait < most/2 || wait > most {
					t.Errorf("wait before attempt %d was %s, want between %s and %s", i+1, wait, most/2, most)
				}
			}
		})
	})
}

// A source that breaks after each read is opened again, and nothing is lost or doubled.
func TestBrokenSourceIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		p := between(up, down)
		p.MaxBatch = 10
		p.From[0].Open = func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
			s, err := up.Open(ctx, env)
			return &breaking{s, errors.New("broken by the test")}, err
		}
		want := bridgetest.Numbered(100)
		up.Send(want...)
		up.Finish()
		if err := run(t, p); err != nil {
			t.Fatal(err)
		}
		compare(t, "delivered", want, down.Got())
	})
}

// breaking returns an error with each batch, which must not cost the batch.
type breaking struct {
	bridge.Source
	why error
}

func (b *breaking) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	batch, ack, err := b.Source.Read(ctx)
	if err == nil {
		err = b.why
	}
	return batch, ack, err
}

func TestMaxInFlightSettlesInReadOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, 0))
		g := new(gauge)
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		down.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			defer g.begin()()
			mu.Lock()
			d := time.Duration(rng.Int64N(int64(time.Second)))
			mu.Unlock()
			<-time.After(d)
			return len(b), nil
		}
		want := bridgetest.Numbered(500)
		up.Send(want...)
		up.Finish()
		p := between(up, down)
		p.MaxBatch, p.MaxInFlight = 5, 8
		if err := run(t, p); err != nil {
			t.Fatal(err)
		}
		compare(t, "acked", want, up.Acked())
		if most := g.most.Load(); most != 8 {
			t.Errorf("%d writes ran at once, want 8", most)
		}
		if n := len(down.Got()); n != 500 {
			t.Errorf("%d delivered, want 500", n)
		}
	})
}

func TestMaxInFlightFailure(t *testing.T) {
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	var calls atomic.Int64
	down.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
		if calls.Add(1) == 10 {
			return 0, bridge.Permanent(errors.New("poison"))
		}
		return len(b), nil
	}
	up.Send(bridgetest.Numbered(500)...)
	p := between(up, down)
	p.MaxBatch, p.MaxInFlight = 5, 4
	if err := run(t, p); err == nil || !strings.Contains(err.Error(), "poison") {
		t.Errorf("got %v, want the poison", err)
	}
	if l := p.Ledger(); l.InFlight == 0 || l.Delivered+l.InFlight != l.Received {
		t.Errorf("ledger %+v", l)
	}
}

func TestDrain(t *testing.T) {
	// stuck returns a pipeline whose sink takes a batch only when release is closed.
	stuck := func(release <-chan struct{}) (*bridgetest.Upstream, *engine.Pipeline) {
		up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
		down.Fault = func(ctx context.Context, b bridge.Batch) (int, error) {
			select {
			case <-release:
				return len(b), nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		up.Send(bridgetest.Numbered(3)...)
		return up, between(up, down)
	}
	for _, c := range []struct {
		name           string
		release, abort time.Duration // after the context is done; 0 = never
		took           time.Duration
		want           error
	}{
		{"InTime", 3 * time.Second, 0, 3 * time.Second, nil},
		{"Deadline", 0, 0, engine.DefaultDrainTimeout, engine.ErrNotDrained},
		{"SecondSignal", 0, time.Second, time.Second, engine.ErrNotDrained},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release, abort := make(chan struct{}), make(chan struct{})
				up, p := stuck(release)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- p.Run(ctx, bridgetest.Env(t, ""), abort) }()
				synctest.Wait()
				start := time.Now()
				cancel()
				if c.release > 0 {
					time.AfterFunc(c.release, func() { close(release) })
				}
				if c.abort > 0 {
					time.AfterFunc(c.abort, func() { close(abort) })
				}
				if err := <-done; !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if c.want == nil && len(up.Acked()) != 3 || c.want != nil && len(up.Nacks()) != 1 {
					t.Errorf("%d acked, nacks %v", len(up.Acked()), up.Nacks())
				}
				if l := p.Ledger(); !l.Balanced() || l.Received != 3 {
					t.Errorf("ledger %+v", l)
				}
			})
		})
	}
}

func TestStopBeforeTheSinkOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := between(new(bridgetest.Upstream), new(bridgetest.Downstream))
		p.To.Sink.Open = func(context.Context, bridge.Env) (bridge.Sink, error) { return nil, errors.New("down") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := p.Run(ctx, bridgetest.Env(t, ""), nil); !errors.Is(err, engine.ErrNeverConnected) ||
			!strings.Contains(err.Error(), "memory sink: down") {
			t.Errorf("got %v, want that it was never connected, and why", err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

func TestSeveralSourcesAndSinks(t *testing.T) {
	var ups []*bridgetest.Upstream
	p := &engine.Pipeline{Name: "test", MaxBatch: 16}
	for i := range 3 {
		u := new(bridgetest.Upstream)
		for k := range 200 {
			u.Send(bridge.Message{Payload: fmt.Appendf(nil, "%d-%03d", i, k)})
		}
		u.Finish()
		ups = append(ups, u)
		p.From = append(p.From, u.Endpoint())
	}
	downs := []*bridgetest.Downstream{{}, {}}
	for _, d := range downs {
		p.To.Branches = append(p.To.Branches, engine.To(d.Endpoint()))
	}
	if err := run(t, p); err != nil {
		t.Fatal(err)
	}
	for i, u := range ups {
		if n := len(u.Acked()); n != 200 {
			t.Errorf("source %d: %d acked, want 200", i, n)
		}
	}
	for i, d := range downs {
		got := payloads(d.Got())
		if len(got) != 600 {
			t.Fatalf("sink %d got %d messages, want 600", i, len(got))
		}
		for source := range 3 {
			of := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s[0] != byte('0'+source) })
			if !slices.IsSorted(of) {
				t.Errorf("sink %d got the messages of source %d out of order", i, source)
			}
		}
	}
	if got := p.Ledger(); got != (engine.Ledger{Received: 600, Delivered: 600}) {
		t.Errorf("ledger %+v", got)
	}
}

// Every sink must accept: a batch that one of two refuses is not acked.
func TestAllSinksMustAccept(t *testing.T) {
	up, good, bad := new(bridgetest.Upstream), new(bridgetest.Downstream), new(bridgetest.Downstream)
	bad.Fault = func(context.Context, bridge.Batch) (int, error) { return 1, bridge.Permanent(errors.New("no")) }
	up.Send(bridgetest.Numbered(3)...)
	p := between(up, good, bad)
	if err := run(t, p); err == nil {
		t.Fatal("no error")
	}
	if n := len(up.Acked()); n != 2 {
		t.Errorf("%d acked, want the two that both have", n)
	}
	if got := p.Ledger(); got != (engine.Ledger{Received: 3, Delivered: 2, InFlight: 1}) {
		t.Errorf("ledger %+v", got)
	}
}

type odd struct{}

func (odd) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		if len(b[i].Payload)%2 == 0 {
			out.Drop(i)
		} else {
			out.Pass(i)
		}
	}
	return nil
}

func (odd) Close() error { return nil }

func TestFilteredIsCountedAndAcked(t *testing.T) {
	up, down := new(bridgetest.Upstream), new(bridgetest.Downstream)
	for i := range 100 {
		up.Send(bridge.Message{Payload: make([]byte, i)})
	}
	up.Finish()
	p := between(up, down)
	p.Steps = []bridge.Endpoint[bridge.Step]{{
		Type: "odd",
		Open: func(context.Context, bridge.Env) (bridge.Step, error) { return odd{}, nil },
	}}
	if err := run(t, p); err != nil {
		t.Fatal(err)
	}
	if got := p.Ledger(); got != (engine.Ledger{Received: 100, Delivered: 50, Filtered: 50}) {
		t.Errorf("ledger %+v", got)
	}
	if n := len(up.Acked()); n != 100 {
		t.Errorf("%d acked, want 100", n)
	}
}

func TestPanicStopsItsOwnPipelineOnly(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		t.Run(fmt.Sprint(inFlight), func(t *testing.T) {
			bad, good := new(bridgetest.Upstream), new(bridgetest.Upstream)
			explode, fine := new(bridgetest.Downstream), new(bridgetest.Downstream)
			explode.Fault = func(context.Context, bridge.Batch) (int, error) { panic("boom") }
			bad.Send(bridgetest.Numbered(1)...)
			good.Send(bridgetest.Numbered(10)...)
			good.Finish()
			b := engine.Bridge{Pipelines: []*engine.Pipeline{between(bad, explode), between(good, fine)}}
			b.Pipelines[0].MaxInFlight, b.Pipelines[0].Restart.Off = inFlight, true
			b.Pipelines[0].OnError.Tries = 1
			err := b.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "panic: boom") {
				t.Errorf("got %v", err)
			}
			compare(t, "the other pipeline delivered", bridgetest.Numbered(10), fine.Got())
		})
	}
}

func TestFailFastStopsTheOthers(t *testing.T) {
	p, q := between(new(bridgetest.Upstream), new(bridgetest.Downstream)),
		between(new(bridgetest.Upstream), new(bridgetest.Downstream))
	q.To.Sink.Open = func(context.Context, bridge.Env) (bridge.Sink, error) {
		return nil, bridge.Permanent(errors.New("no such thing"))
	}
	b := engine.Bridge{Pipelines: []*engine.Pipeline{p, q}, FailFast: true}
	if err := b.Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

// A retried message keeps its ID, and equal messages have different ones.
func TestIDsAreStableAndUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := new(bridgetest.Upstream), &bridgetest.Downstream{IDs: true}
		seen := map[string]string{} // payload → ID
		var failed bool
		down.Fault = func(_ context.Context, b bridge.Batch) (int, error) {
			for _, m := range b {
				if id, again := seen[string(m.Payload)]; again && id != m.ID {
					t.Errorf("ID of %s changed from %q to %q", m.Payload, id, m.ID)
				}
				seen[string(m.Payload)] = m.ID
			}
			if failed = !failed; failed {
				return 0, errors.New("broken by the test")
			}
			return len(b), nil
		}
		for i := range 50 {
			up.Send(bridge.Message{Payload: fmt.Append(nil, i)})
		}
		up.Send(bridge.Message{ID: "own", Payload: []byte("own")})
		up.Finish()
		if err := run(t, between(up, down)); err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for _, id := range seen {
			ids[id] = true
		}
		if len(ids) != 51 || ids[""] || seen["own"] != "test-from:own" {
			t.Errorf("IDs are not unique: %v", seen)
		}
	})
}
