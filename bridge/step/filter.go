// Package step has the steps that are built in.
package step

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed filter.yaml
var filterExample string

// Filter returns the connector filter, a step that lets the messages pass for
// which a condition is true.
//
// # Settings
//
// when is the condition; in place of the mapping, `filter: json.celsius > 20`
// sets it. on_error says what becomes of a message for which the condition has
// no answer, because its payload is not JSON, say: stop (the default) stops the
// pipeline, so that nothing is lost unnoticed, and drop takes it for one that
// does not match.
//
// # Errors
//
// The error that stops the pipeline names the expression and the reason, and
// shows nothing of the message.
func Filter() bridge.Connector {
	return bridge.Connector{
		Name:     "filter",
		Summary:  "lets messages pass that meet a condition",
		Delivery: "what does not pass is counted as filtered",
		Example:  filterExample,
		Step:     bridge.NewOpener(filterSettings{OnError: "stop"}, openFilter),
	}
}

type filterSettings struct {
	When    bridge.Condition `yaml:"when,short,required"`
	OnError string           `yaml:"on_error" enum:"stop|drop"`
}

type filter struct {
	when bridge.Condition
	drop bool
}

var _ bridge.Step = (*filter)(nil)

func openFilter(_ context.Context, s *filterSettings, _ bridge.Env) (bridge.Step, error) {
	return &filter{when: s.When, drop: s.OnError == "drop"}, nil
}

func (f *filter) Process(_ context.Context, batch bridge.Batch) (bridge.Batch, error) {
	kept := batch[:0]
	for i := range batch {
		yes, err := f.when.Match(&batch[i])
		if err != nil && !f.drop {
			return nil, fmt.Errorf("message with topic %q, %d bytes: %w (on_error: drop leaves such messages out)",
				batch[i].Topic, len(batch[i].Payload), err)
		}
		if yes && err == nil {
			kept = append(kept, batch[i])
		}
	}
	return kept, nil
}
