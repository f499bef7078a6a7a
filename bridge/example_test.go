package bridge_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// words is a source: it returns the words of a text, and then the end.
type words struct{ left []string }

func (w *words) Read(context.Context) (bridge.Batch, bridge.Ack, error) {
	if len(w.left) == 0 {
		return nil, nil, io.EOF
	}
	m := bridge.Message{Topic: "words", Payload: []byte(w.left[0])}
	w.left = w.left[1:]
	acknowledge := func(context.Context, error) error { return nil } // nobody to tell
	return bridge.Batch{m}, acknowledge, nil
}

func (w *words) Close() error { return nil }

// shout is a sink: it prints in capitals.
type shout struct{ to io.Writer }

func (s shout) Write(_ context.Context, batch bridge.Batch) (bridge.Result, error) {
	for i, m := range batch {
		if _, err := fmt.Fprintf(s.to, "%s: %s\n", m.Topic, strings.ToUpper(string(m.Payload))); err != nil {
			return bridge.Result{Settled: i}, err
		}
	}
	return bridge.Result{Settled: len(batch)}, nil
}

func (s shout) Close() error { return nil }

// A connector is a pair of openers, each with its settings and their
// defaults. This one has a source that takes a text and a sink without settings.
func ExampleConnector() {
	type settings struct {
		Text string `yaml:"text,required"`
	}
	c := bridge.Connector{
		Name:    "words",
		Summary: "words of a text",
		Source: bridge.NewOpener(settings{}, func(_ context.Context, s *settings, _ bridge.Env) (bridge.Source, error) {
			return &words{strings.Fields(s.Text)}, nil
		}),
		Sink: bridge.NewOpener(struct{}{}, func(_ context.Context, _ *struct{}, env bridge.Env) (bridge.Sink, error) {
			return shout{env.Stdout}, nil
		}),
	}
	registry := bridge.NewRegistry(c)
	fmt.Println(registry.Names())
	// Output: [words]
}
