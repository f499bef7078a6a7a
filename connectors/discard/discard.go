// Package discard provides the connector that takes every message and drops
// it: for measuring what the rest of a pipeline can do, and for trying things out.
//
// # Settings
//
// The sink has none.
//
// # Delivery
//
// A message counts as delivered as soon as it is written. The engine's ledger has the numbers.
//
// # Errors
//
// Writing never fails.
package discard

import (
	"context"
	_ "embed"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Settings are the settings of the sink: none.
type Settings struct{}

// Connector returns the connector.
func Connector() bridge.Connector {
	return bridge.Connector{
		Name:     "discard",
		Summary:  "drops every message, for measuring",
		Delivery: "counts and drops what it gets",
		Example:  example,
		Sink:     bridge.NewOpener(Settings{}, open),
	}
}

func open(context.Context, *Settings, bridge.Env) (bridge.Sink, error) { return sink{}, nil }

// Describe says what happens to all messages.
func (s Settings) Describe() bridge.Description {
	return bridge.Description{Guarantee: bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "every message is dropped"}}
}
