package bridge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

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
	f.attempts++
	f.err = err
}

// suspicious is how many failures in a row at one message make the log, and the state of the sink,
// name it.
const suspicious = 3

// exhausted reports whether m has failed as often as it may. If it may for ever, the log names it
// after a while.
func (p *place) exhausted(ctx context.Context, m *Message, f *failure) bool {
	if p.onError.Tries == 0 && f.attempts == suspicious {
		p.env.Logger.WarnContext(ctx, "the sink fails at the same message again and again", "err", f.named(m, f.err))
	}
	return p.onError.Tries > 0 && f.attempts >= p.onError.Tries
}

// named returns err, with the message that it is about if that has failed suspiciously often.
func (f *failure) named(m *Message, err error) error {
	if f.attempts < suspicious {
		return err
	}
	return fmt.Errorf("failed %d times in a row at the same message, with topic %s and %d bytes; "+
		"on_error: {retry: {max: 5}, then: dead_letter} would put it aside: %w",
		f.attempts, shortened(m.Topic), len(m.Payload), err)
}

// refusal is a message that failed for good.
type refusal struct {
	index   int // in the batch that it came with
	message *Message
	failure failure
}

// refusals pairs the messages of b with what was said of them.
func refusals(b Batch, said Refusals) []refusal {
	all := make([]refusal, len(said))
	for k, s := range said {
		all[k] = refusal{index: s.Index, message: &b[s.Index]}
		all[k].failure.note(s.Err)
	}
	return all
}

// place is where messages may be refused: a source, a step, or a branch with its condition and
// sink. It carries out [OnError].
type place struct {
	kind     string // source, step or sink
	typ      string // of the connector
	env      Env
	onError  *OnError
	dead     *output // nil unless there are dead letters
	identity *identity

	mu       mutex     // guards what follows
	seen     int64     // messages that passed or were refused
	failures []int64   // numbers of the latest ones that were refused
	logged   time.Time // when the log was last told
	unlogged int       // messages since
	say      func()    // logs them
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
			done, stop = k, Permanent(fmt.Errorf("%s: %d of the last %d messages were refused, and %d may be; "+
				"the last one, with topic %s: %w", p, failed, p.window(), p.onError.Most, shortened(r.message.Topic), r.failure.err))
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
	first := &refused[0]
	switch p.onError.Then {
	case FateStop:
		m := first.message
		return 0, pending, Permanent(fmt.Errorf("%s: message with topic %s, %d bytes: %w",
			p, shortened(m.Topic), len(m.Payload), first.failure.err))
	case FateDrop:
		p.tell(ctx, refused, "dropped what was refused")
		return len(refused), dropped, nil
	case FateDeadLetter:
	}
	letters := make(Batch, len(refused))
	for k := range refused {
		letter, err := p.letter(&refused[k])
		if err != nil {
			return 0, pending, Permanent(err)
		}
		letters[k] = letter
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
	p.tell(ctx, refused, "put what was refused with the dead letters")
	return len(refused), deadLettered, nil
}

func (p *place) letter(r *refusal) (Message, error) {
	m, f := r.message, &r.failure
	d := DeadLetter{
		Reason: f.err.Error(), Pipeline: p.env.Pipeline, Place: p.kind, Connector: p.typ, Instance: p.env.Instance,
		Attempts: f.attempts, First: f.first.UTC(), Last: f.last.UTC(),
		ID: m.ID, Topic: m.Topic, Header: m.Header, Time: m.Time, Payload: m.Payload,
	}
	text, err := d.Encode()
	return Message{ID: letterID(m.ID, p.env.Instance), Topic: m.Topic, Time: m.Time, Payload: text}, err
}

func (p *place) String() string { return p.typ + " " + p.kind }

// recent counts the message of number seen, and returns how many of the last ones were refused.
func (p *place) recent() int {
	if p.onError.Most == 0 {
		return 0
	}
	p.failures = append(slices.DeleteFunc(p.failures, func(f int64) bool { return f <= p.seen-int64(p.window()) }), p.seen)
	return len(p.failures)
}

func (p *place) window() int { return cmp.Or(p.onError.Window, 100) }

// tell logs what became of messages that were refused, at most one line a second; the rest at the
// end.
func (p *place) tell(ctx context.Context, refused []refusal, what string) {
	p.unlogged += len(refused)
	last := refused[len(refused)-1]
	topic := last.message.Topic
	topic = topic[:min(len(topic), mostTopic)]
	p.say = func() {
		p.env.Logger.WarnContext(ctx, what, "err", last.failure.err, "topic", topic, //nolint:sloglint // one of two texts
			"attempts", last.failure.attempts, "n", p.unlogged)
		p.logged, p.unlogged = time.Now(), 0
	}
	if time.Since(p.logged) >= time.Second {
		p.say()
	}
}

// tellRest logs what tell has kept back.
func (p *place) tellRest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unlogged > 0 {
		p.say()
	}
}

// mostTopic is how much of a topic stands in a line for people.
const mostTopic = 100

// shortened returns a topic as it may stand in a line for people.
func shortened(topic string) string {
	if len(topic) > mostTopic {
		return fmt.Sprintf("%q… (%d bytes)", topic[:mostTopic], len(topic))
	}
	return fmt.Sprintf("%q", topic)
}
