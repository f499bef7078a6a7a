package step

import (
	"context"
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed throttle.yaml
var throttleExample string

// Throttle returns the connector throttle, a step that lets no more messages go than a rate.
//
// # Settings
//
// rate is how many messages may go in a time of per; in place of the mapping, `throttle: 10` sets
// it. They go one by one, at even distances, and after a pause as many as burst at once. With key,
// each key has that rate. excess says what becomes of a message that comes too early: it waits for
// its turn, or is dropped.
//
// max_held and max_bytes bound what waits: beyond that the source waits, too. Where it waits for
// max_bytes, messages go in bursts, each no larger than max_batch of the pipeline. max_keys is how
// many keys may be at their rate at a time; of each a hash of 128 bits is remembered, so that their
// size does not matter.
//
// # Guarantees
//
// The messages of one key keep their order. What waits is owed: its source hears of it when it is
// delivered, the end of the input waits for its turn, a stop lets it go at once, and after kill -9
// it comes again. What a step in front holds until that end, as a window does, goes at once. What
// is dropped is counted as filtered. A start knows nothing of what went before.
//
// # Errors
//
// A message of which the key cannot be made, or whose key is one too many, is refused.
func Throttle() bridge.Connector {
	return bridge.Connector{
		Name:    "throttle",
		Summary: "lets no more messages go than a rate",
		Delivery: "what waits comes again after kill -9, and goes at once at a stop, but not at the end of the input; " +
			"what is dropped is counted as filtered",
		Example: throttleExample,
		Step: bridge.NewOpener(throttleSettings{
			Per: time.Second, Burst: 1, Excess: "wait", MaxKeys: defaultKeys, holding: defaultHolding,
		}, openThrottle),
	}
}

// defaultKeys is max_keys where nothing else is set.
const defaultKeys = 100_000

type throttleSettings struct {
	Rate    float64         `yaml:"rate,short,required" doc:"messages in each time of per"`
	Per     time.Duration   `yaml:"per" doc:"the time that rate is about"`
	Burst   int             `yaml:"burst" min:"1" max:"1000000" doc:"how many may go at once after a pause"`
	Key     bridge.Template `yaml:"key" doc:"each key has the rate; empty: all messages together"`
	Excess  string          `yaml:"excess" enum:"wait|drop" doc:"what comes too early: it waits for its turn, or is dropped"`
	MaxKeys int             `yaml:"max_keys" min:"1" max:"10000000" doc:"most keys at a time; a message of one more is refused"`

	holding `yaml:",inline"`
}

// Validate checks the settings.
func (s throttleSettings) Validate() error {
	switch {
	case !(s.Rate > 0):
		return bridge.KeyErrorf("rate", "must be above 0")
	case s.Per <= 0:
		return bridge.KeyErrorf("per", "must be above 0")
	case s.interval() < 1 || s.interval()*float64(s.Burst) > float64(mostWait):
		return bridge.KeyErrorf("rate", "is out of range: from one message to the next there must be a nanosecond at least, "+
			"and 10 years at most for all of burst")
	}
	return s.validate()
}

const mostWait = 10 * 365 * 24 * time.Hour

// interval returns the time from one message to the next, in nanoseconds.
func (s throttleSettings) interval() float64 { return float64(s.Per) / s.Rate }

// Describe says what becomes of what it holds.
func (s throttleSettings) Describe() bridge.Description {
	if s.Excess == "drop" {
		return bridge.Description{Forgets: true}
	}
	return bridge.Description{Holds: true, Paced: s.MaxHeld}
}

type throttle struct {
	later
	*pace
	key   bridge.Template
	drops bool
}

var _ bridge.Step = (*throttle)(nil)

func openThrottle(_ context.Context, s *throttleSettings, env bridge.Env) (bridge.Step, error) {
	return &throttle{
		later: later{holding: s.holding, clock: env.Clock, stopping: env.Stopping},
		pace:  newPace(time.Duration(s.interval()), s.Burst, s.MaxKeys), key: s.Key, drops: s.Excess == "drop",
	}, nil
}

func (t *throttle) Process(ctx context.Context, batch bridge.Batch, out *bridge.Output) error {
	now, err := t.begin(ctx, batch, out)
	if err != nil {
		return err
	}
	for i := range batch {
		text, err := keyOf(t.key, &batch[i])
		key := t.sums.of(text)
		at := now
		if err == nil {
			at, err = t.at(key, now)
		}
		early := at.After(now)
		switch {
		case err != nil:
			out.Refuse(i, err)
			continue
		case early && t.drops:
			out.Drop(i)
			continue
		case early:
			t.hold(out, i, &batch[i], at)
		default:
			out.Pass(i)
		}
		t.goes(key, at)
	}
	t.end(out, now)
	return nil
}

func (t *throttle) Close() error { return nil }
