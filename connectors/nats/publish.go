package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// publishWindow is how many messages may wait for their confirmation.
const publishWindow = 1024

var _ bridge.Sink = (*streamSink)(nil)

// streamSink publishes to JetStream. It follows confirmations itself: each has the number of its
// message in its subject. The client library's asynchronous publishing makes a random name, a map
// entry, a future and two channels of each message, and its futures never end when the connection
// does.
type streamSink struct {
	form
	conn     *conn
	place    string // of this sink, the end of each message's id
	expected string // stream, or empty
	timeout  time.Duration
	fast     bool // the stream takes fast ingest
	close    func()
	known    func(n int) // tells about messages that the stream had already
	lookup   *lookup

	mu   sync.Mutex // guards idle
	idle []*publisher
}

func newStreamSink(ctx context.Context, c *conn, s *SinkSettings, env bridge.Env) *streamSink {
	env.NeedID() // so that the stream can tell what comes again
	var once sync.Once
	l := &lookup{dial: func(ctx context.Context) (*conn, error) { return dial(ctx, &s.Client, env) }}
	return &streamSink{
		form:     newForm(s),
		conn:     c,
		place:    "/" + env.Instance,
		expected: s.stream(),
		timeout:  s.AckTimeout,
		fast:     allowsBatches(ctx, s, env),
		close:    sync.OnceFunc(func() { c.End(); l.end() }),
		lookup:   l,
		known: func(n int) {
			once.Do(func() {
				env.Logger.Info("the stream has had messages with these ids already and keeps one of each", "n", n)
			})
		},
	}
}

func (s *streamSink) Close() error {
	s.close()
	return nil
}

func (s *streamSink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return bridge.Result{}, err
	}
	defer context.AfterFunc(ctx, s.conn.Cut)() // a peer that does not read blocks us in the socket
	p, err := s.take()
	var result bridge.Result
	if err == nil {
		if result, err = p.write(ctx, batch); err != nil {
			_ = p.replies.Unsubscribe() // confirmations of this batch may come yet
		}
	}
	if err != nil {
		return result, cmp.Or(ctx.Err(), err) // the end of the connection may be our doing
	}
	s.mu.Lock()
	s.idle = append(s.idle, p)
	s.mu.Unlock()
	return result, nil
}

// take returns a publisher that no other Write uses.
func (s *streamSink) take() (*publisher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		p := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return p, nil
	}
	return newPublisher(s)
}

// publisher publishes one batch at a time.
type publisher struct {
	sink    *streamSink
	confirm chan *nats.Msg
	replies *nats.Subscription
	inbox   string // with a dot at the end
	id      string // its own part of that
	header  header
	text    []byte // reply subject and id of a message
	before  uint64 // messages of earlier batches

	batch   bridge.Batch // being written; what follows is about it
	out     natsclient.Outgoing
	settled []bool
	prefix  int // settled messages at the front
	count   int // settled messages
	known   int // of these the stream had already
	refused bridge.Refusals
	failed  int // first message that a new instance may deliver, or len(batch)
	reason  error

	fast   string // what the reply subjects of a fast batch begin with; empty: none
	order  []int  // messages of it
	stored int    // of them
	fallen bool   // the server has ended it
}

func newPublisher(s *streamSink) (*publisher, error) {
	p := &publisher{sink: s, confirm: make(chan *nats.Msg, 2*publishWindow), inbox: s.conn.NewInbox() + "."}
	p.id = p.inbox[strings.LastIndexByte(p.inbox[:len(p.inbox)-1], '.')+1 : len(p.inbox)-1]
	var err error
	if p.replies, err = s.conn.ChanSubscribe(p.inbox+">", p.confirm); err != nil {
		return nil, s.conn.Err()
	}
	return p, nil
}

func (p *publisher) write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	p.begin(batch)
	defer func() {
		p.batch = nil
		p.before += uint64(len(batch))
	}()
	err := p.publishAll(ctx)
	if p.known > 0 {
		p.sink.known(p.known)
	}
	return p.result(), err
}

func (p *publisher) publishAll(ctx context.Context) error {
	timer := time.NewTimer(p.sink.timeout)
	defer timer.Stop()
	if p.sink.fast && len(p.batch) >= leastFast {
		p.fast = fmt.Sprintf("%s%s-%d.", p.inbox, p.id, p.before)
		if err := p.publishFrom(ctx, timer, 0); err != nil || !p.fallen {
			return err
		}
		p.fast = ""
	}
	return p.publishFrom(ctx, timer, p.prefix)
}

func (p *publisher) publishFrom(ctx context.Context, timer *time.Timer, first int) error {
	var out nats.Msg
	for i := first; i < len(p.batch); i++ {
		for i-p.count >= publishWindow && p.failed > i && !p.ended() {
			if err := p.await(ctx, timer); err != nil {
				return err
			}
		}
		if p.failed <= i || p.ended() {
			break
		}
		if p.settled[i] {
			continue // before a fast batch was ended
		}
		refused, err := p.publish(&out, &p.batch[i], i)
		if p.fast != "" && (refused != nil || err != nil) {
			p.skipFast(i, err)
		}
		switch {
		case p.ended():
		case err != nil:
			p.fail(i, err)
		case refused != nil:
			p.refuse(i, refused)
		}
	}
	for p.prefix < p.failed && !p.ended() {
		if err := p.await(ctx, timer); err != nil {
			return err
		}
	}
	return p.reason
}

// result says what is settled. The server may have refused in another order than that of the batch.
func (p *publisher) result() bridge.Result {
	slices.SortFunc(p.refused, func(a, b bridge.Refusal) int { return a.Index - b.Index })
	within := len(p.refused)
	for within > 0 && p.refused[within-1].Index >= p.prefix {
		within--
	}
	return bridge.Result{Settled: p.prefix, Refused: p.refused[:within:within]}
}

func (p *publisher) begin(batch bridge.Batch) {
	p.batch, p.out = batch, p.sink.conn.Outgoing()
	n := len(batch)
	if cap(p.settled) < n {
		p.settled = make([]bool, n)
	}
	p.settled = p.settled[:n]
	clear(p.settled)
	p.prefix, p.count, p.known, p.refused, p.failed, p.reason = 0, 0, 0, nil, n, nil
	p.fast, p.order, p.stored, p.fallen = "", p.order[:0], 0, false
}

// ended reports whether the messages are in a fast batch that the server has ended.
func (p *publisher) ended() bool { return p.fallen && p.fast != "" }

func (p *publisher) publish(out *nats.Msg, m *bridge.Message, i int) (refused, err error) {
	if err := p.sink.fill(out, &p.header, m); err != nil {
		return err, nil
	}
	if p.fast != "" {
		p.appendFast(i)
	} else {
		p.text = strconv.AppendUint(append(p.text[:0], p.inbox...), p.before+uint64(i), 10)
	}
	reply := len(p.text)
	if m.ID != "" {
		// The place, because other sinks may write the same message to the same stream.
		p.text = append(append(p.text, escapeValue(m.ID)...), p.sink.place...)
	}
	text := string(p.text)
	if m.ID != "" {
		p.header.set(jetstream.MsgIDHeader, text[reply:])
	}
	if p.sink.expected != "" {
		p.header.set(jetstream.ExpectedStreamHeader, p.sink.expected)
	}
	out.Reply = text[:reply]
	return p.sink.conn.publish(out)
}

// await waits for confirmations. It fails if none comes for the timeout after the messages have
// left.
func (p *publisher) await(ctx context.Context, timer *time.Timer) error {
	select {
	case m := <-p.confirm:
		p.take(ctx, m)
		return nil
	default:
	}
	out := p.out.Waiting()
	for rest := p.sink.timeout; ; {
		timer.Reset(rest)
		select {
		case m := <-p.confirm:
			p.take(ctx, m)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-p.sink.conn.Gone:
			return p.sink.conn.Err()
		case <-timer.C:
			if rest = p.sink.conn.Rest(&out, p.sink.timeout); rest <= 0 {
				return fmt.Errorf("no confirmation from JetStream for %s", p.sink.timeout)
			}
		}
	}
}

func (p *publisher) take(ctx context.Context, m *nats.Msg) {
	if strings.HasSuffix(m.Subject, fastSuffix) {
		p.takeFast(m)
		return
	}
	number, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	offset := number - p.before
	if err != nil || offset >= uint64(len(p.settled)) || p.settled[offset] {
		return // of an earlier batch, or a second one, as when a stream beyond a leaf node takes the subject too
	}
	i := int(offset)
	known, refused, err := confirmation(m, p.sink.expected)
	if errors.Is(refused, errRevision) {
		if known, err = p.isLast(ctx, i); known || err != nil {
			refused = nil
		}
	}
	switch {
	case err != nil:
		p.fail(i, p.about(i, err))
		return
	case refused != nil:
		p.refuse(i, p.about(i, refused))
		return
	case known:
		p.known++
	}
	p.settle(i)
}

// isLast reports whether message i is the last change of its key.
func (p *publisher) isLast(ctx context.Context, i int) (bool, error) {
	m := &p.batch[i]
	if m.ID == "" {
		return false, nil
	}
	subject, _ := p.sink.subject.of(m)
	return p.sink.lookup.isLast(ctx, p.sink.expected, strings.TrimPrefix(subject, p.sink.subject.api),
		escapeValue(m.ID)+p.sink.place)
}

// about says which message an error is about.
func (p *publisher) about(i int, err error) error {
	subject, _ := p.sink.subject.of(&p.batch[i])
	return fmt.Errorf("publish to %q: %w", subject, err)
}

// refuse notes that message i can never be delivered.
func (p *publisher) refuse(i int, err error) {
	p.refused = append(p.refused, bridge.Refusal{Index: i, Err: err})
	p.settle(i)
}

func (p *publisher) settle(i int) {
	p.settled[i] = true
	p.count++
	for p.prefix < len(p.settled) && p.settled[p.prefix] {
		p.prefix++
	}
}

// fail notes that message i is not delivered, which may pass. The first one counts, since it and
// what is behind it come again.
func (p *publisher) fail(i int, err error) {
	if i < p.failed {
		p.failed, p.reason = i, err
	}
}
