// Package pipetest runs the tests of pipelines that stand in NAME_test.yaml beside NAME.yaml.
//
// # What is real
//
// A pipeline under test is that of the file, run by the engine: its steps, conditions, routing,
// retries and on_error. Sources and sinks are replaced by ends that hand over what the test says
// and keep what arrives; the templates in the settings of a sink are rendered, and what they refuse
// is refused. Time passes only where the test says so, and then all that waits for it happens in
// its order, however long that would take; now in expressions is that time. rand and uuid() give
// the same in each run of a test: numbers that are drawn, and 00000000-0000-4000-8000-000000000001
// and so on. A buffer is left out: what goes into it comes out at once.
//
// # What is expected
//
// What is not mentioned is not compared, but for surprises, which fail: a message at a sink that is
// not named while others are, a dead letter, a message that is dropped, one that is still held, a
// pipeline that stops.
//
// # Decisions
//
// Whether a pipeline is at rest is asked of the runtime (2026-11), which knows of each goroutine
// whether it waits: counting what is under way, in the engine, would have to be right at each place
// where it waits, and cost something in each pipeline that is no test.
package pipetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

// Options say how tests are run.
type Options struct {
	// Load reads pipeline files, as run does, with a loader that adjust may change.
	Load func(files []string, adjust func(*config.Loader)) (*config.Config, error)

	// Run, if not nil, selects the tests whose names it matches.
	Run *regexp.Regexp

	// Update writes into the file what has come of the tests that fail, in place of what was
	// expected.
	Update bool
}

// Result is what came of one test.
type Result struct {
	Name     string
	Place    string // in its file: file:line:col
	Took     time.Duration
	Failures []string // empty: it has passed; each may have several lines
	Updated  bool     // what was expected has been replaced
}

// Run runs the tests in a file, one after the other. An error says that there is something wrong
// with the file, or those that it tests, and nothing was run; mistakes in it are [config.Errors].
func Run(ctx context.Context, name string, o Options) ([]Result, error) {
	r := &runner{Options: o, name: name}
	if err := r.load(); err != nil {
		return nil, err
	}
	var all []Result
	var edits []edit
	for i := range r.file.Tests {
		t := &r.file.Tests[i]
		if o.Run != nil && !o.Run.MatchString(t.Name) {
			continue
		}
		began, key := time.Now(), fmt.Sprintf("tests.%d", i)
		at, failures, err := r.run(ctx, i)
		if err != nil {
			return all, err
		}
		change := o.Update && at.broken == nil && (len(failures) > 0 || !t.Expect.asserts())
		if change {
			if err := at.savePayloads(filepath.Dir(name)); err != nil {
				return all, err
			}
			edits = append(edits, edit{r.places.Error(key+".expect", "", ""), at.write(t.names)})
		}
		all = append(all, Result{
			Name: t.Name, Place: r.places.Error(key+".name", "", "").Place(), Took: time.Since(began),
			Failures: failures, Updated: change,
		})
	}
	return all, update(name, edits)
}

// runner runs the tests in one file.
type runner struct {
	Options
	name     string
	file     *file
	places   config.Places
	files    []string
	registry *bridge.Registry
}

// load reads the file and those that it tests.
func (r *runner) load() error {
	f, err := r.decode()
	if err != nil {
		return err
	}
	r.files = f.tested(r.name)
	c, err := r.Load(r.files, func(l *config.Loader) {
		l.Getenv = f.getenv
		r.registry = l.Registry
	})
	if err != nil {
		return err
	}
	check := checker{Places: r.places}
	if err := check.check(f, c.All(), r.Update); err != nil {
		return err
	}
	r.file = f
	return nil
}

func (r *runner) decode() (f *file, err error) {
	f = new(file)
	l := config.Loader{World: expr.World{Now: func() time.Time { return beginning }}}
	r.places, err = l.DecodePlaces(r.name, f)
	return f, err
}

func (f *file) getenv(name string) (string, bool) {
	if value, set := f.Env[name]; set {
		return value, true
	}
	return os.LookupEnv(name)
}

// beginning is the time at which tests begin that say nothing else.
var beginning = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run runs one test, with everything made anew, so that it knows nothing of those before.
func (r *runner) run(ctx context.Context, i int) (*outcome, []string, error) {
	t := &r.file.Tests[i]
	w := &world{
		dir: filepath.Dir(r.files[0]), began: beginning, watch: newWatch(),
		feeds: make(map[string]*feed), sinks: t.Sinks, written: make(map[string][]delivered),
	}
	if t.Now != "" {
		w.began, _ = time.Parse(time.RFC3339Nano, t.Now) // it is right, by Validate
	}
	w.clock.now = w.began
	c, err := r.Load(r.files, func(l *config.Loader) {
		l.Getenv, l.Registry, l.World = r.file.getenv, w.registry(r.registry), w.expressions()
		l.Prepare, l.Find = nil, nil // plugins are there
	})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range c.All() {
		if t.Pipeline == "" || p.Name == t.Pipeline {
			at := w.run(ctx, p, t)
			return at, at.compare(t, func(key, message string) string {
				return r.places.Error(fmt.Sprintf("tests.%d.expect.%s", i, key), message, "").Error()
			}), nil
		}
	}
	return nil, nil, fmt.Errorf("test %q: the pipeline is gone", t.Name)
}

// expressions returns what expressions see: the time of the test, and the same numbers and
// identities in each run of it.
func (w *world) expressions() expr.World {
	var (
		mu    sync.Mutex                    // guards what follows
		drawn = rand.New(rand.NewPCG(1, 1)) //nolint:gosec // no secret
		made  int
	)
	return expr.World{
		Now: w.clock.Now,
		Rand: func() float64 {
			mu.Lock()
			defer mu.Unlock()
			return drawn.Float64()
		},
		UUID: func() string {
			mu.Lock()
			defer mu.Unlock()
			made++
			return fmt.Sprintf("00000000-0000-4000-8000-%012x", made)
		},
	}
}

// run takes a pipeline through a test.
func (w *world) run(ctx context.Context, p *engine.Pipeline, t *test) *outcome {
	for name, e := range p.Sources() {
		w.feeds[place(bridge.Env{Instance: name, Pipeline: p.Name})] = &feed{
			mostOnce: e.Guarantee.Level == bridge.LevelAtMostOnce, changed: make(chan struct{}),
		}
	}
	p.Clock, p.State, p.Buffer = bridge.NewClock(&w.clock), state{w}, nil
	p.Jitter = func(n time.Duration) time.Duration { return n / 2 }
	w.watchSteps(p)
	ctx, cancel := context.WithCancel(ctx)
	abort := make(chan struct{})
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == "pipeline" {
				return slog.Attr{}
			}
			return a
		},
	}))
	var failed error
	ended := make(chan struct{})
	go func() {
		failed = p.Run(ctx, bridge.Env{Logger: log}, abort)
		close(ended)
	}()
	broken := w.play(ctx, t)
	if broken == nil && t.End && isPaced(engine.Branch{Steps: p.Steps, Branches: []engine.Branch{p.To}}) {
		broken = w.drain(ctx, ended)
	}
	at := w.outcome(p)
	select {
	case <-ended:
		if at.failed = failed; failed == nil && !t.End {
			broken = errors.Join(broken, errors.New("the pipeline has ended though its input has not"))
		}
		cancel()
	default:
		cancel()
		close(abort)
		select {
		case <-ended: // because of us
		case <-time.After(mostUnrest):
			at.broken = errors.Join(broken, errors.New("the pipeline does not stop"))
			return at // it may still write to the log
		}
	}
	at.broken, at.log = broken, said.String()
	return at
}

// play has the sources read the messages, and time pass.
func (w *world) play(ctx context.Context, t *test) error {
	if err := w.watch.await(); err != nil { // everything is open, or tried to be
		return err
	}
	for i := 0; i < len(t.Messages); {
		if err := w.pass(ctx, t.Messages[i].After); err != nil {
			return err
		}
		from, batch := t.Messages[i].From, bridge.Batch(nil)
		for first := i; i < len(t.Messages) && t.Messages[i].From == from && (i == first || t.Messages[i].After == 0); i++ {
			batch = append(batch, t.Messages[i].batch(w.clock.Now())...)
		}
		w.feeds[from].add(batch, false)
		if err := w.watch.await(); err != nil {
			return err
		}
	}
	if !t.End {
		return nil
	}
	for _, f := range w.feeds {
		f.add(nil, true)
	}
	return w.watch.await()
}

// isPaced reports whether a step lets go in its own time at the end of the input.
func isPaced(b engine.Branch) bool {
	return slices.ContainsFunc(b.Steps, func(s bridge.Endpoint[bridge.Step]) bool { return s.Paced > 0 }) ||
		slices.ContainsFunc(b.Branches, isPaced)
}

// drain lets time pass until the pipeline has ended, and no more than a day: a sink may fail for
// ever.
func (w *world) drain(ctx context.Context, ended <-chan struct{}) error {
	for end := w.clock.Now().Add(24 * time.Hour); ; {
		select {
		case <-ended:
			return nil
		default:
		}
		over := w.clock.step(end)
		if err := errors.Join(w.watch.await(), ctx.Err()); err != nil || over {
			return err
		}
	}
}

// pass lets time pass, and all that waits for it happen.
func (w *world) pass(ctx context.Context, d time.Duration) error {
	end := w.clock.Now().Add(d)
	for over := d == 0; !over; {
		over = w.clock.step(end)
		if err := errors.Join(w.watch.await(), ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// batch returns the messages that an input is.
func (in *input) batch(now time.Time) (b bridge.Batch) {
	if !in.at.IsZero() {
		now = in.at
	}
	for _, payload := range in.payloads {
		m := bridge.Message{ID: in.ID, Payload: payload, Header: in.Header, Time: now}
		if in.Topic != nil {
			m.Topic = *in.Topic
		}
		b = append(b, m)
	}
	return b
}
