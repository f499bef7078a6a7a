package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const (
	pullExpires   = 30 * time.Second // of a request for messages
	pullHeartbeat = 5 * time.Second  // of the server while a request waits
	closeTimeout  = 5 * time.Second
	answerTimeout = 250 * time.Millisecond // to a request that is made at the end
	nakDelay      = time.Second
)

var _ bridge.Source = (*pull)(nil)

// pull reads a stream through a pull consumer. It asks for messages itself: the client
// library's iterators cost a timer and several locks for each message.
type pull struct {
	conn     *conn
	env      bridge.Env
	stream   string
	consumer string
	prefix   string // of the ids of messages
	window   int    // most messages that are asked for and not read
	request  pullRequest
	sub      *nats.Subscription
	messages chan *nats.Msg // and what the server has to say about requests
	held     *held
	closing  chan struct{}
	close    func() error

	// Of Read alone.
	asked  int // messages asked for and not read yet
	taken  []*nats.Msg
	silent *time.Timer
}

type pullRequest struct{ subject, inbox, limits string }

func openPull(ctx context.Context, c *conn, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	js, err := c.jetStream()
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, s.Stream)
	if err != nil {
		return nil, fmt.Errorf("stream %q: %w", s.Stream, explain(err))
	}
	consumer, err := ensureConsumer(ctx, stream, s, env)
	if err != nil {
		return nil, fmt.Errorf("consumer %q of stream %q: %w", s.durable(env), s.Stream, err)
	}
	p := &pull{
		conn:     c,
		env:      env,
		stream:   s.Stream,
		consumer: s.durable(env),
		prefix:   s.Stream + ":",
		window:   2 * env.MaxBatch,
		silent:   time.NewTimer(time.Hour),
		closing:  make(chan struct{}),
	}
	if consumer.MaxAckPending > 0 {
		p.window = min(p.window, consumer.MaxAckPending)
	}
	p.request = pullRequest{
		subject: "$JS.API.CONSUMER.MSG.NEXT." + p.stream + "." + p.consumer,
		inbox:   c.NewInbox(),
		limits: fmt.Sprintf(`"expires":%d,"idle_heartbeat":%d,"max_bytes":%d}`,
			pullExpires, pullHeartbeat, max(16<<20, 2*c.MaxPayload())),
	}
	// Besides messages there are a few words about each request.
	p.messages = make(chan *nats.Msg, p.window+1024)
	if p.sub, err = c.ChanSubscribe(p.request.inbox, p.messages); err != nil {
		return nil, fmt.Errorf("subscribe to consumer %q: %w", p.consumer, err)
	}
	p.held = holdMessages(c, p.messages, consumer.AckWait)
	p.close = sync.OnceValue(p.stop)
	return p, nil
}

func (p *pull) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err // even if there are messages, which may never end
	}
	for {
		if err := p.ask(); err != nil {
			return nil, nil, err
		}
		if err := p.take(ctx); err != nil {
			return nil, nil, err
		}
		batch, replies, err := p.convert()
		if len(batch) > 0 {
			return batch, p.held.batch(replies), err
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// ask asks for messages when half of those asked for have been read.
func (p *pull) ask() error {
	if p.asked > p.window/2 {
		return nil
	}
	n := p.window - p.asked
	request := fmt.Appendf(nil, `{"batch":%d,%s`, n, p.request.limits)
	if err := p.conn.PublishRequest(p.request.subject, p.request.inbox, request); err != nil {
		return p.conn.err()
	}
	p.asked += n
	return nil
}

// take takes what has come, waiting while that is nothing.
func (p *pull) take(ctx context.Context) error {
	p.taken = p.held.take(p.taken[:0], p.env.MaxBatch)
	if len(p.taken) > 0 {
		return nil
	}
	err := p.wait(ctx)
	limit := p.env.MaxBatch
	if err != nil {
		limit = 0
	}
	p.taken = p.held.resume(p.taken, limit)
	return err
}

// wait takes the next message.
func (p *pull) wait(ctx context.Context) error {
	p.silent.Reset(2 * pullHeartbeat)
	select {
	case m := <-p.messages:
		p.taken = append(p.taken, m)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.conn.gone:
		return p.conn.err()
	case <-p.closing:
		return nats.ErrConnectionClosed
	case <-p.silent.C:
		return fmt.Errorf("consumer %q of stream %q: no heartbeat for %s", p.consumer, p.stream, 2*pullHeartbeat)
	}
}

// convert makes a batch of the messages taken. ids share one string.
func (p *pull) convert() (bridge.Batch, []string, error) {
	batch := make(bridge.Batch, 0, len(p.taken))
	replies := make([]string, 0, len(p.taken))
	var failed error
	// Not the publisher's id in Nats-Msg-Id: that need not be unique for longer than the stream's
	// duplicate window, nor among streams, and a sink that trusts it would lose messages. Sequence
	// numbers begin anew when a stream is made anew, be it while we read, but the time, in
	// nanoseconds, is another then.
	var ids []byte
	ends := make([]int, 0, len(p.taken))
	for _, m := range p.taken {
		if m.Reply == "" {
			failed = errors.Join(failed, p.status(m))
			continue
		}
		p.asked--
		b := bridge.Message{Topic: m.Subject, Payload: m.Data}
		if len(m.Header) > 0 {
			b.Header = received(m.Header)
		}
		number, stamp := delivery(m.Reply)
		nanoseconds, _ := strconv.ParseInt(stamp, 10, 64)
		b.Time = time.Unix(0, nanoseconds)
		ids = append(append(append(append(ids, p.prefix...), number...), '.'), stamp...)
		ends = append(ends, len(ids))
		batch, replies = append(batch, b), append(replies, m.Reply)
	}
	all, start := string(ids), 0
	for i, end := range ends {
		batch[i].ID = all[start:end]
		start = end
	}
	return batch, replies, failed
}

// status handles what the server says about a request.
func (p *pull) status(m *nats.Msg) error {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	over := code == "408" || code == "409" && (strings.EqualFold(text, "Batch Completed") || strings.EqualFold(text, "Message Size Exceeds MaxBytes"))
	switch {
	case code == "100": // heartbeat
		return nil
	case over:
		// The request has ended; these it did not bring.
		n, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		p.asked = max(0, p.asked-n)
		return nil
	case code == "503":
		text = "it is gone, or JetStream is"
	}
	return fmt.Errorf("consumer %q of stream %q: %s %s", p.consumer, p.stream, code, text)
}

func (p *pull) Close() error { return p.close() }

// stop gives back what was not acknowledged, so that the next instance gets it
// at once, and waits until the server has all acknowledgements.
func (p *pull) stop() error {
	close(p.closing)
	p.held.stop()
	defer p.conn.close()
	if p.conn.IsClosed() {
		return nil
	}
	p.takeRedelivered()
	// After this flush everything that was on its way to us has come.
	if err := p.sub.Drain(); err != nil {
		return p.conn.err()
	}
	if err := p.conn.flush(context.Background(), closeTimeout); err != nil {
		return fmt.Errorf("finish acknowledging: %w", err)
	}
	// The server still has our requests. If it noticed only when it has the first message that we
	// give back that nobody waits any more, it would put that one behind the others.
	p.askOne(`{"batch":1,"expires":1000000}`)
	// It has noticed now. What it was about to send has gone back to the front.
	p.takeRedelivered()
	p.held.giveBack()
	if err := p.conn.flush(context.Background(), closeTimeout); err != nil {
		return fmt.Errorf("finish acknowledging: %w", err)
	}
	return nil
}

// takeRedelivered takes the messages that come again and have not come to us
// yet, since the server puts what we give back behind them. A message that never left the
// server counts as new when it comes again, but its number is lower than the newest.
func (p *pull) takeRedelivered() {
	newest := p.held.newest()
	for end := time.Now().Add(closeTimeout); time.Now().Before(end); {
		m := p.askOne(`{"batch":1,"no_wait":true}`)
		switch {
		case m == nil:
			return
		case m.Reply != "" && !again(m.Reply) && sequence(m.Reply) > newest:
			return
		case m.Reply == "" && m.Header.Get("Status") != "408": // which says that they are being sent
			return
		}
	}
}

// askOne makes a request and returns the answer, which is held; nil if there is none.
func (p *pull) askOne(request string) *nats.Msg {
	inbox := p.conn.NewInbox()
	sub, err := p.conn.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer func() { _ = sub.Unsubscribe() }()
	if p.conn.PublishRequest(p.request.subject, inbox, []byte(request)) != nil {
		return nil
	}
	m, err := sub.NextMsg(answerTimeout)
	if err != nil {
		return nil
	}
	p.held.add(m)
	return m
}
