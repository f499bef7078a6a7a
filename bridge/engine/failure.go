package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// failure is how a message failed so far.
type failure struct {
	attempts    int
	first, last time.Time
	err         error
}

// note counts one more attempt.
func (f *failure) note(err error) {
	f.last = time.Now()
	if f.attempts == 0 {
		f.first = f.last
	}
	f.attempts, f.err = f.attempts+1, err
}

// suspicious is how many failures in a row at one message make the log name it.
const suspicious = 3

// exhausted reports whether m has failed as often as it may. If it may for ever, the log names it
// after a while.
func (p *place) exhausted(ctx context.Context, m *bridge.Message, f *failure) bool {
	if p.onError.Tries == 0 && f.attempts == suspicious {
		p.env.Logger.WarnContext(ctx, "the sink fails at the same message again and again", "err", f.named(m, 0))
	}
	return p.onError.Tries > 0 && f.attempts >= p.onError.Tries
}

// named returns why m failed last, with what m is if it has failed suspiciously often. tries says
// how often it may; 0: for ever.
func (f *failure) named(m *bridge.Message, tries int) error {
	if f.attempts < suspicious {
		return f.err
	}
	mend := "; on_error: {retry: {max: 5}, then: dead_letter} would put it aside"
	if tries > 0 {
		mend = ", and may " + bridge.Plural(tries, "time")
	}
	return fmt.Errorf("failed %d times in a row at the same message, with topic %q and %s%s: %w",
		f.attempts, clipped(m.Topic, mostTopic), bridge.Plural(len(m.Payload), "byte"), mend, f.err)
}

// refusal is a message that failed for good.
type refusal struct {
	index   int // in the batch that it came with
	message *bridge.Message
	failure failure
}

func refusedFor(i int, m *bridge.Message, why error) refusal {
	r := refusal{index: i, message: m}
	r.failure.note(why)
	return r
}

// refusals pairs the messages of b with what was said of them.
func refusals(b bridge.Batch, said bridge.Refusals) (all []refusal) {
	for _, s := range said {
		all = append(all, refusedFor(s.Index, &b[s.Index], s.Err))
	}
	return all
}

// place is where messages may be refused: a source, a step, or a branch with its condition and
// sink. It carries out [bridge.OnError].
type place struct {
	kind     string // source, step or sink
	typ      string // of the connector
	env      bridge.Env
	onError  *bridge.OnError
	dead     *output // nil unless there are dead letters
	identity *identity

	mu       mutex     // guards what follows
	seen     int64     // messages that passed or were refused
	failures []int64   // numbers of the latest ones that were refused
	reports  []*report // what the log is told
	alike    []byte    // kindOf the last reason
}

// pass counts messages of which none was refused.
func (p *place) pass(n int) {
	if p.onError.Most > 0 {
		p.mu.Lock()
		p.seen += int64(n)
		p.mu.Unlock()
	}
}

// refuse does with messages of a batch of n what is configured, and returns how many it has dealt
// with, and their outcome. An error stops the pipeline, or says that ctx was done.
func (p *place) refuse(ctx context.Context, n int, refused []refusal) (int, outcome, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := p.seen
	defer func() { p.seen = begin + int64(n) }()
	done := len(refused)
	var stop error
	for k, r := range refused {
		p.seen = begin + int64(r.index) + 1
		if failed := p.recent(); p.onError.Most > 0 && failed > p.onError.Most {
			done, stop = k, bridge.Permanent(fmt.Errorf("%s: %d of the last %d messages were refused, and %d may be; "+
				"the last one, with %s: %w", p, failed, p.window(), p.onError.Most, p.identity.about(r.message), r.failure.err))
			break
		}
	}
	handled, out, err := p.carryOut(ctx, refused[:done])
	if err != nil {
		return handled, out, err
	}
	return handled, out, stop
}

func (p *place) carryOut(ctx context.Context, refused []refusal) (int, outcome, error) {
	if len(refused) == 0 {
		return 0, pending, nil
	}
	switch p.onError.Then {
	case bridge.FateStop:
		m, why := refused[0].message, refused[0].failure.err
		return 0, pending, bridge.Permanent(fmt.Errorf("%s: message with %s, %s: %w; on_error: dead_letter would "+
			"put it aside, and drop leave it out", p, p.identity.about(m), bridge.Plural(len(m.Payload), "byte"), why))
	case bridge.FateDrop:
		p.tell(refused, "dropped what was refused")
		return len(refused), dropped, nil
	case bridge.FateDeadLetter:
	}
	letters := make(bridge.Batch, len(refused))
	for k := range refused {
		var err error
		if letters[k], err = p.letter(&refused[k]); err != nil {
			return 0, pending, bridge.Permanent(err)
		}
	}
	p.identity.fill(letters)
	w := write{batch: letters}
	p.dead.write(ctx, &w)
	if w.err == ErrNotDrained { //nolint:errorlint // which says all
		return w.done, deadLettered, w.err
	}
	if w.err != nil {
		return w.done, deadLettered, fmt.Errorf("dead letter: %w; it is about: %w", w.err, refused[w.done].failure.err)
	}
	crashpoint.Reach(crashpoint.LetterWritten)
	p.tell(refused, "put what was refused with the dead letters")
	return len(refused), deadLettered, nil
}

func (p *place) letter(r *refusal) (_ bridge.Message, err error) {
	m, f := r.message, &r.failure
	d := bridge.DeadLetter{
		Reason: f.err.Error(), Pipeline: p.env.Pipeline, Place: p.kind, Connector: p.typ, Instance: p.env.Instance,
		Attempts: f.attempts, First: f.first.UTC(), Last: f.last.UTC(),
		Incomplete: p.kind == "source" && !bridge.IsWhole(f.err),
		ID:         m.ID, Topic: m.Topic, Header: m.Header, Time: m.Time, Payload: m.Payload,
	}
	letter := bridge.Message{Topic: m.Topic, Time: m.Time}
	if m.ID != "" {
		letter.ID = m.ID + "/" + p.env.Instance // several may refuse the same one
	}
	letter.Payload, err = d.Encode()
	return letter, err
}

func (p *place) String() string {
	if dir := strings.TrimPrefix(p.env.Instance, p.env.Pipeline+"-"); strings.Contains(dir, "-") {
		return p.typ + " " + dir // one of several, as the log has it: set step-2
	}
	return p.typ + " " + p.kind
}

// recent counts the message of number seen, and returns how many of the last ones were refused.
func (p *place) recent() int {
	if p.onError.Most == 0 {
		return 0
	}
	p.failures = append(slices.DeleteFunc(p.failures, func(f int64) bool { return f <= p.seen-int64(p.window()) }), p.seen)
	return len(p.failures)
}

func (p *place) window() int { return cmp.Or(p.onError.Window, 100) }

// How much of a topic, and of a reason that may quote one, stands in a line for people.
const (
	mostTopic  = 100
	mostReason = 500
)

// clipped returns a text as it may stand there.
func clipped(text string, most int) string {
	if len(text) > most {
		return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:most], ""), len(text))
	}
	return text
}

// about says which message it is.
func (i *identity) about(m *bridge.Message) string {
	text := fmt.Sprintf("topic %q", clipped(m.Topic, mostTopic))
	if at := i.at(m); at != "" {
		text += ", " + at
	}
	return text
}

// at says where the source has a message, if it can.
func (i *identity) at(m *bridge.Message) string {
	instance, id, _ := strings.Cut(m.ID, ":")
	if where := i.where[instance]; where != nil {
		return where(id)
	}
	return ""
}
