package nats

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// publishWindow is how many messages may wait for their confirmation.
const publishWindow = 1024

var _ bridge.Sink = (*streamSink)(nil)

// streamSink publishes to JetStream. It follows confirmations itself: each has the number of its
// message in its subject. The client library's asynchronous publishing makes a random name, a map
// entry, a future and two channels of each message, and its futures never end when the connection
// does.
type streamSink struct {
	conn     *conn
	subject  subject
	place    string // of this sink, the end of each message's id
	expected string // stream, or empty
	timeout  time.Duration
	close    func()
	known    func(n int) // tells about messages that the stream had already

	mu   sync.Mutex // guards idle
	idle []*publisher
}

func newStreamSink(c *conn, s *SinkSettings, env bridge.Env) *streamSink {
	env.NeedID() // so that the stream can tell what comes again
	var once sync.Once
	return &streamSink{
		conn:     c,
		subject:  newSubject(s.Subject),
		place:    "/" + env.Instance,
		expected: s.Stream,
		timeout:  s.AckTimeout,
		close:    sync.OnceFunc(c.close),
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
	defer context.AfterFunc(ctx, s.conn.cut)() // a peer that does not read blocks us in the socket
	p, err := s.take()
	if err != nil {
		return bridge.Result{}, err
	}
	result, err := p.write(ctx, batch)
	if err != nil {
		_ = p.replies.Unsubscribe() // confirmations of this batch may come yet
		return result, err
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
	header  header
	text    []byte // reply subject and id of a message
	before  uint64 // messages of earlier batches

	batch   bridge.Batch // being written; what follows is about it
	settled []bool
	prefix  int // settled messages at the front
	count   int // settled messages
	known   int // of these the stream had already
	refused bridge.Refusals
	failed  int // first message that a new instance may deliver, or len(batch)
	reason  error
}

func newPublisher(s *streamSink) (*publisher, error) {
	p := &publisher{sink: s, confirm: make(chan *nats.Msg, 2*publishWindow), inbox: s.conn.NewInbox() + "."}
	var err error
	if p.replies, err = s.conn.ChanSubscribe(p.inbox+"*", p.confirm); err != nil {
		return nil, s.conn.err()
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
	var out nats.Msg
	for i := range p.batch {
		for i-p.count >= publishWindow && p.failed > i {
			if err := p.await(ctx, timer); err != nil {
				return err
			}
		}
		if p.failed <= i {
			break
		}
		switch refused, err := p.publish(&out, &p.batch[i], i); {
		case err != nil:
			p.fail(i, err)
		case refused != nil:
			p.refuse(i, refused)
		}
	}
	for p.prefix < p.failed {
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
	p.batch = batch
	n := len(batch)
	if cap(p.settled) < n {
		p.settled = make([]bool, n)
	}
	p.settled = p.settled[:n]
	clear(p.settled)
	p.prefix, p.count, p.known, p.refused, p.failed, p.reason = 0, 0, 0, nil, n, nil
}

func (p *publisher) publish(out *nats.Msg, m *bridge.Message, i int) (refused, err error) {
	subject, err := p.sink.subject.of(m)
	if err != nil {
		return err, nil
	}
	p.header.reset()
	if len(m.Header) > 0 {
		p.header.add(m.Header)
	}
	p.text = strconv.AppendUint(append(p.text[:0], p.inbox...), p.before+uint64(i), 10)
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
	out.Subject, out.Data, out.Header = subject, m.Payload, p.header.header
	out.Reply = text[:reply]
	return p.sink.conn.publish(out)
}

// await waits for confirmations. It fails if none comes for the timeout.
func (p *publisher) await(ctx context.Context, timer *time.Timer) error {
	select {
	case m := <-p.confirm:
		p.take(m)
		return nil
	default:
	}
	timer.Reset(p.sink.timeout)
	select {
	case m := <-p.confirm:
		p.take(m)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.sink.conn.gone:
		return p.sink.conn.err()
	case <-timer.C:
		return fmt.Errorf("no confirmation from JetStream for %s", p.sink.timeout)
	}
}

func (p *publisher) take(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	offset := number - p.before
	if err != nil || offset >= uint64(len(p.settled)) || p.settled[offset] {
		return // of an earlier batch, or a second one, as when a stream beyond a leaf node takes the subject too
	}
	i := int(offset)
	known, refused, err := confirmation(m)
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
