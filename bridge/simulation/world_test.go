package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// world is what is outside of the bridge, and survives it: what sources have, what sinks have
// taken. Things of a process that was killed change nothing in it any more.
type world struct {
	*schedule
	began time.Time

	mu       sync.Mutex // guards the rest
	process  int        // number of the one that lives
	faults   []string
	trace    uint64
	sources  []*upstream
	nodes    []*spot // of the tree, and of the steps
	letters  map[string]map[string]bool
	reads    map[string]int // how often a message was read, from the buffer if there is one
	inBuffer []bridge.Message
	stored   map[string]bool
	changed  chan struct{}

	// Of the pipeline of now.
	returned int  // messages that sources have returned
	nacked   bool // something was given back
}

// spot is a place where something happens to messages: a sink, a step, a branch.
type spot struct {
	name    string
	plan    *branchPlan
	step    *stepPlan
	within  bool    // a branch of any
	retries bool    // what it has settled may come again, since it is with others in a branch of any
	ordered bool    // messages come in the order of their sources
	keyed   bool    // or of their keys
	next    []*spot // steps of a branch, in order
	inner   []*spot // branches

	writes, opens, calls int
	begun                map[string]int // writes by their first message
	taken                map[string]int // by a sink, in all
	settled              map[string]int // as it said
	extra                map[string]int // taken though it did not say so
	last                 map[string]int // order
	poisoned             map[string]int
	made                 map[string][]string // by a window: of what
	failed               map[string]int      // calls of a step that failed, by the message that was alone in them
	madeNow              []string            // in this pipeline
}

func (w *world) wrong(format string, args ...any) {
	if len(w.faults) < 5 {
		w.faults = append(w.faults, fmt.Sprintf("%v: ", time.Since(w.began))+fmt.Sprintf(format, args...))
	}
}

// note adds an event to the trace. At one instant the order of events does not count.
func (w *world) note(args ...any) {
	w.trace += hash(fmt.Sprint(append(args, time.Since(w.began))...))
}

func newWorld(s *schedule) *world {
	w := &world{
		schedule: s, began: time.Now(), letters: make(map[string]map[string]bool),
		reads: make(map[string]int), stored: make(map[string]bool), changed: make(chan struct{}),
	}
	for i := range s.Sources {
		w.sources = append(w.sources, &upstream{world: w, plan: &s.Sources[i], index: i})
	}
	return w
}

func (w *world) broadcast() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// pause waits for a time that depends on what happens and nothing else, so that the same happens in
// the same order each time.
func (w *world) pause(ctx context.Context, most time.Duration, about ...any) error {
	d := time.Duration(hash(fmt.Sprint(append(about, w.Seed)...)) % uint64(most))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errPlanned = errors.New("as planned")

// upstream is what a source reads from: it delivers again what was not acknowledged.
type upstream struct {
	*world
	plan    *sourcePlan
	index   int
	next    int // first message that is not acknowledged
	opens   int
	reading int
}

type source struct {
	*upstream
	process int
	env     bridge.Env
	at      int   // next message to return
	pending []int // first message of each batch that is out, and of the one behind it
	closed  chan struct{}
	once    sync.Once
}

func (u *upstream) open(ctx context.Context, env bridge.Env) (bridge.Source, error) {
	if err := u.pause(ctx, time.Millisecond, "open", u.index); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.process < 0 {
		return nil, errPlanned
	}
	u.opens++
	if slices.Contains(u.plan.Opens, u.opens-1) {
		return nil, errPlanned
	}
	return &source{
		upstream: u, process: u.process, env: env, at: u.next, pending: []int{u.next},
		closed: make(chan struct{}),
	}, nil
}

func (s *source) id(n int) string { return fmt.Sprintf("s%d-%d", s.index, n) }

func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		if err := s.pause(ctx, 100*time.Microsecond, "read", s.index, s.at); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		now := int(time.Since(s.began) / time.Millisecond)
		n := 0
		for s.at+n < len(s.plan.Arrivals) && s.plan.Arrivals[s.at+n] <= now && n < s.env.MaxBatch {
			n++
		}
		if n > 0 || s.at == len(s.plan.Arrivals) && len(s.Ends) <= s.process {
			defer s.mu.Unlock()
			return s.batch(n)
		}
		wait := time.Hour
		if s.at < len(s.plan.Arrivals) {
			wait = time.Duration(s.plan.Arrivals[s.at])*time.Millisecond - time.Since(s.began)
		}
		s.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.closed:
			t.Stop()
			return nil, nil, io.ErrClosedPipe
		case <-ctx.Done():
			t.Stop()
			return nil, nil, ctx.Err()
		}
	}
}

func (s *source) batch(n int) (b bridge.Batch, ack bridge.Ack, err error) {
	if s.process != s.world.process {
		return nil, nil, errPlanned
	}
	s.reading++
	fails := slices.Contains(s.plan.Errors, s.reading-1)
	switch {
	case fails && (n == 0 || s.reading%2 == 0):
		return nil, nil, errPlanned
	case n == 0:
		return nil, nil, io.EOF
	case fails:
		err = errPlanned
	}
	from, to := s.at, s.at+n
	s.at = to
	s.pending = append(s.pending, to)
	var said bridge.Refusals
	for i := from; i < to; i++ {
		id := s.id(i)
		b = append(b, bridge.Message{ID: strconv.Itoa(i), Topic: id, Payload: []byte(id)})
		if err == nil && chance(s.Seed, s.name(), "refuse", id, s.plan.Refuse) {
			said = append(said, bridge.Refusal{Index: i - from, Err: errPlanned})
		}
		if s.process == s.world.process && !s.Buffer {
			s.reads[id]++
		}
	}
	s.returned += n
	if said != nil {
		err = said
	}
	s.note("read", s.index, from, to)
	settled := false
	return b, func(_ context.Context, refused error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if settled {
			s.wrong("messages %s to %d were settled twice", s.id(from), to)
		}
		settled = true
		select {
		case <-s.closed:
			if refused == nil {
				s.wrong("messages %s to %d were acknowledged to a closed source", s.id(from), to)
			}
		default:
		}
		if s.pending[0] != from {
			s.wrong("messages %s to %d were settled before those from %d on", s.id(from), to, s.pending[0])
		}
		s.pending = s.pending[1:]
		if s.process != s.world.process {
			return nil
		}
		s.note("ack", s.index, from, to, refused == nil)
		end := from + bridge.Settled(n, refused)
		if refused != nil {
			s.nacked = true
			if s.index%2 == 1 {
				end = from // not every source asks
			}
		}
		if end == from {
			return nil
		}
		if s.next != from {
			s.wrong("messages %s to %d were acknowledged, and those from %d on were not", s.id(from), end, s.next)
		}
		s.next = end
		for i := from; i < end; i++ {
			if id := s.id(i); s.Buffer && !s.stored[id] && !chance(s.Seed, s.name(), "refuse", id, s.plan.Refuse) {
				s.wrong("%s was acknowledged and is not in the buffer", id)
			} else if !s.Buffer {
				if why := s.owed(id, s.index); why != "" {
					s.wrong("%s was acknowledged early: %s", id, why)
				}
			}
		}
		return nil
	}, err
}

func (s *source) name() string { return placeName("sim-from", s.index) }

func placeName(place string, i int) string {
	if i == 0 {
		return place
	}
	return place + "-" + strconv.Itoa(i+1)
}

func (s *source) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.pending) > 1 && s.process == s.world.process {
			s.wrong("source %d was closed with %d batches that are not settled", s.index, len(s.pending)-1)
		}
		close(s.closed)
	})
	return nil
}

// sink is an instance of a sink.
type sink struct {
	*world
	*spot
	process int
	closed  chan struct{}
	once    sync.Once
	dead    bool // its connection has ended
}

func (w *world) openSink(p *spot) func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
	return func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
		if err := w.pause(ctx, time.Millisecond, "open", p.name); err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if env.Instance != p.name {
			w.wrong("the sink %s is called %s", p.name, env.Instance)
		}
		if w.process < 0 { // killed
			return nil, errPlanned
		}
		p.opens++
		if slices.Contains(p.plan.Opens, p.opens-1) {
			return nil, errPlanned
		}
		return &sink{world: w, spot: p, process: w.process, closed: make(chan struct{})}, nil
	}
}

var errClosed = errors.New("the sink was closed")

func (s *sink) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	s.mu.Lock()
	first := string(b[0].Payload)
	s.begun[first]++
	wait, again := 100*time.Microsecond+time.Duration(s.plan.Delay)*time.Millisecond, s.begun[first]
	s.mu.Unlock()
	if err := s.pauseOpen(ctx, wait, "write", s.name, first, again); err != nil {
		return bridge.Result{}, err
	}
	s.mu.Lock()
	n := s.writes
	if s.process == s.world.process {
		s.writes++
	}
	i := slices.IndexFunc(s.plan.Breaks, func(k breaking) bool { return k.Write == n })
	s.mu.Unlock()
	if i < 0 {
		return s.take(b, len(b), 0)
	}
	how := s.plan.Breaks[i]
	if how.Panic {
		panic("as planned")
	}
	settled := len(b) * how.Settled / 100
	result, err := s.take(b, settled, how.Took)
	if how.Late > 0 {
		if e := s.pauseOpen(ctx, time.Duration(how.Late)*time.Millisecond, "late", n); e != nil && err == nil {
			err = e
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	if err == nil && result.Settled < len(b) {
		err = errPlanned
	}
	return result, err
}

// pauseOpen waits as pause does, or until the sink is closed, which a deaf one does not notice.
func (s *sink) pauseOpen(ctx context.Context, most time.Duration, about ...any) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !s.plan.Deaf {
		defer context.AfterFunc(ctx, func() {})()
		go func() {
			select {
			case <-s.closed:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return s.pause(ctx, most, about...)
}

// take takes messages, and says so of as many.
func (s *sink) take(b bridge.Batch, settled, extra int) (r bridge.Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return r, errClosed
	default:
	}
	if s.dead || s.process != s.world.process {
		return r, errPlanned
	}
	for i := range b {
		id := string(b[i].Payload)
		if i >= settled+extra {
			break
		}
		if s.poisoned[id] < 3 && chance(s.Seed, s.name, "poison", id, s.plan.Poison) {
			s.poisoned[id]++
			s.dead = true
			return r, errPlanned
		}
		switch {
		case chance(s.Seed, s.name, "refuse", id, s.plan.Refuse):
			if i < settled {
				r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: errPlanned})
			}
		case chance(s.Seed, s.name, "omit", id, s.plan.Omit):
			if i < settled {
				r.Omitted = append(r.Omitted, i)
			}
		default:
			s.has(id, i < settled)
		}
		if i < settled {
			r.Settled++
		}
	}
	s.note("write", s.name, len(b), r.Settled, string(b[0].Payload))
	return r, nil
}

// has notes that the sink has taken a message.
func (s *sink) has(id string, said bool) {
	s.taken[id]++
	key, n, plain := order(id)
	switch {
	case !plain:
	case s.ordered || s.keyed:
		if s.keyed {
			key += "/" + keyOf(id)
		}
		if last, known := s.last[key]; known && n <= last && s.reads[origin(id)] <= 1 && s.extra[id] == 0 && !s.retries {
			s.wrong("%s came to %s after number %d", id, s.name, last)
		}
		s.last[key] = n
	}
	if !said {
		s.extra[id]++
		return
	}
	s.settled[id]++
	if plain && !s.retries && s.settled[id] > s.reads[origin(id)] {
		s.wrong("%s was settled at %s %d times, and read %d times", id, s.name, s.settled[id], s.reads[origin(id)])
	}
}

func (s *sink) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.closed)
	})
	return nil
}

// order takes an id apart: the source, a number that grows with it, and whether it is one of a
// source and not of a window.
func order(id string) (source string, n int, plain bool) {
	if !strings.HasPrefix(id, "s") {
		return "", 0, false
	}
	source, rest, _ := strings.Cut(id, "-")
	parts := strings.Split(rest, ".")
	for i := range 4 {
		part := 0
		if i < len(parts) {
			part, _ = strconv.Atoi(parts[i])
		}
		n = n*100 + part
	}
	return source, n, true
}

// origin returns the message of a source that a message is or was made of.
func origin(id string) string {
	id, _, _ = strings.Cut(id, ".")
	return id
}

// keyOf returns the key of a message, of which there are few.
func keyOf(id string) string {
	return strconv.Itoa(int(hash("key"+id) % 3))
}

// deadSink takes letters.
type deadSink struct {
	*world
	process int
}

func (w *world) openDead(ctx context.Context, _ bridge.Env) (bridge.Sink, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &deadSink{w, w.process}, ctx.Err()
}

func (d *deadSink) Write(ctx context.Context, b bridge.Batch) (bridge.Result, error) {
	if err := d.pause(ctx, 100*time.Microsecond, "dead", b[0].Topic); err != nil {
		return bridge.Result{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process != d.world.process {
		return bridge.Result{}, errPlanned
	}
	for i := range b {
		var l bridge.DeadLetter
		if err := l.UnmarshalJSON(b[i].Payload); err != nil {
			d.wrong("a letter cannot be read: %v", err)
		}
		d.letter(l.Instance, string(l.Payload))
	}
	return bridge.Result{Settled: len(b)}, nil
}

func (w *world) letter(place, id string) {
	if w.letters[place] == nil {
		w.letters[place] = make(map[string]bool)
	}
	w.letters[place][id] = true
}

func (*deadSink) Close() error { return nil }
