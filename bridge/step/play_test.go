package step_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
)

// timed are the steps that hold, or go by time.
var timed = []bridge.Connector{
	step.Batch(), step.Conflate(), step.Dedupe(), step.Delay(), step.Log(), step.Sample(), step.Throttle(), step.Window(),
}

func parse(text string) (*config.Config, error) {
	ends := bridge.Connector{
		Name: "stdio",
		Source: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Source, error) {
			panic("not opened here")
		}),
		Sink: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Sink, error) {
			panic("not opened here")
		}),
	}
	return config.Loader{Registry: bridge.NewRegistry(append(timed, ends)...)}.Parse("p.yaml", []byte(text))
}

func openStep(t testing.TB, yaml string, log *slog.Logger) bridge.Step {
	t.Helper()
	env := bridgetest.Env(t, "p-step")
	if log != nil {
		env.Logger = log
	}
	return openIn(t, yaml, env)
}

func openIn(t testing.TB, yaml string, env bridge.Env) bridge.Step {
	t.Helper()
	c, err := parse("pipelines: {p: {from: stdio, steps: [" + yaml + "], to: stdio}}")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Pipelines[0].Steps[0].Open(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// player calls a step as the engine does, and writes down what it says: the time, what goes on,
// how many are dropped, what is refused, and of how many calls something is held.
type player struct {
	t      *testing.T
	step   bridge.Step
	runner bridge.StepRunner
	began  time.Time
	wake   time.Time
	call   uint64
	said   []string
}

func (p *player) process(last bool, in ...bridge.Message) {
	p.t.Helper()
	p.call++
	var payloads [][]byte
	for _, m := range in {
		payloads = append(payloads, m.Payload)
	}
	o, err := p.runner.Process(p.t.Context(), p.step, p.call, in, last)
	if err != nil {
		p.t.Fatal(err)
	}
	if o.Woken {
		p.wake = time.Time{}
		if o.Wake > 0 {
			p.wake = time.Now().Add(o.Wake)
		}
	}
	var line []string
	for _, m := range o.Messages {
		line = append(line, m.Topic+"="+strings.ReplaceAll(string(m.Payload), "\n", "⏎"))
	}
	for k := range o.Messages {
		if from := o.Origin(k); from.Index >= 0 {
			line[k] += "↷" // it was not held
		}
	}
	if n := len(o.Dropped); n > 0 {
		line = append(line, fmt.Sprintf("drops %d", n))
	}
	for _, r := range o.Refused {
		line = append(line, fmt.Sprintf("refuses %d: %s", r.Index, r.Err))
	}
	if n := p.call - o.Released; n > 0 {
		line = append(line, fmt.Sprintf("owes %d", n))
	}
	if len(line) > 0 {
		p.said = append(p.said, fmt.Sprintf("%s: %s", time.Since(p.began), strings.Join(line, ", ")))
	}
	for _, b := range payloads {
		copy(b, strings.Repeat("!", len(b))) // as a source may do with its memory
	}
}

// until calls the step when it wants to be, until that time.
func (p *player) until(at time.Duration) {
	end := p.began.Add(at)
	for !p.wake.IsZero() && p.wake.Before(end) {
		<-time.After(time.Until(p.wake))
		p.wake = time.Time{}
		p.process(false)
	}
	<-time.After(time.Until(end))
}

// play is what a step is given: lines of a time and messages, as "1s a=1 b=2", and the end of all.
func play(t *testing.T, s func() bridge.Step, in string) (said []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &player{t: t, step: s(), began: time.Now()}
		for line := range strings.Lines(in) {
			words := strings.Fields(line)
			at, err := time.ParseDuration(words[0])
			if err != nil {
				t.Fatal(err)
			}
			p.until(at)
			if words[1] == "end" {
				p.process(true)
				break
			}
			var b bridge.Batch
			for _, w := range words[1:] {
				topic, payload, _ := strings.Cut(w, "=")
				b = append(b, bridge.Message{
					ID: w, Topic: topic, Payload: []byte(strings.ReplaceAll(payload, "⏎", "\n")), Time: time.Now(),
				})
			}
			p.process(false, b...)
		}
		if err := p.step.Close(); err != nil {
			t.Error(err)
		}
		said = p.said
	})
	return said
}

// scene is a step, what it is given, and what it says.
type scene struct{ name, step, in, want string }

func playAll(t *testing.T, scenes []scene) {
	t.Helper()
	for _, c := range scenes {
		t.Run(c.name, func(t *testing.T) {
			got := play(t, func() bridge.Step { return openStep(t, c.step, nil) }, strings.TrimSpace(c.in))
			if diff := cmp.Diff(strings.Split(strings.TrimSpace(c.want), "\n"), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.step, diff)
			}
		})
	}
}

// mistakes are settings that are wrong, and what is said of them.
func mistakes(t *testing.T, cases map[string]string) {
	t.Helper()
	for yaml, want := range cases {
		if _, err := parse("pipelines: {p: {from: stdio, steps: [" + yaml + "], to: stdio}}"); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", yaml, err, want)
		}
	}
}

func TestTimedExamples(t *testing.T) {
	for _, c := range timed {
		p, err := parse(c.Example)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		for _, s := range p.Pipelines[0].Steps {
			if s.Type != c.Name {
				t.Errorf("the example of %s has the step %s", c.Name, s.Type)
			}
			if opened, err := s.Open(t.Context(), bridgetest.Env(t, "p-step")); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			} else if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
