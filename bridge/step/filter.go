// Package step has the steps that are built in.
package step

import (
	"context"
	_ "embed"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed filter.yaml
var filterExample string

// Filter returns the connector filter, a step that lets the messages pass for which a condition is
// true.
//
// # Settings
//
// when is the condition; in place of the mapping, `filter: json.celsius > 20` sets it.
//
// # Errors
//
// A message for which the condition has no answer, because its payload is not JSON, say, is
// refused: on_error, of the step or of the pipeline, says what becomes of it. The reason names the
// expression and shows nothing of the message.
func Filter() bridge.Connector {
	return bridge.Connector{
		Name:     "filter",
		Summary:  "lets messages pass that meet a condition",
		Delivery: "what does not pass is counted as filtered",
		Example:  filterExample,
		Step:     bridge.NewOpener(filterSettings{}, openFilter),
	}
}

type filterSettings struct {
	When bridge.Condition `yaml:"when,short,required" doc:"the condition; in place of the mapping, filter: json.celsius > 20 sets it"`
}

// Describe says that a message that comes again is the same one.
func (filterSettings) Describe() bridge.Description { return repeats() }

type filter struct{ when bridge.Condition }

var _ bridge.Step = filter{}

func openFilter(_ context.Context, s *filterSettings, _ bridge.Env) (bridge.Step, error) {
	return filter{s.When}, nil
}

func (f filter) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	for i := range batch {
		yes, err := f.when.Match(&batch[i])
		switch {
		case err != nil:
			out.Refuse(i, err)
		case yes:
			out.Pass(i)
		default:
			out.Drop(i)
		}
	}
	return nil
}

func (filter) Close() error { return nil }

// repeats describes a step that makes the same messages, with the same ids, of one that comes
// again.
func repeats() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{StableIDs: true}}
}
