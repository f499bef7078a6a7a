package step

import (
	"context"
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed delay.yaml
var delayExample string

// Delay returns the connector delay, a step that lets each message go a while after it came.
//
// # Settings
//
// for is how long; in place of the mapping, `delay: 5s` sets it. max_held and max_bytes bound what
// waits: beyond that the source waits, too, until there is room.
//
// # Guarantees
//
// The order is kept. What waits is owed: its source hears of it when it is delivered, the end of
// the input waits for it, a stop lets it go at once, and after kill -9 it comes again, and waits
// again. What a step in front holds until the end of the input, as a window does, goes at once.
func Delay() bridge.Connector {
	return bridge.Connector{
		Name:     "delay",
		Summary:  "lets each message go a while after it came",
		Delivery: "what waits comes again after kill -9, and goes at once at a stop, but not at the end of the input",
		Example:  delayExample,
		Step:     bridge.NewOpener(delaySettings{holding: defaultHolding}, openDelay),
	}
}

type delaySettings struct {
	For time.Duration `yaml:"for,short,required" doc:"from the arrival of a message to its going on"`

	holding `yaml:",inline"`
}

// Validate checks the settings.
func (s delaySettings) Validate() error {
	if s.For <= 0 {
		return bridge.KeyErrorf("for", "must be above 0")
	}
	return s.validate()
}

// Describe says what becomes of what it holds.
func (s delaySettings) Describe() bridge.Description {
	return bridge.Description{Holds: true, Paced: s.MaxHeld}
}

type delay struct {
	later
	d time.Duration
}

var _ bridge.Step = (*delay)(nil)

func openDelay(_ context.Context, s *delaySettings, env bridge.Env) (bridge.Step, error) {
	return &delay{later{holding: s.holding, clock: env.Clock, stopping: env.Stopping}, s.For}, nil
}

func (d *delay) Process(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	arrived := d.clock.Now()
	now, err := d.begin(ctx, batch, out)
	if err != nil {
		return err
	}
	for i := range batch {
		d.hold(out, i, &batch[i], arrived.Add(d.d))
	}
	d.end(out, now)
	return nil
}

func (d *delay) Close() error { return nil }
