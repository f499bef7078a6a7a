package step_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registry has the steps, and ends that are not opened.
func registry() *bridge.Registry {
	stdio := bridge.Connector{
		Name: "stdio",
		Source: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Source, error) {
			return nil, errors.New("not opened here")
		}),
		Sink: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Sink, error) {
			return nil, errors.New("not opened here")
		}),
	}
	return bridge.NewRegistry(step.Filter(), step.Map(), step.Set(), step.Unset(), stdio)
}

func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	return config.Loader{Registry: registry()}.Parse("p.yaml", []byte(text))
}

func open(t *testing.T, filter string) bridge.Step {
	t.Helper()
	c, err := load(t, "pipelines: {p: {from: stdio, steps: [{filter: "+filter+"}], to: stdio}}")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Pipelines[0].Steps[0].Open(t.Context(), bridgetest.Env(t, "p.steps.1"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func batch(payloads ...string) bridge.Batch {
	b := make(bridge.Batch, len(payloads))
	for i, p := range payloads {
		b[i].Payload = []byte(p)
	}
	return b
}

func payloads(b bridge.Batch) []string {
	var all []string
	for _, m := range b {
		all = append(all, string(m.Payload))
	}
	return all
}

func TestFilterKeepsWhatMatches(t *testing.T) {
	for _, c := range []struct {
		filter   string
		in, want []string
	}{
		{"json.c > 20", []string{`{"c":21}`, `{"c":20}`, `{"c":22}`}, []string{`{"c":21}`, `{"c":22}`}},
		{"json.c > 20", []string{`{"c":1}`}, nil},
		{"json.c > 20", nil, nil},
		{"'true'", []string{"a", "b"}, []string{"a", "b"}},
		{"{when: json.c > 20}", []string{"x", `{"c":21}`, `{}`, `{"c":22}`}, []string{`{"c":21}`, `{"c":22}`}},
	} {
		o, err := new(bridge.StepRunner).Process(t.Context(), open(t, c.filter), 1, batch(c.in...), false)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, payloads(o.Messages)); diff != "" ||
			len(o.Messages)+len(o.Dropped)+len(o.Refused) != len(c.in) {
			t.Errorf("%s: %+v (-want +got):\n%s", c.filter, o, diff)
		}
	}
}

func TestFilterReusesTheBatch(t *testing.T) {
	in := batch(`{"c":1}`, `{"c":21}`)
	o, err := new(bridge.StepRunner).Process(t.Context(), open(t, "json.c > 20"), 1, in, false)
	if err != nil || len(o.Messages) != 1 || &o.Messages[0] != &in[0] {
		t.Errorf("got %+v, %v", o, err)
	}
}

// TestE3FilterRefusesWhereThereIsNoAnswer, shows nothing of the message, and goes on.
func TestE3FilterRefusesWhereThereIsNoAnswer(t *testing.T) {
	for payload, why := range map[string]string{
		"secret": "the payload is not JSON",
		"{}":     "nil > a number means nothing; write (… ?? 0) if it may be missing",
	} {
		o, err := new(bridge.StepRunner).Process(t.Context(), open(t, "json.c > 20"), 1,
			batch(`{"c":21}`, payload, `{"c":1}`, `{"c":22}`), false)
		if err != nil {
			t.Fatal(err)
		}
		if want := "evaluate json.c > 20: " + why; len(o.Refused) != 1 || o.Refused[0].Index != 1 ||
			o.Refused.Error() != want {
			t.Errorf("refused %v, want %s", o.Refused, want)
		}
		if len(o.Messages) != 2 || len(o.Dropped) != 1 || o.Dropped[0] != 2 {
			t.Errorf("the others: %+v", o)
		}
	}
}

// TestE3FilterDeadLetters is row 3 of what went wrong: one dead letter with its reason and step,
// and the rest is delivered.
func TestE3FilterDeadLetters(t *testing.T) {
	up, down, letters := new(bridgetest.Upstream), new(bridgetest.Downstream), new(bridgetest.Downstream)
	p := &engine.Pipeline{
		Name: "p", From: []bridge.Endpoint[bridge.Source]{up.Endpoint()}, To: engine.To(down.Endpoint()),
		Steps: []bridge.Endpoint[bridge.Step]{{Type: "filter", Open: func(context.Context, bridge.Env) (bridge.Step, error) {
			return open(t, "json.Temp > 10"), nil
		}}},
		OnError: bridge.OnError{Then: bridge.FateDeadLetter, DeadLetter: letters.Endpoint()},
	}
	up.Send(batch(`{"Temp":11}`, "Online", `{"Temp":1}`, `{"Temp":12}`)...)
	up.Finish()
	if err := p.Run(t.Context(), bridgetest.Env(t, ""), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`{"Temp":11}`, `{"Temp":12}`}, payloads(down.Got())); diff != "" {
		t.Error(diff)
	}
	got := letters.Got()
	if len(got) != 1 {
		t.Fatalf("%d letters", len(got))
	}
	var d bridge.DeadLetter
	if err := d.UnmarshalJSON(got[0].Payload); err != nil {
		t.Fatal(err)
	}
	if d.Reason != "evaluate json.Temp > 10: the payload is not JSON" || d.Place != "step" ||
		d.Connector != "filter" || d.Instance != "p-step" || string(d.Payload) != "Online" {
		t.Errorf("%+v", d)
	}
	if l := p.Ledger(); l.Delivered != 2 || l.Filtered != 1 || l.DeadLettered != 1 || !l.Balanced() {
		t.Errorf("%+v", l)
	}
}

func TestFilterSettings(t *testing.T) {
	for filter, want := range map[string]string{
		"{}":                             "the key when is missing; it must be a condition",
		"{when: 'true', on_error: drop}": `unknown key "on_error"; it stands beside the connector, not among its settings`,
		"topic":                          "a condition must be true or false, and this is a text",
	} {
		_, err := load(t, "pipelines: {p: {from: stdio, steps: [{filter: "+filter+"}], to: stdio}}")
		var es config.Errors
		if !errors.As(err, &es) || es[0].Message+"; "+es[0].Hint != want && es[0].Message != want {
			t.Errorf("%s: got %v, want %s", filter, err, want)
		}
	}
}

func TestFilterExample(t *testing.T) {
	c, err := load(t, step.Filter().Example)
	if err != nil || len(c.Pipelines[0].Steps) != 2 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if s := c.Pipelines[0].Steps; s[0].OnError != nil || s[1].OnError == nil || s[1].OnError.Then != bridge.FateDrop {
		t.Errorf("on_error: %+v, %+v", s[0].OnError, s[1].OnError)
	}
}
