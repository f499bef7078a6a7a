package step

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed conflate.yaml
var conflateExample string

// Conflate returns the connector conflate, a step that lets the newest message of each key go once
// in a period.
//
// # Settings
//
// period is how long messages are held at most, from the first one on; in place of the mapping,
// `conflate: 1s` sets it. key tells what replaces what; without it that is the topic. max_keys and
// max_bytes bound what is held.
//
// # Guarantees
//
// No message waits longer than period, and those that go keep their order. The ledger counts all
// that are held as merged, and those that go as made. They are owed: their source hears of delivery
// when the newest one is delivered, a stop lets it go at once, and after kill -9 they come again.
//
// # Errors
//
// A message of which the key cannot be made, or that would take more than max_keys or max_bytes, is
// refused.
func Conflate() bridge.Connector {
	return bridge.Connector{
		Name:     "conflate",
		Summary:  "lets the newest message of each key go once in a period",
		Delivery: "what is held comes again after kill -9, and goes at once at a stop",
		Example:  conflateExample,
		Step:     bridge.NewOpener(conflateSettings{MaxKeys: defaultKeys, MaxBytes: defaultHolding.MaxBytes}, openConflate),
	}
}

type conflateSettings struct {
	Period   time.Duration   `yaml:"period,short,required" doc:"how long messages are held, from the first one on"`
	Key      bridge.Template `yaml:"key" doc:"the newest message of each key goes; empty: of each topic"`
	MaxKeys  int             `yaml:"max_keys" min:"1" max:"10000000" doc:"most keys in a period; a message of one more is refused"`
	MaxBytes bridge.Size     `yaml:"max_bytes" doc:"most bytes that are held; a message that would take more is refused"`
}

// Validate checks the settings.
func (s conflateSettings) Validate() error {
	if s.Period <= 0 {
		return bridge.KeyErrorf("period", "must be above 0")
	}
	return holding{MaxBytes: s.MaxBytes}.validate()
}

// Describe says what becomes of what it holds.
func (conflateSettings) Describe() bridge.Description {
	return bridge.Description{Holds: true}
}

var errBytes = errors.New("it would take more than max_bytes allows to be held")

type conflate struct {
	*conflateSettings
	now    func() time.Time
	newest map[string]newest
	count  uint64
	bytes  bridge.Size
	due    time.Time
}

type newest struct {
	number uint64
	m      bridge.Message
}

var _ bridge.Step = (*conflate)(nil)

func openConflate(_ context.Context, s *conflateSettings, env bridge.Env) (bridge.Step, error) {
	return &conflate{conflateSettings: s, now: env.Clock.Now, newest: make(map[string]newest)}, nil
}

func (c *conflate) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	now := c.now()
	if !now.Before(c.due) {
		c.letGo(out)
	}
	for i := range batch {
		if err := c.take(&batch[i]); err != nil {
			out.Refuse(i, err)
			continue
		}
		out.Hold(i)
		if c.due.IsZero() {
			c.due = now.Add(c.Period)
		}
	}
	if out.Last() {
		c.letGo(out)
	}
	if len(c.newest) == 0 {
		out.Wake(0)
	} else {
		out.Wake(c.due.Sub(now))
	}
	return nil
}

// take keeps m in place of what there is of its key.
func (c *conflate) take(m *bridge.Message) (err error) {
	key := m.Topic
	if c.Key != nil {
		if key, err = c.Key.Render(m); err != nil {
			return err
		}
	}
	before, known := c.newest[key]
	bytes := c.bytes + size(m)
	if known {
		bytes -= size(&before.m)
	} else {
		bytes += bridge.Size(len(key))
	}
	switch {
	case !known && len(c.newest) >= c.MaxKeys:
		return errKeys
	case bytes > c.MaxBytes:
		return errBytes
	}
	c.count++
	c.newest[key], c.bytes = newest{c.count, keep(*m)}, bytes
	return nil
}

func (c *conflate) letGo(out *bridge.Output) {
	all := make([]newest, 0, len(c.newest))
	for _, n := range c.newest {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b newest) int { return cmp.Compare(a.number, b.number) })
	for _, n := range all {
		out.Add(n.m)
	}
	out.Release(out.Call())
	clear(c.newest)
	c.bytes, c.due = 0, time.Time{}
}

func (c *conflate) Close() error { return nil }
