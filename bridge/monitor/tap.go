package monitor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/suggest"
)

// Bounds of taps.
const (
	mostTaps       = 16
	mostQueued     = 4096    // messages that wait for one who looks
	mostQueuedSize = 8 << 20 // bytes of them, or one message

	// DefaultTapBytes is that of [TapOptions].
	DefaultTapBytes = 64 << 10

	// MostTapBytes bounds what is copied of one message.
	MostTapBytes = 8 << 20

	mostAsked = 1 << 20 // bytes of a message of which a condition is asked, unless more are copied
)

// ErrTooManyTaps is what Tap returns when as many are open as may be.
var ErrTooManyTaps = fmt.Errorf("%d taps are open, and that is how many there may be: close one", mostTaps)

// ErrTapGone is what Next returns when the pipeline was removed.
var ErrTapGone = errors.New("the pipeline is gone")

// UnknownError says that there is nothing of a name.
type UnknownError struct {
	What, Name string
	Known      []string
}

func (u *UnknownError) Error() string {
	text := fmt.Sprintf("there is no %s %q; ", u.What, u.Name)
	if near := suggest.Nearest(u.Name, u.Known); near != "" {
		text += "did you mean " + near + "? "
	}
	return text + u.What + "s: " + strings.Join(u.Known, ", ")
}

// TapOptions say what to look at.
type TapOptions struct {
	// Place is one of Tapped.Place, an Instance, or sources, steps, sinks, buffers or dead_letters;
	// empty: everywhere.
	Place string

	// When, if not nil, holds for what is looked at: for the message before a step, or one behind
	// it.
	When bridge.Condition

	// Most is how many messages a place shows in each Per at most; 0: all.
	Most int
	Per  time.Duration

	// Bytes is how much of a message is copied at most, and as much of what a step made of it; 0
	// means DefaultTapBytes. It may be up to MostTapBytes.
	Bytes int
}

// Lost is what a tap has not shown.
type Lost struct {
	Missed  uint64 `json:"missed,omitempty"`  // since whoever looks is too slow, or too large for a condition
	Skipped uint64 `json:"skipped,omitempty"` // since Most of others were shown
	Failed  uint64 `json:"failed,omitempty"`  // since the condition has no answer
	Why     string `json:"why,omitempty"`     // it had none for the last of them
}

// Tap sees messages as they pass. It never makes them wait. Next is called from one goroutine.
type Tap struct {
	TapOptions
	monitor  *Monitor
	pipeline *pipeline
	kind     string        // that Place stands for; empty: it is a place, or everywhere
	ready    chan struct{} // has one when there may be something new
	spent    time.Duration // with the condition, since the last pause; belongs to Next

	mu     sync.Mutex // guards what follows
	queue  []queued
	head   int // what is before it in the queue was taken out, and its room is used again
	size   int // bytes of the queue
	shown  map[string]*shown
	lost   Lost
	closed error
}

type queued struct {
	Tapped
	size int
}

// shown is how many messages of a place were shown since some time.
type shown struct {
	since time.Time
	n     int
}

// Tap begins to look at the messages of a pipeline, until Close. An error is an [UnknownError] or
// ErrTooManyTaps.
func (m *Monitor) Tap(pipeline string, o TapOptions) (*Tap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pipelines[pipeline]
	if p == nil {
		unknown := &UnknownError{What: "pipeline", Name: pipeline}
		for name := range m.pipelines {
			unknown.Known = append(unknown.Known, name)
		}
		slices.Sort(unknown.Known)
		return nil, unknown
	}
	o.Place = strings.TrimPrefix(o.Place, pipeline+"-")
	kind, known, kinds := "", p.places(), p.kinds()
	if o.Place != "" && !slices.Contains(known, o.Place) {
		if !slices.Contains(kinds, o.Place) {
			return nil, &UnknownError{"place", o.Place, append(known, kinds...)}
		}
		kind = strings.TrimSuffix(o.Place, "s")
	}
	if m.tapped == mostTaps {
		return nil, ErrTooManyTaps
	}
	if o.Bytes <= 0 {
		o.Bytes = DefaultTapBytes
	}
	o.Bytes = min(o.Bytes, MostTapBytes)
	t := &Tap{
		TapOptions: o, monitor: m, pipeline: p, kind: kind, ready: make(chan struct{}, 1), shown: make(map[string]*shown),
	}
	m.tapped++
	p.setTaps(append(p.openTaps(), t))
	return t, nil
}

// kinds returns what TapOptions.Place knows beside places: what the pipeline has, and dead letters,
// of which it is not known before there is one.
func (p *pipeline) kinds() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc([]string{"sources", "steps", "sinks", "buffers", "dead_letters"}, func(kind string) bool {
		return kind != "dead_letters" &&
			!slices.ContainsFunc(p.ends, func(e *end) bool { return e.kind == strings.TrimSuffix(kind, "s") })
	})
}

// places returns those of the pipeline, in the order of the tree.
func (p *pipeline) places() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.ends {
		all = append(all, e.place)
	}
	return all
}

// openTaps returns a copy of the taps.
func (p *pipeline) openTaps() []*Tap {
	if taps := p.taps.Load(); taps != nil {
		return slices.Clone(*taps)
	}
	return nil
}

// setTaps replaces the taps. The lock of the monitor must be held.
func (p *pipeline) setTaps(taps []*Tap) {
	if len(taps) == 0 {
		p.taps.Store(nil)
		return
	}
	p.taps.Store(&taps)
}

// Close ends looking, and makes Next return. It may be called more than once.
func (t *Tap) Close() {
	t.monitor.mu.Lock()
	defer t.monitor.mu.Unlock()
	if t.end(errors.New("the tap is closed")) {
		t.pipeline.setTaps(slices.DeleteFunc(t.pipeline.openTaps(), func(o *Tap) bool { return o == t }))
	}
}

// end ends a tap, and reports whether it was open. The lock of the monitor must be held.
func (t *Tap) end(why error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return false
	}
	t.closed, t.queue, t.head = why, nil, 0
	t.monitor.tapped--
	t.wake()
	return true
}

// untap ends all taps of a pipeline that is gone. The lock must be held.
func (m *Monitor) untap(p *pipeline) {
	for _, t := range p.openTaps() {
		t.end(ErrTapGone)
	}
	p.setTaps(nil)
}

// Lost returns what was not shown so far.
func (t *Tap) Lost() Lost {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// wake has Next look. The lock must be held.
func (t *Tap) wake() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// at reports whether the tap is at an end.
func (t *Tap) at(e *end) bool {
	if t.kind != "" {
		return t.kind == e.kind
	}
	return t.Place == "" || t.Place == e.place
}

// wanted returns how many messages are to be shown at most of those that pass an end now; 0: nobody
// looks.
func (e *end) wanted() (most int) {
	taps := e.pipeline.taps.Load()
	if taps == nil {
		return 0
	}
	now := time.Now()
	for _, t := range *taps {
		if t.at(e) {
			t.mu.Lock()
			most = max(most, 1, min(t.left(e, now), mostQueued-t.waiting())) // one, to be counted
			t.mu.Unlock()
		}
	}
	return most
}

// left returns how many messages of an end may be shown by now. The lock must be held.
func (t *Tap) left(e *end, now time.Time) int {
	if t.Most <= 0 || t.When != nil { // then who looks finds that out
		return mostQueued
	}
	return t.Most - t.window(e.place, now).n
}

func (t *Tap) window(place string, now time.Time) *shown {
	s := t.shown[place]
	if s == nil || now.Sub(s.since) >= t.Per {
		s = &shown{since: now}
		t.shown[place] = s
	}
	return s
}

// show shows what passes an end: n messages, of which there are the first ones.
func (e *end) show(n int, first iter.Seq[passed]) {
	taps := e.pipeline.taps.Load()
	if taps == nil {
		return
	}
	now := time.Now()
	for _, t := range *taps {
		if t.at(e) {
			t.take(e, now, n, first)
		}
	}
}

// take copies what there is room for, and counts the rest.
func (t *Tap) take(e *end, now time.Time, n int, first iter.Seq[passed]) {
	bytes, samples := t.Bytes, t.Most > 0 && t.When == nil
	if t.When != nil {
		bytes = max(bytes, mostAsked)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return
	}
	rest := &t.lost.Missed
	if samples {
		rest = &t.lost.Skipped
	}
	for p := range first {
		if samples && t.left(e, now) <= 0 {
			break
		}
		if t.waiting() == mostQueued || t.size >= mostQueuedSize {
			rest = &t.lost.Missed
			break
		}
		n--
		one := queued{Tapped: Tapped{At: now, Place: e.place, Kind: e.kind, Outcome: p.outcome}}
		one.size = one.fill(&p, bytes)
		if t.When != nil && one.Cut > 0 { // the condition would be asked of something else
			t.lost.Missed++
			continue
		}
		if p.reason != nil {
			one.Reason = p.reason.Error()
		}
		t.put(one)
		if samples {
			t.window(e.place, now).n++
		}
	}
	*rest += uint64(max(n, 0))
	t.wake()
}

// Next returns what has passed, waiting for it until ctx is done. After any other error the tap has
// ended.
func (t *Tap) Next(ctx context.Context) (*Tapped, error) {
	for {
		one, err := t.next()
		switch {
		case err != nil:
			return nil, err
		case one != nil && (t.When == nil || t.matches(ctx, one)):
			return one, nil
		case one != nil && ctx.Err() == nil:
			continue
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next takes one from the queue, nil if there is none.
func (t *Tap) next() (*Tapped, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil || t.waiting() == 0 {
		return nil, t.closed
	}
	one := t.queue[t.head]
	t.queue[t.head] = queued{}
	t.size -= one.size
	if t.head++; t.head == len(t.queue) {
		t.queue, t.head = t.queue[:0], 0
	}
	return &one.Tapped, nil
}

// put adds to the queue. The lock must be held. As the pipeline waits for it, there is no new queue
// where the room of what was taken out will do.
func (t *Tap) put(one queued) {
	if len(t.queue) == cap(t.queue) && t.head > len(t.queue)/2 {
		left := copy(t.queue, t.queue[t.head:])
		clear(t.queue[left:])
		t.queue, t.head = t.queue[:left], 0
	}
	t.queue = append(t.queue, one)
	t.size += one.size
}

// waiting returns how many are in the queue. The lock must be held.
func (t *Tap) waiting() int { return len(t.queue) - t.head }

// matches reports whether one is to be shown, by the condition. The conditions of all taps
// together may take a fifth of a processor, which pipelines need.
func (t *Tap) matches(ctx context.Context, one *Tapped) bool {
	began := time.Now()
	yes, err := t.holds(one)
	if t.spent += time.Since(began); t.spent > 2*time.Millisecond {
		t.monitor.mu.Lock()
		pause := time.NewTimer(4 * t.spent * time.Duration(t.monitor.tapped))
		t.monitor.mu.Unlock()
		defer pause.Stop()
		t.spent = 0
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.lost.Failed++
		t.lost.Why = err.Error()
		return false
	case !yes:
		return false
	case t.Most > 0:
		w := t.window(one.Place, time.Now())
		if w.n++; w.n > t.Most {
			t.lost.Skipped++
			return false
		}
	}
	one.shorten(t.Bytes)
	return true
}

// holds asks the condition. It has no answer if it has none for each of the messages.
func (t *Tap) holds(one *Tapped) (_ bool, failed error) {
	asked := one.After
	if one.Message != nil {
		asked = slices.Concat([]bridge.Message{*one.Message}, asked)
	}
	answers := 0
	for i := range asked {
		switch yes, err := t.When.Match(&asked[i]); {
		case err != nil:
			failed = err
		case yes:
			return true, nil
		default:
			answers++
		}
	}
	if answers > 0 {
		failed = nil
	}
	return false, failed
}

// Waiting reports whether Next has something at once.
func (t *Tap) Waiting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting() > 0
}
