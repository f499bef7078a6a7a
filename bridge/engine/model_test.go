package engine_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// TestF22ThresholdModel compares the window of failures with a count over a list.
func TestF22ThresholdModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const n = 300
		most, window := rapid.IntRange(1, 8).Draw(r, "most"), rapid.IntRange(1, 60).Draw(r, "window")
		percent := rapid.IntRange(0, 40).Draw(r, "percent")
		bad := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) bool {
			return rapid.IntRange(0, 99).Draw(r, "") < percent
		}), n, n).Draw(r, "bad")
		letters, stops := 0, false // so many are refused before the pipeline stops
		for i := range n {
			failed := 0
			for _, b := range bad[max(0, i+1-window) : i+1] {
				if b {
					failed++
				}
			}
			if stops = bad[i] && failed > most; stops {
				break
			}
			if bad[i] {
				letters++
			}
		}
		sink := &picky{
			tries: make(map[string]int),
			never: func(text string) bool { i, _ := strconv.Atoi(text); return bad[i] },
		}
		dead := &picky{tries: make(map[string]int)}
		p := pipeline(&numbers{n: n}, &engine.Pipeline{To: engine.To(to(sink)), OnError: bridge.OnError{
			Then: bridge.FateDeadLetter, DeadLetter: to(dead), Most: most, Window: window,
		}})
		err := p.Run(t.Context(), bridge.Env{}, nil)
		if len(dead.taken) != letters || (err != nil) != stops {
			r.Fatalf("it ended with %v after %d letters, want %d", err, len(dead.taken), letters)
		}
	})
}

// batches is a source of batches of one message, which writes down what is acknowledged.
type batches struct {
	n, next int
	mu      *sync.Mutex // guards written and acked
	written map[string]bool
	acked   []int
	early   bool // one was acknowledged before it was written
}

func (s *batches) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	if s.next == s.n {
		return nil, nil, io.EOF
	}
	i := s.next
	s.next++
	return bridge.Batch{{Payload: []byte(strconv.Itoa(i))}}, func(_ context.Context, err error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.acked = append(s.acked, i)
			s.early = s.early || !s.written[strconv.Itoa(i)]
		}
		return nil
	}, nil
}

func (*batches) Close() error { return nil }

// lateSink takes batches side by side, each after a wait of its own, and refuses one of them for
// good.
type lateSink struct {
	s      *batches
	wait   func() time.Duration
	poison string
}

func (l lateSink) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	l.s.mu.Lock()
	wait := l.wait()
	l.s.mu.Unlock()
	<-time.After(wait)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if string(b[0].Payload) == l.poison {
		return bridge.Result{}, bridge.Permanent(fmt.Errorf("poison"))
	}
	l.s.written[string(b[0].Payload)] = true
	return bridge.Result{Settled: len(b)}, nil
}

func (lateSink) Close() error { return nil }

// TestAcksModel: however many batches are in flight and whenever they are written, they are
// acknowledged after that, in the order of reading, and each once; what is refused is not, nor what
// is behind it.
func TestAcksModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n, inFlight := rapid.IntRange(1, 60).Draw(r, "n"), rapid.IntRange(1, 10).Draw(r, "in flight")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)) //nolint:gosec // no secret
		s := &batches{n: n, mu: new(sync.Mutex), written: make(map[string]bool)}
		poison := rapid.IntRange(0, 2*n).Draw(r, "poison") // or none
		sink := lateSink{
			s, func() time.Duration { return time.Duration(rng.IntN(1000)) * time.Millisecond },
			strconv.Itoa(poison),
		}
		p := &engine.Pipeline{
			Name: "acks", MaxInFlight: inFlight, To: engine.To(to(sink)),
			From: []bridge.Endpoint[bridge.Source]{{
				Type: "batches",
				Open: func(context.Context, bridge.Env) (bridge.Source, error) { return s, nil },
			}},
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = p.Run(t.Context(), bridge.Env{}, nil) })
		if s.early {
			r.Fatal("a batch was acknowledged before it was written")
		}
		for i, a := range s.acked {
			if a != i {
				r.Fatalf("acknowledged %v", s.acked)
			}
		}
		if poison >= n && (err != nil || len(s.acked) != n) || poison < n && (err == nil || len(s.acked) != poison) {
			r.Fatalf("%d of %d were acknowledged, poison %d: %v", len(s.acked), n, poison, err)
		}
		if !p.Ledger().Balanced() {
			r.Fatalf("the ledger is %+v", p.Ledger())
		}
	})
}
