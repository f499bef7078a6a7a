package step_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	stdio := bridge.Connector{
		Name: "stdio",
		Source: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Source, error) {
			return nil, errors.New("not opened here")
		}),
		Sink: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Sink, error) {
			return nil, errors.New("not opened here")
		}),
	}
	return config.Loader{Registry: bridge.NewRegistry(step.Filter(), stdio)}.Parse("p.yaml", []byte(text))
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
		{"{when: json.c > 20, on_error: drop}", []string{"x", `{"c":21}`, `{}`, `{"c":22}`}, []string{`{"c":21}`, `{"c":22}`}},
	} {
		got, err := open(t, c.filter).Process(t.Context(), batch(c.in...))
		if diff := cmp.Diff(c.want, payloads(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c.filter, err, diff)
		}
	}
}

func TestFilterReusesTheBatch(t *testing.T) {
	in := batch(`{"c":1}`, `{"c":21}`)
	got, err := open(t, "json.c > 20").Process(t.Context(), in)
	if err != nil || len(got) != 1 || &got[0] != &in[0] {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFilterStopsWhereThereIsNoAnswer(t *testing.T) {
	for payload, why := range map[string]string{
		"secret": "the payload is not JSON",
		"{}":     "nil > a number means nothing; write … ?? 0 if it may be missing",
	} {
		got, err := open(t, "json.c > 20").Process(t.Context(), batch(`{"c":21}`, payload))
		want := fmt.Sprintf(`message with topic "", %d bytes: evaluate json.c > 20: %s (on_error: drop leaves such messages out)`, len(payload), why)
		if err == nil || err.Error() != want || got != nil {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
}

func TestFilterSettings(t *testing.T) {
	for filter, want := range map[string]string{
		"{on_error: drop}":               "the key when is missing; it must be a condition",
		"{when: 'true', on_error: keep}": `on_error cannot be "keep"; allowed: drop, stop`,
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
		t.Errorf("got %+v, %v", c, err)
	}
}
