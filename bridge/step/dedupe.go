package step

import (
	"context"
	_ "embed"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed dedupe.yaml
var dedupeExample string

// Dedupe returns the connector dedupe, a step that drops a message whose key it has seen before.
//
// # Settings
//
// key tells messages apart; without it that is the id of the message, which sources have whose
// system tells what it sends again. A message with an empty key passes. window is how many keys are
// remembered, the newest ones; age, if it is set, for how long.
//
// # Guarantees
//
// A window begins empty, at a start and whenever the engine begins anew after a failure: what comes
// again then passes. Until then the engine takes each message through the steps once. So a key that
// was seen was delivered, or refused and dealt with by on_error, and nothing is dropped that was
// not. Keys are remembered by 128 bits of a hash with a random seed; two different keys are taken
// for the same once in 10²⁸ messages.
//
// # Errors
//
// A message of which the key cannot be made is refused.
func Dedupe() bridge.Connector {
	return bridge.Connector{
		Name:     "dedupe",
		Summary:  "drops messages that were seen before",
		Delivery: "what comes again is counted as filtered; begins anew at each start",
		Example:  dedupeExample,
		Step:     bridge.NewOpener(dedupeSettings{Window: 100_000}, openDedupe),
	}
}

type dedupeSettings struct {
	Key    bridge.Template `yaml:"key,short" doc:"tells messages apart; empty: their id"`
	Window int             `yaml:"window" min:"1" max:"10000000" doc:"how many keys are remembered, the newest ones"`
	Age    time.Duration   `yaml:"age" doc:"how long a key is remembered; 0: until the window is full"`
}

// Validate checks the age.
func (s dedupeSettings) Validate() error {
	if s.Age < 0 {
		return bridge.KeyErrorf("age", "must not be negative; 0 remembers until the window is full")
	}
	return nil
}

// Describe says what becomes of what it remembers.
func (dedupeSettings) Describe() bridge.Description {
	d := repeats()
	d.Forgets = true
	return d
}

// dedupe remembers keys in a ring.
type dedupe struct {
	key    bridge.Template // nil: the id
	age    time.Duration
	now    func() time.Time
	sums   sums
	seen   map[sum]struct{}
	ring   []sighting
	first  int // the oldest one
	length int // of those remembered
}

type sighting struct {
	key sum
	at  time.Time
}

var _ bridge.Step = (*dedupe)(nil)

func openDedupe(_ context.Context, s *dedupeSettings, env bridge.Env) (bridge.Step, error) {
	return newDedupe(s, env.Clock.Now), nil
}

func newDedupe(s *dedupeSettings, now func() time.Time) *dedupe {
	return &dedupe{
		key: s.Key, age: s.Age, now: now, sums: newSums(),
		seen: make(map[sum]struct{}), ring: make([]sighting, s.Window),
	}
}

func (d *dedupe) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	now := d.now()
	for i := range batch {
		key := batch[i].ID
		if d.key != nil {
			var err error
			if key, err = d.key.Render(&batch[i]); err != nil {
				out.Refuse(i, err)
				continue
			}
		}
		if key == "" || d.isNew(key, now) {
			out.Pass(i)
		} else {
			out.Drop(i)
		}
	}
	return nil
}

func (d *dedupe) Close() error { return nil }

// isNew reports whether the key is not remembered, and remembers it.
func (d *dedupe) isNew(key string, now time.Time) bool {
	k := d.sums.of(key)
	for d.age > 0 && d.length > 0 && now.Sub(d.ring[d.first].at) >= d.age {
		d.forget()
	}
	if _, seen := d.seen[k]; seen {
		return false
	}
	if d.length == len(d.ring) {
		d.forget()
	}
	d.ring[(d.first+d.length)%len(d.ring)] = sighting{k, now}
	d.length++
	d.seen[k] = struct{}{}
	return true
}

// forget forgets the oldest key.
func (d *dedupe) forget() {
	delete(d.seen, d.ring[d.first].key)
	d.first = (d.first + 1) % len(d.ring)
	d.length--
}
