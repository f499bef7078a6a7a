package simulation

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	steps "github.com/xrtcbridge/xrtcbridge/bridge/step"
)

// openReal opens the step that the YAML describes, nil if there is none.
func openReal(ctx context.Context, yaml string, env bridge.Env) (bridge.Step, error) {
	if yaml == "" {
		return nil, nil //nolint:nilnil // which is what nobody asks
	}
	nowhere := bridge.Connector{
		Name: "nowhere",
		Source: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Source,
			error,
		) {
			return nil, errPlanned
		}),
		Sink: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Sink,
			error,
		) {
			return nil, errPlanned
		}),
	}
	l := config.Loader{Registry: bridge.NewRegistry(nowhere, steps.Batch(), steps.Delay(), steps.Throttle(),
		steps.Window())}
	c, err := l.Parse("p.yaml", []byte("pipelines: {p: {from: nowhere, to: nowhere, steps: ["+yaml+"]}}"))
	if err != nil {
		return nil, err
	}
	return c.Pipelines[0].Steps[0].Open(ctx, env)
}

// ask asks the real step, if there is one, about the messages that are not left out as planned. It
// returns what it said, and which messages of the batch it was about.
func (s *step) ask(ctx context.Context, b bridge.Batch, out *bridge.Output) (said *bridge.Outcome, of []int, err error) {
	if s.real == nil {
		return nil, nil, nil
	}
	var in bridge.Batch
	for i, m := range b {
		id := string(m.Payload)
		if !chance(s.Seed, s.name, "drop", id, s.step.Drop) && !chance(s.Seed, s.name, "refuse", id, s.step.Refuse) {
			in, of = append(in, m), append(of, i)
		}
	}
	said, err = s.runner.Process(ctx, s.real, out.Call(), in, out.Last())
	return said, of, err
}

// repeat says what the real step has said, in names that the model knows. The lock must be held.
func (s *step) repeat(b bridge.Batch, out *bridge.Output, said *bridge.Outcome, of []int) {
	ids := make([]string, len(b))
	for i := range b {
		ids[i] = string(b[i].Payload)
		s.leavesOut(i, ids[i], out)
	}
	for _, i := range said.Held {
		out.Hold(of[i])
	}
	for k, m := range said.Messages {
		if from := said.Origin(k); from.Index >= 0 { // throttle lets it pass at once
			out.Hold(of[from.Index])
		}
		text := string(m.Payload)
		switch {
		case s.step.Keep:
			out.Add(message("d(" + text + ")"))
			s.makes("d("+text+")", text)
			continue
		case strings.HasPrefix(text, "{"):
			var w struct{ List []string }
			if err := json.Unmarshal(m.Payload, &w); err != nil {
				s.wrong("%s made %s: %v", s.name, text, err)
			}
			text = strings.Join(w.List, "\n")
		}
		all := strings.Split(text, "\n")
		id := "w(" + strings.Join(all, ",") + ")"
		out.Add(message(id))
		s.makes(id, all...)
	}
	for _, r := range said.Refused {
		s.wrong("%s refused %s: %v", s.name, ids[of[r.Index]], r.Err)
		out.Refuse(of[r.Index], r.Err)
	}
	out.Release(said.Released)
	if said.Woken {
		out.Wake(said.Wake)
	}
}
