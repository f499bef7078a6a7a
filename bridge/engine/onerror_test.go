package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// picky takes each message but those that it never takes, and those that it does not take at first.
type picky struct {
	mu    sync.Mutex // guards the rest
	taken []string
	tries map[string]int

	never  func(payload string) bool
	passes int // failures until a message that ends in 7 is taken
	down   int // failures of any kind of the next writes
}

func (p *picky) Write(_ context.Context, b bridge.Batch) (r bridge.Result, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, m := range b {
		text := string(m.Payload)
		r.Settled = i
		if p.down > 0 {
			p.down--
			return r, errors.New("out of order")
		}
		p.tries[text]++
		if p.never != nil && p.never(text) {
			r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: errors.New("poison")})
			continue
		}
		if strings.HasSuffix(text, "7") && p.tries[text] <= p.passes {
			return r, errors.New("not now")
		}
		p.taken = append(p.taken, text)
	}
	r.Settled = len(b)
	return r, nil
}

func (*picky) Close() error { return nil }

func to(s bridge.Sink) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{
		Type: "picky",
		Open: func(context.Context, bridge.Env) (bridge.Sink, error) { return s, nil },
	}
}

// numbers is a source of so many messages; settled is how many were acknowledged.
type numbers struct {
	n, next, settled int
	refused          error
}

func (s *numbers) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	if s.next == s.n {
		return nil, nil, errEOF
	}
	var b bridge.Batch
	for len(b) < 100 && s.next < s.n {
		b = append(b, bridge.Message{
			ID: "id" + strconv.Itoa(s.next), Topic: "t",
			Payload: []byte(strconv.Itoa(s.next)), Header: map[string]string{"k": "v"},
		})
		s.next++
	}
	return b, func(_ context.Context, err error) error {
		s.settled += bridge.Settled(len(b), err)
		if err != nil {
			s.refused = err
		}
		return nil
	}, nil
}

func (*numbers) Close() error { return nil }

func pipeline(s *numbers, p *engine.Pipeline) *engine.Pipeline {
	p.Name = "test"
	p.From = []bridge.Endpoint[bridge.Source]{{
		Type: "numbers",
		Open: func(context.Context, bridge.Env) (bridge.Source, error) { return s, nil },
	}}
	if p.OnError.FirstWait == 0 {
		p.OnError.FirstWait, p.OnError.LongestWait = time.Microsecond, time.Millisecond
	}
	return p
}

// F22: one message in a hundred never passes, and one in ten at the third attempt: each is
// delivered once or becomes a dead letter, with what is known about it.
func TestF22PoisonMessages(t *testing.T) {
	n := faulttest.Pick(10_000, 100_000)
	poison := func(text string) bool { return strings.HasSuffix(text, "13") }
	sink := &picky{tries: make(map[string]int), never: poison, passes: 2}
	dead := &picky{tries: make(map[string]int), down: 3} // it is down at first, too
	s := &numbers{n: n}
	p := pipeline(s, &engine.Pipeline{
		To:      engine.To(to(sink)),
		OnError: bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: to(dead)},
	})
	if err := p.Run(t.Context(), bridge.Env{}, nil); err != nil {
		t.Fatal(err)
	}
	want := engine.Ledger{Received: uint64(n), Delivered: uint64(n - n/100), DeadLettered: uint64(n / 100)}
	if l := p.Ledger(); l != want {
		t.Errorf("the ledger is %+v, want %+v", l, want)
	}
	if s.settled != n || len(sink.taken) != n-n/100 || len(dead.taken) != n/100 {
		t.Errorf("%d settled, %d delivered, %d dead letters", s.settled, len(sink.taken), len(dead.taken))
	}
	for i, text := range sink.taken[:len(sink.taken)-1] {
		a, _ := strconv.Atoi(text)
		b, _ := strconv.Atoi(sink.taken[i+1])
		if b <= a {
			t.Fatalf("%d came after %d", b, a)
		}
	}
	var d bridge.DeadLetter
	if err := json.Unmarshal([]byte(dead.taken[0]), &d); err != nil {
		t.Fatal(err)
	}
	if d.Reason != "poison" || d.Pipeline != "test" || d.Place != "sink" || d.Connector != "picky" ||
		d.Attempts != 1 || d.ID != "test-from:id13" || d.Topic != "t" ||
		d.Header["k"] != "v" || string(d.Payload) != "13" || d.First.IsZero() || d.Last.IsZero() {
		t.Errorf("the first dead letter is %+v", d)
	}
}

func TestF22RetryIsExact(t *testing.T) {
	sink := &picky{tries: make(map[string]int), passes: 1000}
	s := &numbers{n: 100}
	p := pipeline(s, &engine.Pipeline{To: engine.To(to(sink)), OnError: bridge.OnError{Tries: 4, Then: bridge.FateDrop}})
	if err := p.Run(t.Context(), bridge.Env{}, nil); err != nil {
		t.Fatal(err)
	}
	if l, want := p.Ledger(), (engine.Ledger{Received: 100, Delivered: 90, Dropped: 10}); l != want || s.settled != 100 {
		t.Errorf("the ledger is %+v, want %+v; %d settled", l, want, s.settled)
	}
	for text, n := range sink.tries {
		want := 1
		if strings.HasSuffix(text, "7") {
			want = 4
		}
		if text == "7" {
			want++ // the first one of a batch, where it was not alone
		}
		if n != want {
			t.Errorf("message %s was tried %d times, want %d", text, n, want)
		}
	}
}

// Where dead letters cannot be written, nothing is acknowledged; and without them the pipeline
// stops at the message.
func TestF22StopsWithTheReason(t *testing.T) {
	poison := func(text string) bool { return text == "150" }
	refuses := &picky{tries: make(map[string]int), never: func(string) bool { return true }}
	for name, c := range map[string]struct {
		onError bridge.OnError
		want    string
	}{
		"stop": {
			bridge.OnError{},
			`picky sink: message with topic "t", 3 bytes: poison; on_error: dead_letter would put it aside`,
		},
		"dead letters are refused": {
			bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: to(refuses)},
			"dead letter: picky sink",
		},
		"stop after so many attempts": {bridge.OnError{Tries: 3}, `message with topic "t", 1 byte: not now`},
	} {
		sink := &picky{tries: make(map[string]int), never: poison}
		if c.onError.Tries > 0 {
			sink.passes = 10
		}
		s := &numbers{n: 1000}
		p := pipeline(s, &engine.Pipeline{To: engine.To(to(sink)), OnError: c.onError})
		err := p.Run(t.Context(), bridge.Env{}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || s.refused == nil {
			t.Errorf("%s: %v, want %q; refused: %v", name, err, c.want, s.refused)
		}
		if l := p.Ledger(); !l.Balanced() || l.DeadLettered != 0 || l.InFlight == 0 {
			t.Errorf("%s: the ledger is %+v", name, l)
		}
	}
}

// The pipeline stops exactly at the message that is one too many of those before it.
func TestF22Threshold(t *testing.T) {
	for _, c := range []struct {
		poison func(n int) bool
		stops  int // at this message; -1: it does not
	}{
		{func(n int) bool { return n%20 == 0 }, -1},                       // 5 of 100
		{func(n int) bool { return n%20 == 0 || n == 501 }, 501},          // 6 of 100
		{func(n int) bool { return n >= 300 }, 305},                       // a burst
		{func(n int) bool { return n%100 < 5 }, -1},                       // 5, and 95 that are well
		{func(n int) bool { return n%100 < 5 || n == 499 }, 499},          // the oldest is just within
		{func(n int) bool { return n >= 100 && n%100 < 5 || n == 0 }, -1}, // the window has not begun
	} {
		sink := &picky{tries: make(map[string]int), never: func(text string) bool {
			n, _ := strconv.Atoi(text)
			return c.poison(n)
		}}
		dead := &picky{tries: make(map[string]int)}
		s := &numbers{n: 1000}
		p := pipeline(s, &engine.Pipeline{To: engine.To(to(sink)), OnError: bridge.OnError{
			Then: bridge.FateDeadLetter, DeadLetter: to(dead), Most: 5, Window: 100,
		}})
		err := p.Run(t.Context(), bridge.Env{}, nil)
		letters := 0
		for n := range 1000 {
			if n == c.stops {
				break
			}
			if c.poison(n) {
				letters++
			}
		}
		switch {
		case len(dead.taken) != letters:
			t.Errorf("%d letters, want %d", len(dead.taken), letters)
		case c.stops < 0 && err != nil:
			t.Errorf("it ended with %v", err)
		case c.stops >= 0 && (err == nil || !strings.Contains(err.Error(),
			"6 of the last 100 messages were refused, and 5 may be")):
			t.Errorf("it ended with %v", err)
		}
		if l := p.Ledger(); !l.Balanced() {
			t.Errorf("the ledger is %+v", l)
		}
	}
}

// With two sinks a message that one of them cannot take is counted once.
func TestF22SeveralSinks(t *testing.T) {
	poison := func(text string) bool { return strings.HasSuffix(text, "3") }
	a, b := &picky{tries: make(map[string]int), never: poison}, &picky{tries: make(map[string]int)}
	dead := &picky{tries: make(map[string]int)}
	s := &numbers{n: 1000}
	p := pipeline(s, &engine.Pipeline{To: engine.Branch{Branches: []engine.Branch{
		engine.To(to(a)),
		engine.To(to(b)),
	}}, OnError: bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: to(dead)}, MaxInFlight: 4})
	if err := p.Run(t.Context(), bridge.Env{}, nil); err != nil {
		t.Fatal(err)
	}
	if l := p.Ledger(); l.DeadLettered != 100 || l.Delivered != 900 || len(a.taken) != 900 ||
		len(b.taken) != 1000 || len(dead.taken) != 100 {
		t.Errorf("the ledger is %+v; %d, %d, %d", l, len(a.taken), len(b.taken), len(dead.taken))
	}
}

// Dead letters of several sinks are written one batch at a time, as their sink may expect.
func TestDeadLettersAreWrittenOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gauge)
		letters := &bridgetest.Downstream{Fault: g.fault}
		p := between(finished(texts("bad", "bad", "bad")...), refusing("bad"), refusing("bad"), refusing("bad"))
		p.MaxBatch = 1
		p.OnError = bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: letters.Endpoint()}
		if err := run(t, p); err != nil {
			t.Error(err)
		}
		if n, most := len(letters.Got()), g.most.Load(); n != 9 || most != 1 {
			t.Errorf("%d letters, and %d writes at once, want 9 and 1", n, most)
		}
	})
}

var errEOF = io.EOF

// The log has each reason at once, and counts what is alike together, whatever values stand in the
// text. What is too varied has one line for all.
func TestLogOfRefusalsTellsReasonsApart(t *testing.T) {
	for name, c := range map[string]struct {
		why  func(payload string) error
		want map[string]int // messages, by what the last line about them has
	}{
		"alike": {
			func(p string) error { return errors.New("no field " + strconv.Quote(p) + " in " + p) },
			map[string]int{"no field": 300},
		},
		"two reasons": {
			func(p string) error {
				if strings.HasSuffix(p, "3") {
					return errors.New("value " + p + " is too high")
				}
				return errors.New("no field")
			},
			map[string]int{"too high": 30, "no field": 270},
		},
		"all differ": {
			func(p string) error {
				return errors.New("bad " + strings.Repeat("x", len(p)) + strings.Repeat("y", int(p[len(p)-1])))
			},
			map[string]int{"bad": 300},
		},
	} {
		t.Run(name, func(t *testing.T) {
			source := &numbers{n: 300}
			sink := sinkFunc(func(_ context.Context, b bridge.Batch) (bridge.Result, error) {
				r := bridge.Result{Settled: len(b)}
				for i, m := range b {
					r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: c.why(string(m.Payload))})
				}
				return r, nil
			})
			var log strings.Builder
			p := pipeline(source, &engine.Pipeline{To: engine.To(to(sink)), OnError: bridge.OnError{Then: bridge.FateDrop}})
			if err := p.Run(t.Context(), logTo(&log), nil); err != nil {
				t.Fatal(err)
			}
			got, lines := make(map[string]int), 0
			for line := range strings.Lines(log.String()) {
				for kind := range c.want {
					if _, n, _ := strings.Cut(strings.TrimSpace(line), " n="); strings.Contains(line, kind) {
						count, err := strconv.Atoi(n)
						if err != nil {
							t.Fatal(line)
						}
						got[kind] += count
						lines++
					}
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" || lines > 20 {
				t.Errorf("in %d lines (-want +got):\n%s%s", lines, diff, log.String())
			}
		})
	}
}
