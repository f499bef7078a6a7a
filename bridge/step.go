package bridge

import (
	"errors"
	"fmt"
	"slices"
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
	in    Batch
	said  Outcome
	plain bool   // nothing was said but Pass, in order, which said does not show yet
	own   bool   // what goes on has memory of its own; else that of in
	next  int    // the messages in front of this one are told of
	told  []bool // nil as long as they were told of in order

	last   int    // index of the message that went on most recently, -1: none
	id     string // of it
	copies int    // made of it so far
	tag    string // what their IDs have before the number
	err    error  // what the step did wrong

	call           uint64
	ending         bool
	oldest, newest uint64 // calls that something is held of; 0: nothing
}

// Call returns the number of this call. Numbers grow, with gaps.
func (o *Output) Call() uint64 { return o.call }

// Last reports whether no message comes after this call, because the input has ended or the
// pipeline stops: what is held must be let go now. See [Description.Paced] for steps with time.
func (o *Output) Last() bool { return o.ending }

// Pass lets message i go on as it is.
func (o *Output) Pass(i int) {
	if o.plain && i == o.next && i < len(o.in) {
		o.next++
	} else {
		o.pass(i)
	}
}

func (o *Output) pass(i int) {
	if o.tell(i) {
		o.goOn(i, o.in[i], true)
	}
}

// Emit lets m go on in place of message i, whose identity it has; more than once, if more is made
// of message i.
func (o *Output) Emit(i int, m Message) {
	o.detail()
	if !o.isTold(i) {
		if o.tell(i) {
			m.ID = o.in[i].ID
			o.goOn(i, m, false)
		}
		return
	}
	m.ID = "" // if it is not known any more whose it was
	if i == o.last {
		if o.copies++; o.id != "" {
			m.ID = o.id + o.tag + strconv.Itoa(o.copies)
		}
	}
	o.put(m, Origin{Index: int32(i), More: true})
}

// Drop leaves message i out, as configured. It counts as filtered.
func (o *Output) Drop(i int) {
	if o.tell(i) {
		o.said.Dropped = append(o.said.Dropped, i)
	}
}

// Refuse says that the step can never process message i. [OnError] says what becomes of it.
func (o *Output) Refuse(i int, err error) {
	if o.tell(i) {
		o.detach() // in keeps it
		o.said.Refused = append(o.said.Refused, Refusal{i, err})
	}
}

// Hold says that the step has kept message i, or what it needs of it. What it keeps of the payload
// it must copy.
func (o *Output) Hold(i int) {
	if !o.tell(i) {
		return
	}
	o.said.Held = append(o.said.Held, i)
	if o.oldest == 0 {
		o.oldest = o.call
	}
	o.newest = o.call
}

// Add lets go of m, which was made of messages held, or is one of them.
func (o *Output) Add(m Message) {
	o.detail()
	m.ID = ""
	o.put(m, Origin{Index: -1, More: true})
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
	o.said.Wake, o.said.Woken = d, true
}

// SoFar returns what was said in this call by now, without what Released says. It is for who wraps a
// step, and valid until the next call of a method.
func (o *Output) SoFar() *Outcome {
	if o.plain {
		o.said.Messages = o.in[:o.next]
	}
	return &o.said
}

// begin readies o for a call.
func (o *Output) begin(call uint64, in Batch, ending bool, tag string) {
	s := &o.said
	*s = Outcome{Origins: s.Origins[:0], Dropped: s.Dropped[:0], Held: s.Held[:0], Refused: s.Refused[:0]}
	*o = Output{
		in: in, said: *s, plain: true, last: -1, tag: tag, call: call, ending: ending, oldest: o.oldest, newest: o.newest,
	}
}

// finish completes what was said, and returns what the step did wrong.
func (o *Output) finish() error {
	s := &o.said
	if s.Released = o.call; o.oldest > 0 {
		s.Released = o.oldest - 1
	}
	if o.plain {
		s.Messages = o.in[:o.next]
	}
	untold := o.next
	if o.told != nil {
		untold = slices.Index(o.told, false)
	}
	switch {
	case o.err != nil:
		return o.err
	case untold >= 0 && untold < len(o.in):
		return fmt.Errorf("it says nothing about message %d of %d", untold, len(o.in))
	case o.ending && o.oldest > 0:
		return errors.New("it did not let go of what it holds at the end")
	}
	return nil
}

// detail writes down what was passed, since something else is said now.
func (o *Output) detail() {
	if !o.plain {
		return
	}
	o.plain = false
	o.said.Messages = o.in[:o.next]
	for i := range o.said.Messages {
		o.said.Origins = append(o.said.Origins, Origin{Index: int32(i), Passed: true})
		o.last, o.id = i, o.in[i].ID
	}
}

func (o *Output) isTold(i int) bool {
	if o.told == nil {
		return i >= 0 && i < o.next
	}
	return i >= 0 && i < len(o.told) && o.told[i]
}

// tell notes that message i is told of, and reports whether it is for the first time.
func (o *Output) tell(i int) bool {
	o.detail()
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
func (o *Output) goOn(i int, m Message, passed bool) {
	o.last, o.id, o.copies = i, m.ID, 0
	o.put(m, Origin{Index: int32(i), Passed: passed})
}

func (o *Output) put(m Message, from Origin) {
	o.said.Origins = append(o.said.Origins, from)
	n := len(o.said.Messages)
	if !o.own && n >= o.next { // what is there has yet to be told of
		o.detach()
	}
	if o.own {
		o.said.Messages = append(o.said.Messages, m)
		return
	}
	o.said.Messages = o.in[:n+1]
	o.said.Messages[n] = m
}

// detach gives what goes on memory of its own.
func (o *Output) detach() {
	if !o.own {
		o.own = true
		o.said.Messages = append(make(Batch, 0, max(2*len(o.said.Messages), len(o.in))), o.said.Messages...)
	}
}
