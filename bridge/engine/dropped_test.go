package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// sieve is a sink that leaves out some messages of each batch and tells the engine.
type sieve struct {
	env  bridge.Env
	keep func(n int) int // how many of n messages are kept
	fail int             // this many writes fail first, after half of the batch

	omitted uint64
}

func (s *sieve) endpoint() bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{Type: "sieve", Open: func(_ context.Context, env bridge.Env) (bridge.Sink, error) {
		s.env = env
		return s, nil
	}}
}

func (s *sieve) Write(_ context.Context, b bridge.Batch) (r bridge.Result, err error) {
	r.Settled = len(b)
	if s.fail > 0 {
		s.fail--
		r.Settled, err = r.Settled/2, errors.New("half of it")
	}
	for i := s.keep(r.Settled); i < r.Settled; i++ {
		r.Omitted = append(r.Omitted, i)
		s.omitted++
	}
	return r, err
}

func (s *sieve) Close() error { return nil }

func half(n int) int { return n / 2 }
func all(n int) int  { return n }

// What a sink leaves out on purpose is counted as dropped, once.
func TestDroppedBySinkIsCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		sinks  []*sieve
		flight int
	}{
		{"One", []*sieve{{keep: half}}, 1},
		{"AfterFailures", []*sieve{{keep: func(int) int { return 0 }, fail: 3}}, 1},
		{"OneOfTwo", []*sieve{{keep: all}, {keep: half}}, 1},
		{"Both", []*sieve{{keep: half}, {keep: half}}, 1},
		{"InFlight", []*sieve{{keep: half}}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := new(bridgetest.Upstream)
			up.Send(bridgetest.Numbered(100)...)
			up.Finish()
			p := &engine.Pipeline{
				Name: "p", From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}, MaxBatch: 20,
				MaxInFlight: c.flight,
			}
			for _, s := range c.sinks {
				p.To.Branches = append(p.To.Branches, engine.To(s.endpoint()))
			}
			if err := p.Run(t.Context(), bridge.Env{}, nil); err != nil {
				t.Fatal(err)
			}
			l, want := p.Ledger(), c.sinks[len(c.sinks)-1].omitted
			if want < 50 || !l.Balanced() || l.Received != 100 || l.Dropped != want || l.Delivered != 100-want {
				t.Errorf("ledger %+v, want %d dropped", l, want)
			}
		})
	}
}

// counter is a source that counts on from its checkpoint and breaks after each number.
type counter struct {
	env  bridge.Env
	next int
	done bool
}

func (c *counter) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if c.done {
		return nil, nil, errors.New("broken")
	}
	c.done = true
	ack := func(ctx context.Context, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it is read again
		}
		return c.env.Checkpoint.Save(ctx, fmt.Append(nil, c.next+1))
	}
	return bridge.Batch{{Payload: fmt.Append(nil, c.next)}}, ack, ctx.Err()
}

func (c *counter) Close() error { return nil }

// A new instance finds what the last one in its place has saved, and no other's.
func TestCheckpointSurvivesTheInstance(t *testing.T) {
	open := func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
		c := &counter{env: env}
		saved, err := env.Checkpoint.Load(ctx)
		if err != nil {
			return nil, err
		}
		if saved != nil {
			if _, err := fmt.Sscan(string(saved), &c.next); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
	down := new(bridgetest.Downstream)
	source := bridge.Endpoint[bridge.Source]{Type: "counter", Open: open}
	p := &engine.Pipeline{
		Name: "p", From: []bridge.Endpoint[bridge.Source]{source, source},
		To: engine.To(down.Endpoint()),
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, bridge.Env{}, nil) }()
	bridgetest.Eventually(t, "both sources have counted to two", func() bool { return len(down.Got()) >= 6 })
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for _, m := range down.Got() {
		seen[string(m.Payload)]++
	}
	for _, n := range []string{"0", "1"} {
		if seen[n] != 2 {
			t.Errorf("%s came %d times, want once from each source", n, seen[n])
		}
	}
}
