package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

var _ bridge.Identifying = (*streamSink)(nil)

// streamSink publishes to JetStream. It follows confirmations itself: each has the
// number of its message in its subject. The client library's asynchronous publishing makes a random name, a map entry, a future
// and two channels of each message, and its futures never end when the connection does.
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

// NeedsID returns true, so that the stream can tell what comes again.
func (s *streamSink) NeedsID() bool { return true }

func (s *streamSink) Close() error {
	s.close()
	return nil
}

func (s *streamSink) Write(ctx context.Context, batch bridge.Batch) (int, error) {
	if err := ctx.Err(); err != nil || len(batch) == 0 {
		return 0, err
	}
	defer context.AfterFunc(ctx, s.conn.cut)() // a peer that does not read blocks us in the socket
	p, err := s.take()
	if err != nil {
		return 0, err
	}
	n, err := p.write(ctx, batch)
	if err != nil {
		// Confirmations of this batch may come yet.
		return n, errors.Join(err, p.replies.Unsubscribe())
	}
	s.mu.Lock()
	s.idle = append(s.idle, p)
	s.mu.Unlock()
	return n, nil
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

	batch     bridge.Batch // being written; what follows is about it
	confirmed []bool
	prefix    int // confirmed messages at the front
	count     int // confirmed messages
	known     int // of these the stream had already
	failed    int // first message that was refused, or len(batch)
	reason    error
}

func newPublisher(s *streamSink) (*publisher, error) {
	p := &publisher{sink: s, confirm: make(chan *nats.Msg, 2*publishWindow), inbox: s.conn.NewInbox() + "."}
	var err error
	if p.replies, err = s.conn.ChanSubscribe(p.inbox+"*", p.confirm); err != nil {
		return nil, s.conn.err()
	}
	return p, nil
}

func (p *publisher) write(ctx context.Context, batch bridge.Batch) (int, error) {
	p.begin(batch)
	defer func() {
		p.batch = nil
		p.before += uint64(len(batch))
	}()
	timer := time.NewTimer(p.sink.timeout)
	defer timer.Stop()
	var out nats.Msg
	for i := range batch {
		for i-p.count >= publishWindow && p.failed > i {
			if err := p.await(ctx, timer); err != nil {
				return p.prefix, err
			}
		}
		if p.failed <= i {
			break
		}
		if err := p.publish(&out, &batch[i], i); err != nil {
			p.fail(i, err)
		}
	}
	for p.prefix < p.failed {
		if err := p.await(ctx, timer); err != nil {
			return p.prefix, err
		}
	}
	if p.known > 0 {
		p.sink.known(p.known)
	}
	return p.prefix, p.reason
}

func (p *publisher) begin(batch bridge.Batch) {
	p.batch = batch
	n := len(batch)
	if cap(p.confirmed) < n {
		p.confirmed = make([]bool, n)
	}
	p.confirmed = p.confirmed[:n]
	clear(p.confirmed)
	p.prefix, p.count, p.known, p.failed, p.reason = 0, 0, 0, n, nil
}

func (p *publisher) publish(out *nats.Msg, m *bridge.Message, i int) error {
	subject, err := p.sink.subject.of(m)
	if err != nil {
		return err
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
		p.settle(m)
		return nil
	default:
	}
	timer.Reset(p.sink.timeout)
	select {
	case m := <-p.confirm:
		p.settle(m)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.sink.conn.gone:
		return p.sink.conn.err()
	case <-timer.C:
		return fmt.Errorf("no confirmation from JetStream for %s", p.sink.timeout)
	}
}

func (p *publisher) settle(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	offset := number - p.before
	if err != nil || offset >= uint64(len(p.confirmed)) || p.confirmed[offset] {
		return // of an earlier batch, or a second one, as when a stream beyond a leaf node takes the subject too
	}
	i := int(offset)
	known, err := confirmation(m)
	if err != nil {
		subject, _ := p.sink.subject.of(&p.batch[i])
		p.fail(i, fmt.Errorf("publish to %q: %w", subject, err))
		return
	}
	if known {
		p.known++
	}
	p.confirmed[i] = true
	p.count++
	for p.prefix < len(p.confirmed) && p.confirmed[p.prefix] {
		p.prefix++
	}
}

// fail notes that message i was refused. The first one counts, since nothing
// behind it is delivered.
func (p *publisher) fail(i int, err error) {
	if i < p.failed {
		p.failed, p.reason = i, err
	}
}

// Codes of the server.
const (
	tooLarge    = 10054 // a message larger than the stream's max_msg_size
	otherStream = 10060 // the subject belongs to a stream that is not the expected one
)

// confirmation reads what JetStream says to a message. known means that it had
// one of that id already.
func confirmation(m *nats.Msg) (known bool, err error) {
	// This is how the server begins when all is well, and JSON is slow.
	if bytes.HasPrefix(m.Data, []byte(`{"stream":"`)) && !bytes.Contains(m.Data, []byte(`"error"`)) && !bytes.Contains(m.Data, []byte(`"duplicate"`)) {
		return false, nil
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return false, errors.New("no stream takes that subject: create one, or declare it under streams")
	}
	var answer struct {
		Error     *jetstream.APIError `json:"error"`
		Stream    string              `json:"stream"`
		Duplicate bool                `json:"duplicate"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil || answer.Error == nil && answer.Stream == "":
		return false, fmt.Errorf("no confirmation but %.100q", m.Data)
	case answer.Error == nil:
		return answer.Duplicate, nil
	case answer.Error.ErrorCode == tooLarge:
		return false, bridge.Permanent(answer.Error)
	case answer.Error.ErrorCode == otherStream:
		return false, errors.New("not the stream that the setting stream names takes that subject, but another: correct one of the two")
	}
	return false, answer.Error
}
