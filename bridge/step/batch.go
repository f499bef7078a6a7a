package step

import (
	"bytes"
	"container/list"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

//go:embed batch.yaml
var batchExample string

// Batch returns the connector batch, a step that makes one message of several.
//
// # Settings
//
// A batch goes when it has count messages (in place of the mapping, `batch: 100` sets it), when one
// more would make it larger than bytes, and when its first message has waited for period; 0 sets
// count or period aside. With key, each key has batches of its own. output says how payloads become
// one: json is an array of them, lines has them one below the other, and concat one behind the
// other. max_bytes bounds all batches that are open: beyond that the oldest goes early.
//
// The message has topic and time of the last one in it, and no headers.
//
// # Guarantees
//
// Messages of a key keep their order. What is in an open batch is owed: its source hears of
// delivery when the batch is delivered, a stop lets all go, and after kill -9 they come again. The
// ledger counts them as merged, and batches as made.
//
// # Errors
//
// A message is refused of which the key cannot be made, whose payload is no JSON for json, or has a
// line feed for lines. One that is larger than bytes goes alone.
func Batch() bridge.Connector {
	return bridge.Connector{
		Name:     "batch",
		Summary:  "makes one message of several",
		Delivery: "what is in an open batch comes again after kill -9, and goes at a stop",
		Example:  batchExample,
		Step: bridge.NewOpener(batchSettings{
			Count: 1000, Bytes: 1 << 20, Period: time.Second, Output: "json", MaxBytes: defaultHolding.MaxBytes,
		}, openBatch),
	}
}

type batchSettings struct {
	Count    int             `yaml:"count,short" min:"0" max:"10000000" doc:"messages of a batch; 0: any number"`
	Bytes    bridge.Size     `yaml:"bytes" doc:"most bytes of its payload; a larger message goes alone"`
	Period   time.Duration   `yaml:"period" doc:"how long the first message of a batch waits; 0: until the batch is full"`
	Key      bridge.Template `yaml:"key" doc:"each key has batches of its own; empty: all messages are together"`
	Output   string          `yaml:"output" enum:"json|lines|concat" doc:"an array, one payload below the other, or one behind the other"`
	MaxBytes bridge.Size     `yaml:"max_bytes" doc:"most bytes of all batches that are open; beyond that the oldest goes early"`
}

// Validate checks the settings.
func (s batchSettings) Validate() error {
	if s.Bytes < 1 {
		return bridge.KeyErrorf("bytes", "must be above 0")
	}
	return holding{MaxBytes: s.MaxBytes}.validate()
}

// Describe says what becomes of what it holds.
func (batchSettings) Describe() bridge.Description {
	return bridge.Description{Holds: true}
}

type batch struct {
	*batchSettings
	now   func() time.Time
	open  map[string]*group
	all   list.List // of groups, in the order in which they were opened
	bytes bridge.Size
	debts debts
}

// group is a batch that is open.
type group struct {
	key   string
	due   time.Time
	debt  *debt // of its first message
	n     int
	m     bridge.Message // what it becomes
	taken bridge.Size
	place *list.Element
}

var _ bridge.Step = (*batch)(nil)

func openBatch(_ context.Context, s *batchSettings, env bridge.Env) (bridge.Step, error) {
	return &batch{batchSettings: s, now: env.Clock.Now, open: make(map[string]*group)}, nil
}

func (b *batch) Process(_ context.Context, in bridge.Batch, out *bridge.Output) error {
	now := b.now()
	for i := range in {
		m := &in[i]
		key, err := keyOf(b.Key, m)
		if err == nil {
			err = b.unfit(m.Payload)
		}
		if err != nil {
			out.Refuse(i, err)
			continue
		}
		g := b.open[key]
		if g != nil && len(g.m.Payload)+len(m.Payload)+2 > int(b.Bytes) { // separator and end
			b.letGo(out, g)
			g = nil
		}
		out.Hold(i)
		if g == nil {
			g = &group{key: key, due: now.Add(b.Period), debt: b.debts.owe(out), taken: bridge.Size(128 + len(key))}
			b.open[key], g.place = g, b.all.PushBack(g)
			b.bytes += g.taken
		}
		b.add(g, m)
		if g.n == b.Count || len(g.m.Payload)+2 >= int(b.Bytes) {
			b.letGo(out, g)
		}
		for b.bytes > b.MaxBytes {
			b.letGo(out, b.oldest())
		}
	}
	for g := b.oldest(); g != nil && (out.Last() || b.Period > 0 && !now.Before(g.due)); g = b.oldest() {
		b.letGo(out, g)
	}
	b.debts.release(out)
	wait := time.Duration(0)
	if g := b.oldest(); g != nil && b.Period > 0 {
		wait = g.due.Sub(now)
	}
	out.Wake(wait)
	return nil
}

var (
	errNoJSON = errors.New("the payload is not JSON, of which output: json makes an array; " +
		"parse it first, or use lines or concat")
	errLineFeed = errors.New("the payload has a line feed, so that output: lines would make two of it; use json or concat")
)

// unfit returns why a payload cannot be in a batch.
func (b *batch) unfit(payload []byte) error {
	switch {
	case b.Output == "json" && !json.Valid(payload):
		return errNoJSON
	case b.Output == "lines" && bytes.IndexByte(payload, '\n') >= 0:
		return errLineFeed
	}
	return nil
}

// add adds m to g.
func (b *batch) add(g *group, m *bridge.Message) {
	p := g.m.Payload
	before := cap(p)
	switch {
	case b.Output == "json" && g.n == 0:
		p = append(p, '[')
	case b.Output == "json":
		p = append(p, ',')
	case b.Output == "lines" && g.n > 0:
		p = append(p, '\n')
	}
	p = append(p, m.Payload...)
	g.m = bridge.Message{Topic: m.Topic, Time: m.Time, Payload: p}
	g.n++
	more := bridge.Size(cap(p) - before)
	g.taken, b.bytes = g.taken+more, b.bytes+more
}

// oldest returns the open batch that was opened first, nil if there is none.
func (b *batch) oldest() *group {
	if front := b.all.Front(); front != nil {
		return front.Value.(*group)
	}
	return nil
}

func (b *batch) letGo(out *bridge.Output, g *group) {
	if b.Output == "json" {
		g.m.Payload = append(g.m.Payload, ']')
	}
	out.Add(g.m)
	b.bytes -= g.taken
	b.debts.pay(g.debt)
	delete(b.open, g.key)
	b.all.Remove(g.place)
}

func (b *batch) Close() error { return nil }
