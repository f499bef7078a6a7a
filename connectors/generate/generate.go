// Package generate provides a source that makes messages up: for demonstrations, and as a load.
//
// # Settings
//
// The source has count, how many messages to make (0, the default, is without end); either
// interval, the time from one message to the next, or rate, how many a second, and with neither it
// is as fast as the sinks take them; and the templates payload and topic. In them seq counts from
// 1, now is the time, rand a number from 0 to 1. The default payload is {"seq":1,"time":"…"}.
//
// The first message comes after one interval, so that a subscriber which starts at the same time
// misses none, and each following one when it is due. If the sinks are slow, messages that have
// fallen due are made up for, but not those of more than the last second: a load that was held up
// does not come down in one heap.
//
// # Delivery
//
// A message exists when it is read, and not again: what was not delivered is lost. A restart starts
// again with the first message.
//
// # Errors
//
// A template that cannot be rendered stops the pipeline.
package generate

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed example.yaml
var example string

// Settings are the settings of the source.
type Settings struct {
	Count    int64           `yaml:"count" doc:"how many messages; 0 is without end"`
	Interval time.Duration   `yaml:"interval" doc:"from one message to the next"`
	Rate     float64         `yaml:"rate" doc:"messages a second, instead of interval"`
	Payload  bridge.Template `yaml:"payload" doc:"of each message; seq counts from 1; empty: {\"seq\":1,\"time\":\"…\"}"`
	Topic    bridge.Template `yaml:"topic" doc:"of each message"`
}

// Validate checks that the numbers make sense together.
func (s Settings) Validate() error {
	var errs []error
	bad := func(key, text string) {
		errs = append(errs, bridge.KeyErrorf(key, "%s", text))
	}
	if s.Count < 0 {
		bad("count", "must not be negative; 0 is without end")
	}
	if s.Interval < 0 {
		bad("interval", "must not be negative")
	}
	if s.Rate < 0 || s.Rate > 1e9 {
		bad("rate", "must be from 0 to 1000000000 messages a second")
	}
	if s.Rate > 0 && s.Interval > 0 {
		bad("rate", "set either rate or interval")
	}
	return errors.Join(errs...)
}

// Connector returns the connector.
func Connector() bridge.Connector {
	return bridge.Connector{
		Name:     "generate",
		Summary:  "makes messages up, for demonstrations and load",
		Delivery: "what was not delivered is not made again",
		Example:  example,
		Source:   bridge.NewOpener(Settings{Topic: bridge.Text("generate")}, open),
	}
}

func open(_ context.Context, s *Settings, env bridge.Env) (bridge.Source, error) {
	return newSource(s, env.MaxBatch), nil
}

// Describe says that nothing is made twice.
func (s Settings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "a restart makes other messages"},
		Ends:      s.Count > 0,
	}
}
