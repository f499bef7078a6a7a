package step

import (
	"context"
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed sample.yaml
var sampleExample string

// Sample returns the connector sample, a step that lets one of many messages pass.
//
// # Settings
//
// every is how many messages there are to one that passes, which is the first of them; in place of
// the mapping, `sample: 10` sets it. period, in place of every, lets a message pass when none has
// for so long. With key, that goes for each key.
//
// # Guarantees
//
// What does not pass is counted as filtered. A start knows nothing of what went before, and the
// first message passes. Beyond max_keys keys counting begins anew for all, and with period a
// message of a further key is refused while all of them have had one that passed. Keys are
// remembered by a hash of 128 bits, so that their size does not matter.
//
// # Errors
//
// A message of which the key cannot be made is refused.
func Sample() bridge.Connector {
	return bridge.Connector{
		Name:     "sample",
		Summary:  "lets every n-th message pass, or one in each period",
		Delivery: "what does not pass is counted as filtered; begins anew at each start",
		Example:  sampleExample,
		Step:     bridge.NewOpener(sampleSettings{MaxKeys: defaultKeys}, openSample),
	}
}

type sampleSettings struct {
	Every   int             `yaml:"every,short" min:"1" doc:"one of so many messages passes, the first"`
	Period  time.Duration   `yaml:"period" doc:"in place of every: one passes when none has for so long"`
	Key     bridge.Template `yaml:"key" doc:"for each key; empty: all messages together"`
	MaxKeys int             `yaml:"max_keys" min:"1" max:"10000000" doc:"most keys that are remembered"`
}

// Validate checks that there is one of every and period.
func (s sampleSettings) Validate() error {
	switch {
	case s.Every == 0 && s.Period == 0:
		return bridge.KeyErrorf("every", "is missing, and so is period: write one of them")
	case s.Every > 0 && s.Period > 0:
		return bridge.KeyErrorf("period", "cannot stand beside every: write one of them")
	}
	return nil
}

// Describe says what becomes of what it remembers.
func (sampleSettings) Describe() bridge.Description {
	d := repeats()
	d.Forgets = true
	return d
}

type sample struct {
	key   bridge.Template
	every int
	seen  map[sum]int
	most  int
	pace  *pace // of period
	now   func() time.Time
}

var _ bridge.Step = (*sample)(nil)

func openSample(_ context.Context, s *sampleSettings, env bridge.Env) (bridge.Step, error) {
	return &sample{
		key: s.Key, every: s.Every, seen: make(map[sum]int), most: s.MaxKeys,
		pace: newPace(s.Period, 1, s.MaxKeys), now: env.Clock.Now,
	}, nil
}

func (s *sample) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	now := s.now()
	for i := range batch {
		key, err := keyOf(s.key, &batch[i])
		passes := false
		if err == nil {
			passes, err = s.passes(s.pace.sums.of(key), now)
		}
		switch {
		case err != nil:
			out.Refuse(i, err)
		case passes:
			out.Pass(i)
		default:
			out.Drop(i)
		}
	}
	return nil
}

func (s *sample) passes(key sum, now time.Time) (bool, error) {
	if s.every == 0 {
		at, err := s.pace.at(key, now)
		if err != nil || at.After(now) {
			return false, err
		}
		s.pace.goes(key, now)
		return true, nil
	}
	n, known := s.seen[key]
	if !known && len(s.seen) >= s.most {
		clear(s.seen)
	}
	s.seen[key] = (n + 1) % s.every
	return n == 0, nil
}

func (s *sample) Close() error { return nil }
