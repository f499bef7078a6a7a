package engine_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
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

// A pipeline runs inside any Go program.
func ExamplePipeline() {
	var out strings.Builder
	p := &engine.Pipeline{
		Name: "example",
		From: []bridge.Endpoint[bridge.Source]{{
			Type: "words",
			Open: func(context.Context, bridge.Env) (bridge.Source, error) {
				return &words{strings.Fields("at least once")}, nil
			},
		}},
		To: engine.To(bridge.Endpoint[bridge.Sink]{
			Type: "shout",
			Open: func(_ context.Context, env bridge.Env) (bridge.Sink, error) {
				return shout{env.Stdout}, nil
			},
		}),
	}
	if err := p.Run(context.Background(), bridge.Env{Stdout: &out}, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Print(out.String())
	fmt.Printf("%d received, %d delivered\n", p.Ledger().Received, p.Ledger().Delivered)
	// Output:
	// words: AT
	// words: LEAST
	// words: ONCE
	// 3 received, 3 delivered
}
