package monitor

import (
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Outcomes of what passes a place.
const (
	TapReceived  = "received"  // by a source
	TapPassed    = "passed"    // by a step, as it is
	TapChanged   = "changed"   // by a step, which let others go on in its place
	TapFiltered  = "filtered"  // by a step
	TapHeld      = "held"      // by a step
	TapReleased  = "released"  // by a step, which made it of what it held
	TapDelivered = "delivered" // to a sink
	TapDropped   = "dropped"   // by a sink, as configured
	TapRefused   = "refused"   // for good, by whoever
	TapFailed    = "failed"    // with the instance, and comes again
)

// Tapped is a message that passed a place.
type Tapped struct {
	At      time.Time `json:"at"`
	Place   string    `json:"place"` // from, step-2, to: its Instance without the name of the pipeline
	Kind    string    `json:"kind"`  // see End
	Outcome string    `json:"outcome"`
	Reason  string    `json:"reason,omitempty"` // why it was refused, or has failed

	// Message is as it came; nil for what a step made of messages that it held. After is what went
	// on behind a step in its place.
	Message *bridge.Message  `json:"message,omitempty"`
	After   []bridge.Message `json:"after,omitempty"`

	// Cut is how many bytes of them were left out: ends of payloads, all headers of a message, or
	// all of one that would follow in After.
	Cut int `json:"cut,omitempty"`
}

// passed is a message that passes a place, which is valid until the call of the instance returns.
type passed struct {
	outcome string
	reason  error
	message *bridge.Message
	after   iter.Seq[*bridge.Message] // nil: none
}

// read goes through what a source returned.
func read(b bridge.Batch, refused bridge.Refusals) iter.Seq[passed] {
	return func(yield func(passed) bool) {
		bad := refused
		for i := range b {
			p := passed{outcome: TapReceived, message: &b[i]}
			if len(bad) > 0 && bad[0].Index == i {
				p.outcome, p.reason, bad = TapRefused, bad[0].Err, bad[1:]
			}
			if !yield(p) {
				return
			}
		}
	}
}

// written goes through what a sink was given.
func written(b bridge.Batch, r bridge.Result, err error) iter.Seq[passed] {
	return func(yield func(passed) bool) {
		bad, omitted := r.Refused, r.Omitted
		for i := range b {
			p := passed{outcome: TapDelivered, message: &b[i]}
			switch {
			case i >= r.Settled:
				p.outcome, p.reason = TapFailed, err
			case len(bad) > 0 && bad[0].Index == i:
				p.outcome, p.reason, bad = TapRefused, bad[0].Err, bad[1:]
			case len(omitted) > 0 && omitted[0] == i:
				p.outcome, omitted = TapDropped, omitted[1:]
			}
			if !yield(p) {
				return
			}
		}
	}
}

// processed goes through the first messages that a step got, and what it released. It got n, and
// with what it released these are total.
func processed(n int, before bridge.Batch, said *bridge.Outcome, err error) (total int, _ iter.Seq[passed]) {
	all := make([]passed, len(before))
	outputs := make([][]int, len(before))
	var released []int
	for i := range all {
		all[i] = passed{outcome: TapFailed, reason: err, message: &before[i]}
	}
	for k := range said.Messages {
		switch from := said.Origin(k); {
		case from.Index < 0:
			released = append(released, k)
		case int(from.Index) < len(all):
			i := from.Index
			if outputs[i] = append(outputs[i], k); err == nil {
				if all[i].outcome = TapChanged; from.Passed {
					all[i].outcome = TapPassed
				}
			}
		}
	}
	each := func(outputs []int) iter.Seq[*bridge.Message] {
		return func(yield func(*bridge.Message) bool) {
			for _, k := range outputs {
				if !yield(&said.Messages[k]) {
					return
				}
			}
		}
	}
	for i := range all {
		if len(outputs[i]) > 0 && err == nil {
			all[i].after = each(outputs[i])
		}
	}
	note := func(i int, outcome string, why error) {
		if i >= 0 && i < len(all) && err == nil && all[i].outcome == TapFailed {
			all[i].outcome, all[i].reason = outcome, why
		}
	}
	for _, i := range said.Dropped {
		note(i, TapFiltered, nil)
	}
	for _, i := range said.Held {
		note(i, TapHeld, nil)
	}
	for _, r := range said.Refused {
		note(r.Index, TapRefused, r.Err)
	}
	if err == nil {
		for i := range released {
			all = append(all, passed{outcome: TapReleased, after: each(released[i : i+1])})
		}
	}
	return n + len(all) - len(before), slices.Values(all)
}

// copier copies messages, as long as it may.
type copier struct{ left, cut int }

// copy returns a copy of m, or nil if none of it has room.
func (c *copier) copy(m *bridge.Message) *bridge.Message {
	own := len(m.ID) + len(m.Topic)
	header := 0
	for k, v := range m.Header {
		header += len(k) + len(v)
	}
	if own > c.left {
		c.cut += own + header + len(m.Payload)
		return nil
	}
	// What is in memory of the source, as texts may be, too, is gone after the acknowledgement.
	to := &bridge.Message{ID: strings.Clone(m.ID), Topic: strings.Clone(m.Topic), Time: m.Time}
	if c.left -= own; header > c.left {
		c.cut += header
	} else if m.Header != nil {
		c.left -= header
		to.Header = make(map[string]string, len(m.Header))
		for k, v := range m.Header {
			to.Header[strings.Clone(k)] = strings.Clone(v)
		}
	}
	payload := cut(m.Payload, c.left)
	to.Payload = slices.Clone(payload)
	c.left -= len(payload)
	c.cut += len(m.Payload) - len(payload)
	return to
}

// cut returns the beginning of a payload, and no half of a character of a text.
func cut(payload []byte, most int) []byte {
	if len(payload) <= most {
		return payload
	}
	end := most
	for end > 0 && most-end < utf8.UTFMax && !utf8.RuneStart(payload[end]) {
		end--
	}
	return payload[:end]
}

// fill copies what has passed, and returns how many bytes it takes.
func (t *Tapped) fill(p *passed, most int) (size int) {
	c := copier{left: most}
	if p.message != nil {
		t.Message = c.copy(p.message)
	}
	size = most - c.left
	if p.after != nil {
		c.left = most
		full := false
		for m := range p.after {
			if full {
				c.cut += len(m.ID) + len(m.Topic) + len(m.Payload)
				continue
			}
			one := c.copy(m)
			if full = one == nil || c.cut > 0; one != nil {
				t.After = append(t.After, *one)
			}
		}
		size += most - c.left
	}
	t.Cut = c.cut
	return size
}

// shorten cuts what was copied.
func (t *Tapped) shorten(most int) {
	p := passed{message: t.Message, after: func(yield func(*bridge.Message) bool) {
		for i := range t.After {
			if !yield(&t.After[i]) {
				return
			}
		}
	}}
	short := *t
	short.Message, short.After = nil, nil
	short.fill(&p, most)
	*t = short
}
