package bridge

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Output takes what a step makes of the messages of one call of Process. Indices are those of the
// batch of that call; to go through them in order is fastest. It must not be used after the call.
//
// A step may hold messages, and let go later of what it made of them. What is held is owed: its
// source hears of delivery when all that was made of it is delivered, and after kill -9 it comes
// again. A step that holds bounds how much that is.
type Output struct {
	in   Batch
	out  Batch // shares the memory of in until own
	own  bool
	next int    // the messages in front of this one are told of
	told []bool // nil as long as they were told of in order

	last   int    // index of the message that went on most recently, -1: none
	id     string // of it
	copies int    // made of it so far
	tag    string // what their IDs have before the number
	err    error  // what the step did wrong

	keep    bool    // whether origin and heldAt are wanted
	origin  []int32 // of each of out: the message that it is or replaces; -1: it is new; -2-i: another of message i
	heldAt  []int32
	refused Refusals
	bad     Batch // what was refused
	dropped int   // messages
	held    int   // messages
	made    int   // messages beyond one for each that went on

	call           uint64
	ending         bool
	oldest, newest uint64 // calls that something is held of; 0: nothing
	wake           time.Duration
	woken          bool // wake was set in this call

	said *Outcome // what was said in this call, if anybody wants to know
}

// Call returns the number of this call. Numbers grow, with gaps.
func (o *Output) Call() uint64 { return o.call }

// Last reports whether no message comes after this call, because the input has ended or the
// pipeline stops: what is held must be let go now.
func (o *Output) Last() bool { return o.ending }

// Pass lets message i go on as it is.
func (o *Output) Pass(i int) {
	if o.told == nil && i == o.next && i < len(o.in) && !o.own && len(o.out) == i { // all went on so far
		o.next++
		o.out = o.in[:i+1]
		o.last = i
		o.id, o.copies = "", 0
		if o.keep {
			o.origin = append(o.origin, int32(i))
		}
	} else if o.tell(i) {
		o.goOn(i, o.in[i])
	}
	if o.said != nil {
		o.said.Origins, o.said.Passed = append(o.said.Origins, i), append(o.said.Passed, i)
	}
}

// Emit lets m go on in place of message i, whose identity it has; more than once, if more is made
// of message i.
func (o *Output) Emit(i int, m Message) {
	o.sayEmitted(i, m)
	switch {
	case i == o.last && o.isTold(i):
		o.copies++
		id := o.id
		if o.told == nil && o.copies == 1 && id == "" && !o.own && len(o.out) == i+1 {
			id = o.in[i].ID // passed as it is
			o.id = id
		}
		m.ID = ""
		if id != "" {
			m.ID = id + o.tag + strconv.Itoa(o.copies)
		}
		o.more(m, int32(-2-i))
	case o.isTold(i):
		m.ID = "" // whose it was is not known any more
		o.more(m, int32(-2-i))
	case o.tell(i):
		m.ID = o.in[i].ID
		o.goOn(i, m)
	}
}

// Drop leaves message i out, as configured. It counts as filtered.
func (o *Output) Drop(i int) {
	if !o.tell(i) {
		return
	}
	o.dropped++
	if o.said != nil {
		o.said.Dropped = append(o.said.Dropped, i)
	}
}

// Refuse says that the step can never process message i. [OnError] says what becomes of it.
func (o *Output) Refuse(i int, err error) {
	if o.tell(i) {
		o.refused = append(o.refused, Refusal{i, err})
		o.bad = append(o.bad, o.in[i])
	}
}

// Hold says that the step has kept message i, or what it needs of it. What it keeps of the payload
// it must copy.
func (o *Output) Hold(i int) {
	if !o.tell(i) {
		return
	}
	o.held++
	if o.keep {
		o.heldAt = append(o.heldAt, int32(i))
	}
	if o.said != nil {
		o.said.Held = append(o.said.Held, i)
	}
	if o.oldest == 0 {
		o.oldest = o.call
	}
	o.newest = o.call
}

// Add lets go of m, which was made of messages held, or is one of them.
func (o *Output) Add(m Message) {
	o.sayEmitted(-1, m)
	m.ID = ""
	o.more(m, -1)
}

// Release says that nothing is held any more that was held in calls up to that number, this one
// included if it is the number of this call and as far as it has held by now.
func (o *Output) Release(call uint64) {
	switch {
	case o.oldest == 0 || call < o.oldest:
	case call >= o.newest:
		o.oldest, o.newest = 0, 0
	default:
		o.oldest = call + 1
	}
}

// Wake asks for a call with an empty batch after d, be there others meanwhile or not. Each call of
// Wake replaces the one before; 0 asks for none.
func (o *Output) Wake(d time.Duration) {
	if d > 0 {
		d = max(d, time.Millisecond)
	}
	o.wake, o.woken = d, true
}

// begin readies o for a call.
func (o *Output) begin(call uint64, in Batch, ending bool) {
	o.in, o.out, o.own, o.next, o.told = in, nil, false, 0, nil
	o.last, o.id, o.copies, o.err = -1, "", 0, nil
	o.origin, o.heldAt, o.refused, o.bad = o.origin[:0], o.heldAt[:0], nil, nil
	o.dropped, o.held, o.made = 0, 0, 0
	o.call, o.ending, o.wake, o.woken = call, ending, 0, false
}

// finish returns what the step did wrong.
func (o *Output) finish() error {
	switch {
	case o.err != nil:
	case o.told == nil && o.next < len(o.in):
		o.err = fmt.Errorf("it says nothing about message %d of %d", o.next, len(o.in))
	case o.told != nil:
		for i, told := range o.told {
			if !told {
				o.err = fmt.Errorf("it says nothing about message %d of %d", i, len(o.in))
			}
		}
	}
	if o.err == nil && o.ending && o.oldest != 0 {
		o.err = errors.New("it did not let go of what it holds at the end")
	}
	return o.err
}

// refusals returns what was refused.
func (o *Output) refusals() []refusal {
	bad := make([]refusal, len(o.refused))
	for k, said := range o.refused {
		bad[k] = refusal{index: said.Index, message: &o.bad[k]}
		bad[k].failure.note(said.Err)
	}
	return bad
}

func (o *Output) isTold(i int) bool {
	if o.told == nil {
		return i >= 0 && i < o.next
	}
	return i >= 0 && i < len(o.told) && o.told[i]
}

// tell notes that message i is told of, and reports whether it is for the first time.
func (o *Output) tell(i int) bool {
	switch {
	case i < 0 || i >= len(o.in):
		o.wrong(fmt.Errorf("it speaks of message %d of %d", i, len(o.in)))
		return false
	case o.isTold(i):
		o.wrong(fmt.Errorf("it speaks twice of message %d of %d", i, len(o.in)))
		return false
	case o.told == nil && i == o.next:
		o.next++
		return true
	case o.told == nil:
		o.detach()
		o.told = make([]bool, len(o.in))
		for k := range o.next {
			o.told[k] = true
		}
	}
	o.told[i] = true
	return true
}

func (o *Output) wrong(err error) {
	if o.err == nil {
		o.err = err
	}
}

// goOn lets m go on, which is or replaces message i.
func (o *Output) goOn(i int, m Message) {
	o.last, o.id, o.copies = i, m.ID, 0
	o.put(m, int32(i))
}

// more lets m go on, which is new.
func (o *Output) more(m Message, origin int32) {
	o.made++
	o.put(m, origin)
}

func (o *Output) put(m Message, origin int32) {
	if o.keep {
		o.origin = append(o.origin, origin)
	}
	n := len(o.out)
	if !o.own && n >= o.next { // what is there has yet to be told of
		o.detach()
	}
	if o.own {
		o.out = append(o.out, m)
		return
	}
	o.out = o.in[:n+1]
	o.out[n] = m
}

func (o *Output) sayEmitted(origin int, m Message) {
	if o.said != nil {
		o.said.Origins, o.said.Emitted = append(o.said.Origins, origin), append(o.said.Emitted, m)
	}
}

// detach gives out memory of its own.
func (o *Output) detach() {
	if !o.own {
		o.own = true
		o.out = append(make(Batch, 0, max(2*len(o.out), len(o.in))), o.out...)
	}
}
