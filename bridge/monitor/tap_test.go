package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// reused is a source of texts that uses its memory again once they are acknowledged. It refuses
// "whole", at first.
type reused struct {
	left   []string
	memory []byte
}

func (r *reused) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	if len(r.left) == 0 {
		return nil, nil, io.EOF
	}
	n := min(len(r.left), 1000)
	var b bridge.Batch
	var refused bridge.Refusals
	r.memory = slices.Grow(r.memory[:0], len(strings.Join(r.left[:n], "")))
	for i, text := range r.left[:n] {
		from := len(r.memory)
		r.memory = append(r.memory, text...)
		b = append(b, bridge.Message{Topic: "a", Payload: r.memory[from:], Header: map[string]string{"k": text}})
		if text == "broken" {
			refused = append(refused, bridge.Refusal{Index: i, Err: errors.New("cannot be read")})
		}
	}
	r.left = r.left[n:]
	ack := func(context.Context, error) error {
		for i := range r.memory {
			r.memory[i] = '#'
		}
		return nil
	}
	if len(refused) > 0 {
		return b, ack, refused
	}
	return b, ack, nil
}

func (*reused) Close() error { return nil }

// acts does with each message what its payload says.
type acts struct{}

func (acts) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i, m := range b {
		switch string(m.Payload) {
		case "filter":
			out.Drop(i)
		case "double":
			out.Emit(i, bridge.Message{Payload: []byte("first")})
			out.Emit(i, bridge.Message{Payload: []byte("second")})
		case "hold":
			out.Hold(i)
		case "refuse":
			out.Refuse(i, errors.New("not liked"))
		default:
			out.Pass(i)
		}
	}
	if out.Last() {
		out.Add(bridge.Message{Payload: []byte("released")})
		out.Release(out.Call())
	}
	return nil
}

func (acts) Close() error { return nil }

// picky is a sink that fails once, refuses "second" and leaves out "omit".
type picky struct{ fails *bool }

func (p picky) Write(_ context.Context, b bridge.Batch) (r bridge.Result, _ error) {
	if *p.fails {
		*p.fails = false
		return r, errors.New("connection lost")
	}
	r.Settled = len(b)
	for i := range b {
		switch string(b[i].Payload) {
		case "second":
			r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: errors.New("too late")})
		case "omit":
			r.Omitted = append(r.Omitted, i)
		}
	}
	return r, nil
}

func (picky) Close() error { return nil }

func endpoint[T any](typ string, instance T) bridge.Endpoint[T] {
	return bridge.Endpoint[T]{Type: typ, Open: func(context.Context, bridge.Env) (T, error) { return instance, nil }}
}

// tapped runs a pipeline over texts, with a step that acts on them, and returns what a tap saw.
func tapped(t *testing.T, texts []string, o monitor.TapOptions) (seen []*monitor.Tapped, lost monitor.Lost) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fails := slices.Contains(texts, "fail")
		p := &engine.Pipeline{
			Name:    "x",
			From:    []bridge.Endpoint[bridge.Source]{endpoint[bridge.Source]("reused", &reused{left: texts})},
			Steps:   []bridge.Endpoint[bridge.Step]{endpoint[bridge.Step]("acts", acts{})},
			To:      engine.To(endpoint[bridge.Sink]("picky", picky{&fails})),
			OnError: bridge.OnError{Then: bridge.FateDrop},
		}
		m := monitor.New()
		m.Watch(p)
		tap, err := m.Tap("x", o)
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		if err := p.Run(t.Context(), bridge.Env{}, nil); err != nil {
			t.Fatal(err)
		}
		if l := p.Ledger(); l.Received != uint64(len(texts)) || !l.Balanced() {
			t.Errorf("the pipeline has not gone on as without a tap: %+v", l)
		}
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			one, err := tap.Next(ctx)
			cancel()
			if err != nil {
				break
			}
			seen = append(seen, one)
		}
		lost = tap.Lost()
	})
	return seen, lost
}

// line writes what a tap saw in short.
func line(t *monitor.Tapped) string {
	text := t.Place + " " + t.Outcome
	if t.Reason != "" {
		text += " (" + t.Reason + ")"
	}
	if t.Message != nil {
		text += " " + string(t.Message.Payload)
	}
	for _, m := range t.After {
		text += " > " + string(m.Payload)
	}
	return text
}

func shown(all []*monitor.Tapped) (texts []string) {
	for _, t := range all {
		texts = append(texts, line(t))
	}
	return texts
}

// TestTapShowsWhatBecomes holds that a tap tells of each message at each place what became of it,
// and beside it what a step made of it, whatever source and steps do with their memory then.
func TestTapShowsWhatBecomes(t *testing.T) {
	texts := []string{"pass", "broken", "filter", "double", "hold", "refuse", "omit", "fail"}
	for _, test := range []struct {
		place string
		want  []string
	}{
		{"from", []string{
			"from received pass", "from refused (cannot be read) broken", "from received filter", "from received double",
			"from received hold", "from received refuse", "from received omit", "from received fail",
		}},
		{"x-step", []string{
			"step passed pass > pass", "step filtered filter", "step changed double > first > second", "step held hold",
			"step refused (not liked) refuse", "step passed omit > omit", "step passed fail > fail", "step released > released",
		}},
		{"sinks", []string{
			"to failed (connection lost) pass", // the first batches are small
			"to delivered pass", "to delivered first", "to refused (too late) second", "to dropped omit", "to delivered fail",
			"to delivered released",
		}},
	} {
		seen, lost := tapped(t, texts, monitor.TapOptions{Place: test.place})
		if diff := cmp.Diff(test.want, shown(seen)); diff != "" || lost != (monitor.Lost{}) {
			t.Errorf("%s: lost %+v, want (-) and got (+):\n%s", test.place, lost, diff)
		}
		for _, one := range seen {
			text, err := json.Marshal(one)
			var back monitor.Tapped
			if err != nil || json.Unmarshal(text, &back) != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if diff := cmp.Diff(line(one), line(&back)); diff != "" {
				t.Errorf("%s is not what it was: %s", text, diff)
			}
			if m := one.Message; m != nil && one.Place == "from" && m.Header["k"] != string(m.Payload) {
				t.Errorf("header %v of %q", m.Header, m.Payload)
			}
		}
	}
	if all, _ := tapped(t, texts, monitor.TapOptions{}); len(all) != 8+8+7 {
		t.Errorf("%d are seen everywhere, want 23", len(all))
	}
}

// TestTapIsBounded holds that a tap that nobody reads keeps no more than it may, counts the rest,
// and that the pipeline goes on.
func TestTapIsBounded(t *testing.T) {
	const n = 20_000
	long := strings.Repeat("é", 40_000)
	for name, test := range map[string]struct {
		text         string
		total, bytes int
		cut          bool
	}{
		"many":  {"pass", n, 0, false},
		"long":  {long, 200, 0, true},
		"whole": {long, 200, monitor.MostTapBytes, false},
	} {
		total := test.total
		seen, lost := tapped(t, slices.Repeat([]string{test.text}, total), monitor.TapOptions{Place: "to", Bytes: test.bytes})
		var bytes int
		for _, one := range seen {
			bytes += len(one.Message.Payload) + len(one.Message.Header["k"])
			if test.cut != (one.Cut > 0) || !utf8.Valid(one.Message.Payload) {
				t.Fatalf("%s: %d bytes are cut, of %q", name, one.Cut, one.Message.Payload)
			}
		}
		if len(seen) == 0 || len(seen)+int(lost.Missed) != total || bytes > 9<<20 {
			t.Errorf("%s: %d seen with %d bytes, and %+v, of %d", name, len(seen), bytes, lost, total)
		}
		if !test.cut && lost.Missed == 0 {
			t.Errorf("%s: nothing is missed of %d", name, total)
		}
	}
}

// TestTapSamples holds that each place shows so many in a time, and that others are counted, and
// none that the condition is for if there is one.
func TestTapSamples(t *testing.T) {
	texts := slices.Repeat([]string{"pass", "filter"}, 500)
	seen, lost := tapped(t, texts, monitor.TapOptions{Most: 3, Per: time.Hour})
	if diff := cmp.Diff([]string{
		"from received filter", "from received pass", "from received pass",
		"step filtered filter", "step passed pass > pass", "step passed pass > pass",
		"to delivered pass", "to delivered pass", "to delivered pass",
	}, slices.Sorted(slices.Values(shown(seen)))); diff != "" {
		t.Error(diff)
	}
	if want := uint64(1000 + 1000 + 500 - 9); lost.Skipped != want || lost.Missed != 0 {
		t.Errorf("lost %+v, want %d skipped", lost, want)
	}
	when, err := expr.Condition(`payload == "rare" || payload == "common"`)
	if err != nil {
		t.Fatal(err)
	}
	texts = slices.Concat(texts, []string{"common", "common", "rare"})
	seen, lost = tapped(t, texts, monitor.TapOptions{Place: "from", When: when, Most: 1, Per: time.Hour})
	if got := shown(seen); !slices.Equal(got, []string{"from received common"}) || lost.Skipped != 2 || lost.Missed != 0 {
		t.Errorf("%q, %+v", got, lost)
	}
}

// TestTapAsksCondition holds that it is asked of the message before a step and of those behind, of
// the whole of them, and that it is told when it has no answer.
func TestTapAsksCondition(t *testing.T) {
	for _, test := range []struct {
		when, place, want string
		failed            uint64
	}{
		{`payload == "second"`, "step", "step changed double > first > second", 0},
		{`payload == "double"`, "step", "step changed double > first > second", 0},
		{`payload == "released"`, "step", "step released > released", 0},
		{`json.a > 1`, "from", "", 5},
		{`payload endsWith "end"`, "from", "from received " + strings.Repeat("x", 19), 0},
	} {
		when, err := expr.Condition(test.when)
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{"pass", "double", "hold", "omit", strings.Repeat("x", 100_000) + "end"}
		seen, lost := tapped(t, texts, monitor.TapOptions{Place: test.place, When: when, Bytes: 20})
		got := strings.Join(shown(seen), "\n")
		if got != test.want || lost.Failed != test.failed || (lost.Why != "") != (test.failed > 0) {
			t.Errorf("%s: %q and %+v, want %q", test.when, got, lost, test.want)
		}
	}
}

// TestTapUnknown holds that names that there are not are told with those that there are, that not
// any number of taps can be open, and that closing one makes room.
func TestTapUnknown(t *testing.T) {
	m := monitor.New()
	p := &engine.Pipeline{
		Name: "sensors", From: []bridge.Endpoint[bridge.Source]{endpoint[bridge.Source]("lines", &lines{})},
		Steps: []bridge.Endpoint[bridge.Step]{endpoint[bridge.Step]("acts", acts{})},
		To:    engine.To(endpoint[bridge.Sink]("picky", picky{})),
	}
	m.Watch(p)
	for _, test := range []struct{ pipeline, place, want string }{
		{"senors", "", `there is no pipeline "senors"; did you mean sensors? pipelines: sensors`},
		{
			"sensors", "too",
			`there is no place "too"; did you mean to? places: from, step, to, sources, steps, sinks, dead_letters`,
		},
		{"sensors", "buffers", `there is no place "buffers"; places: from, step, to, sources, steps, sinks, dead_letters`},
	} {
		if _, err := m.Tap(test.pipeline, monitor.TapOptions{Place: test.place}); err == nil || err.Error() != test.want {
			t.Errorf("%s/%s: %v, want %s", test.pipeline, test.place, err, test.want)
		}
	}
	var open []*monitor.Tap
	for {
		tap, err := m.Tap("sensors", monitor.TapOptions{})
		if err != nil {
			if !errors.Is(err, monitor.ErrTooManyTaps) || len(open) < 8 {
				t.Errorf("%d are open: %v", len(open), err)
			}
			break
		}
		open = append(open, tap)
	}
	open[0].Close()
	open[0].Close()
	again, err := m.Tap("sensors", monitor.TapOptions{})
	if err != nil {
		t.Error(err)
	}
	m.Forget("sensors")
	if _, err := again.Next(t.Context()); !errors.Is(err, monitor.ErrTapGone) {
		t.Errorf("a tap of a pipeline that is gone: %v", err)
	}
	for _, tap := range open {
		tap.Close()
	}
	m.Watch(p)
	for range len(open) {
		if _, err := m.Tap("sensors", monitor.TapOptions{}); err != nil {
			t.Fatalf("those that have ended count: %v", err)
		}
	}
}

// forward is a step that lets all go on.
type forward struct{}

func (forward) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i := range b {
		out.Pass(i)
	}
	return nil
}

func (forward) Close() error { return nil }

// repeats returns the same batch for ever.
type repeats struct{ b, copy bridge.Batch }

func (e *repeats) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	copy(e.copy, e.b)
	return e.copy, func(context.Context, error) error { return nil }, nil
}

func (*repeats) Close() error { return nil }

// takeSome takeSome n messages, and then ends the run.
type takeSome struct {
	left int
	end  func()
}

func (k *takeSome) Write(_ context.Context, b bridge.Batch) (bridge.Result, error) {
	if k.left -= len(b); k.left <= 0 {
		k.end()
	}
	return bridge.Result{Settled: len(b)}, nil
}

func (*takeSome) Close() error { return nil }

// BenchmarkTap is what a message costs in a pipeline with a step, without a monitor, with one, and
// with taps that are sampled, and that nobody reads.
func BenchmarkTap(b *testing.B) {
	for _, taps := range []int{-1, 0, 1, 3} {
		name := "no monitor"
		if taps >= 0 {
			name = fmt.Sprintf("taps=%d", taps)
		}
		b.Run(name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			batch := make(bridge.Batch, 1024)
			for i := range batch {
				batch[i].Payload = make([]byte, 256)
			}
			p := &engine.Pipeline{
				Name:  "x",
				From:  []bridge.Endpoint[bridge.Source]{endpoint[bridge.Source]("repeats", &repeats{batch, slices.Clone(batch)})},
				Steps: []bridge.Endpoint[bridge.Step]{endpoint[bridge.Step]("forward", forward{})},
				To:    engine.To(endpoint[bridge.Sink]("takeSome", &takeSome{b.N, cancel})),
			}
			m := monitor.New()
			if taps >= 0 {
				m.Watch(p)
			}
			for range taps {
				if _, err := m.Tap("x", monitor.TapOptions{Most: 100, Per: time.Second}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := p.Run(ctx, bridge.Env{}, nil); err != nil {
				b.Fatal(err)
			}
		})
	}
}
