package bridge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// OnError says what becomes of a message that a sink cannot take. The zero value tries for ever what
// may work another time, and stops the pipeline at what never will.
type OnError struct {
	// Tries is how often a message is written whose failure may pass; 0 means for ever. Only a sink that is open
	// is tried: that it cannot be opened is waited out, however long that takes.
	Tries int

	// FirstWait and LongestWait bound the growing wait between attempts; 0 means 250 ms and 8 s.
	FirstWait, LongestWait time.Duration

	// Then is what happens to a message that failed for good.
	Then Fate

	// Most is how many of the last Window messages may fail for good at one sink; one more stops the pipeline, since then it
	// is not the messages that are wrong. 0 means any number. Window is 100 if it is 0.
	Most, Window int

	// DeadLetter is where it goes if Then is [FateDeadLetter], as a [DeadLetter]. The zero value means the State of the pipeline.
	DeadLetter Endpoint[Sink]
}

// Fate is what happens to a message that failed for good.
type Fate int

// What can happen to a message that failed for good.
const (
	FateStop       Fate = iota // the pipeline stops with the reason; the message is given back to its source
	FateDrop                   // it is left out, counted and logged
	FateDeadLetter             // it goes to another sink; if that is down, the pipeline waits, and nothing is acknowledged
)

// DeadLetter is a message that a sink could not take, with the reason. As a message its payload is this in JSON, on one line; its
// topic, id and time are those of the original.
type DeadLetter struct {
	Reason   string            `json:"reason"`
	Pipeline string            `json:"pipeline"`
	Sink     string            `json:"sink"`     // type of the connector
	Instance string            `json:"instance"` // see Env.Instance
	Attempts int               `json:"attempts"` // at least 1
	First    time.Time         `json:"first"`    // attempt
	Last     time.Time         `json:"last"`     // attempt
	ID       string            `json:"id,omitempty"`
	Topic    string            `json:"topic,omitempty"`
	Header   map[string]string `json:"header,omitempty"`
	Time     time.Time         `json:"time,omitzero"`

	// The payload is in one of these: as text if it is valid UTF-8 without control characters other than tabs and ends of
	// lines, else in base64. So a letter has about twice the size of its message at most.
	Payload string `json:"payload,omitempty"`
	Base64  []byte `json:"base64,omitempty"`
}

// newDeadLetter makes one of m.
func newDeadLetter(m *Message, pipeline string, o *output, f failure) DeadLetter {
	d := DeadLetter{
		Reason: f.err.Error(), Pipeline: pipeline, Sink: o.endpoint.Type, Instance: o.env.Instance, Attempts: f.attempts, First: f.first.UTC(), Last: f.last.UTC(),
		ID: m.ID, Topic: m.Topic, Header: m.Header, Time: m.Time,
	}
	if isText(m.Payload) {
		d.Payload = string(m.Payload)
	} else {
		d.Base64 = m.Payload
	}
	return d
}

func isText(payload []byte) bool {
	control := bytes.IndexFunc(payload, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' })
	return control < 0 && utf8.Valid(payload)
}

// Encode returns the letter as it is delivered to the sink for dead letters.
func (d *DeadLetter) Encode() ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("write dead letter: %w", err)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// Message returns the message as it was.
func (d *DeadLetter) Message() Message {
	m := Message{ID: d.ID, Topic: d.Topic, Header: d.Header, Time: d.Time, Payload: d.Base64}
	if m.Payload == nil {
		m.Payload = []byte(d.Payload)
	}
	return m
}

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

// undertaker carries out OnError for all sinks of a running pipeline.
type undertaker struct {
	OnError
	pipeline string

	mu     sync.Mutex // serializes what follows
	dead   *output    // nil unless there are dead letters
	told   time.Time  // when the log was last told
	untold int        // messages since
}

// final reports whether a message that failed so is not tried again.
func (u *undertaker) final(f failure) bool {
	return IsPermanent(f.err) || u.Tries > 0 && f.attempts >= u.Tries
}

// bury does with m, which o cannot take, what is configured. An error stops the pipeline, or says that ctx was done.
func (u *undertaker) bury(ctx context.Context, o *output, m *Message, f failure) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := u.recent(o); u.Most > 0 && n > u.Most {
		return Permanent(fmt.Errorf("%s sink: %d of the last %d messages could not be delivered, and %d may be; the last one, with topic %q: %w",
			o.endpoint.Type, n, u.window(), u.Most, m.Topic, f.err))
	}
	switch u.Then {
	case FateStop:
	case FateDrop:
		o.dropped.Add(1)
		u.tell(ctx, o, m, f)
		return nil
	case FateDeadLetter:
		d := newDeadLetter(m, u.pipeline, o, f)
		text, err := d.Encode()
		if err != nil {
			return Permanent(err)
		}
		letter := Message{ID: m.ID, Topic: m.Topic, Time: m.Time, Payload: text}
		if _, err := u.dead.write(ctx, Batch{letter}); err != nil {
			return fmt.Errorf("dead letter: %w; it is about: %w", err, f.err)
		}
		crashpoint.Reach(crashpoint.LetterWritten)
		o.buried.Add(1)
		u.tell(ctx, o, m, f)
		return nil
	}
	return Permanent(fmt.Errorf("%s sink: message with topic %q, %d bytes: %w", o.endpoint.Type, m.Topic, len(m.Payload), f.err))
}

// recent counts one more message of o that failed for good, and returns how many of the last ones did.
func (u *undertaker) recent(o *output) int {
	at := o.seen.Add(1)
	o.failures = append(slices.DeleteFunc(o.failures, func(f int64) bool { return f <= at-int64(u.window()) }), at)
	return len(o.failures)
}

func (u *undertaker) window() int { return cmp.Or(u.Window, 100) }

// tell logs what became of messages that failed, at most one line a second.
func (u *undertaker) tell(ctx context.Context, o *output, m *Message, f failure) {
	u.untold++
	if time.Since(u.told) < time.Second {
		return
	}
	log := o.env.Logger.With("err", f.err, "topic", m.Topic, "attempts", f.attempts, "n", u.untold)
	if u.Then == FateDrop {
		log.WarnContext(ctx, "dropped what cannot be delivered")
	} else {
		log.WarnContext(ctx, "put what cannot be delivered with the dead letters")
	}
	u.told, u.untold = time.Now(), 0
}
