package pipetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// world is what a pipeline under test is connected to.
type world struct {
	clock clock
	watch *watch
	dir   string // of the pipeline's file

	mu      sync.Mutex // guards what follows
	began   time.Time
	feeds   map[string]*feed // by place
	sinks   map[string]*behaviour
	written map[string][]delivered // by place
	letters []letter
	left    []string // what steps leave out, a line each
}

// delivered is a message that a sink was given.
type delivered struct {
	bridge.Message
	settings map[string]string // what the templates in the settings of the sink make of it
}

// letter is a dead letter.
type letter struct {
	bridge.DeadLetter
	at string
}

// opener is a [bridge.Opener] that opens something else.
type opener[T any] struct {
	bridge.Opener[T]
	open func(ctx context.Context, settings any, env bridge.Env) (T, error)
}

func (o opener[T]) Open(ctx context.Context, settings any, env bridge.Env) (T, error) {
	return o.open(ctx, settings, env)
}

// DescribeSettings says what the opener says that this one replaces.
func (o opener[T]) DescribeSettings(settings any) bridge.Description {
	return config.Describe(o.Opener, settings)
}

// registry returns the same connectors with ends that lead to the world. Steps are the real ones.
func (w *world) registry(real *bridge.Registry) *bridge.Registry {
	replaced := bridge.NewRegistry()
	for _, name := range real.Names() {
		c, _ := real.Lookup(name)
		if c.Source != nil {
			c.Source = opener[bridge.Source]{c.Source, w.openSource}
		}
		if c.Sink != nil {
			c.Sink = opener[bridge.Sink]{c.Sink, w.openSink}
		}
		if step := c.Step; step != nil {
			c.Step = opener[bridge.Step]{step, func(ctx context.Context, settings any, env bridge.Env) (bridge.Step, error) {
				defer w.watch.call()()
				s, err := step.Open(ctx, settings, env)
				return watched{s, w.watch}, err
			}}
		}
		_ = replaced.Add(c) // it was added before
	}
	return replaced
}

// watched is a step whose calls are noted, since it may be in another process.
type watched struct {
	bridge.Step
	watch *watch
}

func (s watched) Process(ctx context.Context, b bridge.Batch, out *bridge.Output) error {
	defer s.watch.call()()
	return s.Step.Process(ctx, b, out)
}

// place returns the name of an instance without that of its pipeline.
func place(env bridge.Env) string { return strings.TrimPrefix(env.Instance, env.Pipeline+"-") }

// feed is what one source reads.
type feed struct {
	mostOnce bool // what was given back does not come again

	mu      sync.Mutex // guards what follows
	waiting bridge.Batch
	back    bridge.Batch // was given back, and comes again from the next instance
	ended   bool
	changed chan struct{} // closed when there is something to read
}

func (f *feed) add(b bridge.Batch, end bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting, f.ended = append(f.waiting, b...), f.ended || end
	close(f.changed)
	f.changed = make(chan struct{})
}

type source struct {
	*feed
	most int
}

func (w *world) openSource(_ context.Context, _ any, env bridge.Env) (bridge.Source, error) {
	f := w.feeds[place(env)]
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting, f.back = slices.Concat(f.back, f.waiting), nil
	return source{f, env.MaxBatch}, nil
}

func (s source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		s.mu.Lock()
		n, ended, changed := min(s.most, len(s.waiting)), s.ended, s.changed
		batch := slices.Clone(s.waiting[:n])
		s.waiting = s.waiting[n:]
		s.mu.Unlock()
		switch {
		case n > 0:
			given := slices.Clone(batch) // the other one is given away
			return batch, func(_ context.Context, err error) error { s.settle(given, err); return nil }, nil
		case ended:
			return nil, nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (s source) settle(b bridge.Batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mostOnce {
		s.back = append(s.back, b[bridge.Settled(len(b), err):]...)
	}
}

func (source) Close() error { return nil }

// sink takes what it is given, unless the test says otherwise.
type sink struct {
	*world
	place string
	of    map[string]bridge.Template
}

func (w *world) openSink(_ context.Context, settings any, env bridge.Env) (bridge.Sink, error) {
	s := sink{w, place(env), config.Templates(settings)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down(s.place) {
		return nil, errFails
	}
	return s, nil
}

var (
	errFails   = errors.New("the test has this sink fail")
	errRefuses = errors.New("the test has this sink refuse it")
)

// down reports whether a sink fails for some time, which has not passed.
func (w *world) down(place string) bool {
	b := w.sinks[place]
	return b != nil && b.Fail != nil && w.clock.Now().Sub(w.began) < b.Fail.For
}

func (s sink) Write(_ context.Context, batch bridge.Batch) (result bridge.Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	says := s.sinks[s.place]
	switch {
	case s.down(s.place):
		return result, errFails
	case says != nil && says.Fail != nil && says.Fail.Times > 0:
		says.Fail.Times--
		return result, errFails
	}
	result.Settled = len(batch)
	for i := range batch {
		m := &batch[i]
		d := delivered{Message: *m}
		d.Payload = slices.Clone(m.Payload)
		d.settings, err = s.render(m)
		if err == nil && says != nil && says.Refuse != nil {
			var yes bool
			if yes, err = says.Refuse.Match(m); yes {
				err = errRefuses
			}
		}
		if err != nil {
			result.Refused = append(result.Refused, bridge.Refusal{Index: i, Err: err})
			continue
		}
		s.take(d)
	}
	return result, nil
}

func (sink) Close() error { return nil }

// render returns what the templates of the settings make of a message. What the real sink would
// refuse for one, this one refuses, too.
func (s sink) render(m *bridge.Message) (map[string]string, error) {
	all := make(map[string]string, len(s.of))
	for _, key := range slices.Sorted(maps.Keys(s.of)) {
		text, err := s.of[key].Render(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if _, constant := s.of[key].Constant(); !constant {
			all[key] = strings.TrimPrefix(text, s.dir+"/")
		}
	}
	return all, nil
}

// take keeps what was delivered.
func (s sink) take(d delivered) {
	if s.place != deadPlace && !strings.HasSuffix(s.place, "-"+deadPlace) {
		s.written[s.place] = append(s.written[s.place], d)
		return
	}
	var l letter
	if json.Unmarshal(d.Payload, &l.DeadLetter) == nil { // the engine has encoded it
		l.at = strings.TrimPrefix(l.Instance, l.Pipeline+"-")
		s.letters = append(s.letters, l)
	}
}

// deadPlace is what the engine calls sinks for dead letters, at the end of their instances.
const deadPlace = "dead"

// state is that of a pipeline under test: nothing is kept but dead letters, for the test.
type state struct{ *world }

func (state) Checkpoint(string, string) bridge.Checkpoint { return new(bridge.MemoryCheckpoint) }

// Buffer is not called: a pipeline under test has none.
func (state) Buffer(string, bridge.BufferSettings) bridge.Buffer { return nil }

func (s state) DeadLetters(string) bridge.Endpoint[bridge.Sink] {
	return bridge.Endpoint[bridge.Sink]{
		Type: "state",
		Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
			return s.openSink(ctx, &struct{}{}, env)
		},
	}
}
