package pipetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// watchful is a step whose world hears what it leaves out.
type watchful struct {
	bridge.Step
	world *world
	name  string
}

// watchSteps has the world hear what the steps of p leave out.
func (w *world) watchSteps(p *engine.Pipeline) {
	p.Walk(func(name string, _ []string, e *bridge.Endpoint[bridge.Step]) {
		open, name := e.Open, e.Type+" "+strings.TrimPrefix(name, p.Name+"-")
		e.Open = func(ctx context.Context, env bridge.Env) (bridge.Step, error) {
			s, err := open(ctx, env)
			if err != nil {
				return nil, err
			}
			return watchful{s, w, name}, nil
		}
	}, func(string, []string, *engine.Branch, bool) {})
}

func (s watchful) Process(ctx context.Context, b bridge.Batch, out *bridge.Output) error {
	err := s.Step.Process(ctx, b, out)
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	for _, i := range out.SoFar().Dropped {
		s.world.left = append(s.world.left, s.name+": "+delivered{Message: b[i]}.line(nil)+"\n")
	}
	return err
}

// leftOut says what went to no sink because of steps and conditions, empty if there is nothing.
func (o *outcome) leftOut() string {
	var said []string
	if n := len(o.left); n > 0 {
		said = append(said, "steps have left out:\n"+indented(slices.Clone(o.left[:min(n, mostLog)])))
	}
	if n := len(o.left) - mostLog; n > 0 {
		said = append(said, fmt.Sprintf("    … and %d more", n))
	}
	if n := int(o.ledger.Filtered) - len(o.left); n > 0 { //nolint:gosec // not so many
		said = append(said, bridge.Plural(n, "message")+" had no sink whose condition (when) holds")
	}
	return strings.Join(said, "\n")
}
