package pluginpb

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// NewRefusals returns refusals as messages, with texts that are cut where all of them would take
// more than half the [Overhead].
func NewRefusals(refused bridge.Refusals) []*Refusal {
	var all []*Refusal
	most := Overhead / 2 / max(1, len(refused))
	for _, r := range refused {
		text := "no reason was given"
		if r.Err != nil {
			text = r.Err.Error()
			text = strings.ToValidUTF8(text[:min(len(text), most)], "�")
		}
		all = append(all, &Refusal{Index: uint32(r.Index), Text: text})
	}
	return all
}

// Refusals appends refusals of the wire, of a batch of n messages that begins at first in another.
// An error says that they are not in order.
func Refusals(to bridge.Refusals, refused []*Refusal, first, n int) (bridge.Refusals, error) {
	next := 0
	for _, r := range refused {
		i := int(r.GetIndex())
		if i < next || i >= n {
			return to, fmt.Errorf("it refuses message %d of %d", i, n)
		}
		next = i + 1
		to = append(to, bridge.Refusal{Index: first + i, Err: errors.New(r.GetText())})
	}
	return to, nil
}

// Indices returns indices as they are on the wire.
func Indices(of []int) []uint32 {
	if len(of) == 0 {
		return nil
	}
	all := make([]uint32, len(of))
	for k, i := range of {
		all[k] = uint32(i)
	}
	return all
}

// NewProcessResponse returns what a step said, in an answer of at most limit bytes. A message that
// is larger is refused, if it is all that was made of one; else the answer is an error.
func NewProcessResponse(said *bridge.Outcome, limit int) *ProcessResponse {
	r, whole := newProcessResponse(said, limit)
	if !whole {
		refuseLarge(said, limit)
		r, whole = newProcessResponse(said, limit)
	}
	if !whole {
		return &ProcessResponse{Error: NewError(bridge.Permanent(fmt.Errorf(
			"the step made more of a batch than the %d bytes that fit between the bridge and a plugin: "+
				"set max_batch of the pipeline lower", limit)))}
	}
	return r
}

// newProcessResponse returns what a step said, and whether all that it made fits into limit bytes.
func newProcessResponse(said *bridge.Outcome, limit int) (r *ProcessResponse, whole bool) {
	slices.Sort(said.Dropped)
	slices.Sort(said.Held)
	slices.SortFunc(said.Refused, func(a, b bridge.Refusal) int { return a.Index - b.Index })
	r = &ProcessResponse{
		Origins: make([]uint32, 0, len(said.Messages)), Passed: make([]uint32, 0,
			len(said.Messages)), Refused: NewRefusals(said.Refused),
		Dropped: Indices(said.Dropped), Held: Indices(said.Held), Released: said.Released,
	}
	var emitted bridge.Batch
	for k, m := range said.Messages {
		from := said.Origin(k)
		r.Origins = append(r.Origins, uint32(from.Index+1))
		if from.Passed {
			r.Passed = append(r.Passed, uint32(from.Index))
			continue
		}
		m.ID = "" // the engine knows
		emitted = append(emitted, m)
	}
	batch, n := NewBatch(emitted, limit)
	r.Batch = batch
	if said.Woken {
		ms := uint32(min((said.Wake+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
		r.WakeMs = &ms
	}
	return r, n == len(emitted)
}

// refuseLarge makes refusals of the messages that are larger than limit, and all that was made of
// their origin.
func refuseLarge(said *bridge.Outcome, limit int) {
	count := make(map[int]int) // how often something was said of each message
	for _, i := range slices.Concat(said.Dropped, said.Held) {
		count[i]++
	}
	for _, r := range said.Refused {
		count[r.Index]++
	}
	for _, from := range said.Origins {
		count[int(from.Index)]++
	}
	var rest bridge.Outcome
	for k, m := range said.Messages {
		from := said.Origin(k)
		i := int(from.Index)
		if _, n := NewBatch(bridge.Batch{m}, limit); n == 0 && !from.Passed && i >= 0 && count[i] == 1 {
			said.Refused = append(said.Refused, bridge.Refusal{
				Index: i,
				Err:   fmt.Errorf("the step made of it %w", TooLarge(&m, limit)),
			})
			continue
		}
		rest.Messages, rest.Origins = append(rest.Messages, m), append(rest.Origins, from)
	}
	said.Messages, said.Origins = rest.Messages, rest.Origins
}

// Replay says to out what the step in a plugin said of n messages, which begin at first in the
// batch of out. An error says that the answer makes no sense; what is said twice, or not at all, is
// for out to find.
func (r *ProcessResponse) Replay(out *bridge.Output, first, n int) error {
	emitted, err := r.GetBatch().Messages()
	if err != nil {
		return err
	}
	if len(r.Origins) != len(r.Passed)+len(emitted) {
		return fmt.Errorf("it names %d messages that go on, and has %d", len(r.Origins), len(r.Passed)+len(emitted))
	}
	for _, all := range [][]uint32{r.Passed, r.Dropped, r.Held} {
		if len(all) > 0 && int(slices.Max(all)) >= n {
			return fmt.Errorf("it speaks of message %d of %d", slices.Max(all), n)
		}
	}
	refused, err := Refusals(nil, r.Refused, first, n)
	if err != nil {
		return err
	}
	passed, dropped, held := r.Passed, r.Dropped, r.Held
	// In the order of the batch, which costs out least. A message that is held, say, and of which
	// one is made is held first.
	upTo := func(i int) {
		for len(dropped) > 0 && int(dropped[0]) <= i {
			out.Drop(first + int(dropped[0]))
			dropped = dropped[1:]
		}
		for len(held) > 0 && int(held[0]) <= i {
			out.Hold(first + int(held[0]))
			held = held[1:]
		}
		for len(refused) > 0 && refused[0].Index <= first+i {
			out.Refuse(refused[0].Index, refused[0].Err)
			refused = refused[1:]
		}
	}
	for _, origin := range r.Origins {
		i := int(origin) - 1
		if i >= n {
			return fmt.Errorf("it speaks of message %d of %d", i, n)
		}
		upTo(i)
		switch {
		case len(passed) > 0 && int(passed[0]) == i:
			out.Pass(first + i)
			passed = passed[1:]
			continue
		case len(emitted) == 0:
			return fmt.Errorf("it says that message %d goes on, and has none for it", i)
		case i < 0:
			out.Add(emitted[0])
		default:
			out.Emit(first+i, emitted[0])
		}
		emitted = emitted[1:]
	}
	upTo(n)
	out.Release(r.Released)
	if r.WakeMs != nil {
		out.Wake(time.Duration(r.GetWakeMs()) * time.Millisecond)
	}
	return nil
}
