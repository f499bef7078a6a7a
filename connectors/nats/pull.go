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
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const (
	pullExpires   = 20 * time.Second // of a request for messages
	pullHeartbeat = 5 * time.Second  // of the server while a request waits
	answerTimeout = 5 * time.Second  // of a server that is asked something at the start
	closeTimeout  = 2 * time.Second  // how long closing waits for a server that sends nothing
	closeLimit    = 5 * time.Second  // and for one that sends
	nakDelay      = time.Second
)

var _ bridge.Source = (*pull)(nil)

// pull reads a stream through a pull consumer. It asks for messages itself: the client
// library's iterators cost a timer and several locks for each message.
type pull struct {
	conn     *conn
	env      bridge.Env
	consumer jetstream.Consumer
	name     string // of consumer and stream, for errors
	prefix   string // of the ids of messages
	bucket   bool   // and no other stream
	request  pullRequest
	sub      *nats.Subscription
	messages chan *nats.Msg // and what the server has to say about requests
	held     *held
	once     bool // the consumer goes with it
	closing  chan struct{}
	close    func() error

	// Of Read alone.
	asked  int // messages asked for and not read yet
	bytes  int // that the request may still bring, if there is one at a time
	taken  []*nats.Msg
	silent *time.Timer

	// Of the goroutine that saves.
	position position
	kept     bool // saved as it is
	warned   bool
}

func openPull(ctx context.Context, c *conn, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	stream, err := c.js.Stream(ctx, s.stream())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.named(), c.explain(err))
	}
	name := fmt.Sprintf("consumer %q of %s", s.durable(env), s.named())
	last, err := lastPosition(ctx, s, env)
	if err != nil {
		return nil, err
	}
	consumer, err := ensureConsumer(ctx, c, stream, last, s, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := rewind(ctx, consumer, last, s, env); err != nil {
		return nil, fmt.Errorf("%s: %w", name, c.explain(err))
	}
	info := consumer.CachedInfo()
	p := &pull{
		conn:     c,
		env:      env,
		consumer: consumer,
		name:     name,
		prefix:   s.stream() + ":",
		bucket:   s.KV != "",
		once:     s.once,
		silent:   time.NewTimer(time.Hour),
		closing:  make(chan struct{}),
		request:  newPullRequest(c, info, env.MaxBatch),
		position: position{Durable: info.Name, Stream: s.stream(), Made: stream.CachedInfo().Created},
	}
	// Besides messages there are a few words about each request.
	p.messages = make(chan *nats.Msg, p.request.window+1024)
	if p.sub, err = c.ChanSubscribe(p.request.inbox, p.messages); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", name, err)
	}
	p.held = newHeld(c, p.messages, info, p.keep)
	p.held.floor.shared = last != nil && last.Shared // they may be slow, and show only later
	var running context.Context
	running, p.held.quit = context.WithCancel(context.Background())
	go p.held.run(running)
	p.close = sync.OnceValue(p.stop)
	return p, nil
}

// pullRequest is how messages are asked for, within what the consumer allows.
type pullRequest struct {
	subject, inbox, limits string
	window                 int // most messages that are asked for and not read
	again                  int // when so few are left, more are asked for
	batch                  int // most messages in one request
	bytes                  int // most bytes in one request
}

func newPullRequest(c *conn, info *jetstream.ConsumerInfo, maxBatch int) pullRequest {
	limit := func(n, limit int) int {
		if limit > 0 {
			return min(n, limit)
		}
		return n
	}
	allows := info.Config
	r := pullRequest{
		subject: c.api + "CONSUMER.MSG.NEXT." + info.Stream + "." + info.Name,
		inbox:   c.NewInbox(),
		window:  limit(2*maxBatch, allows.MaxAckPending),
		// A prime number: the server ends a request without a word whose bytes are used up to the
		// last one, as by messages of equal size.
		bytes: limit(max(16<<20, 2*int(c.MaxPayload()))-3, allows.MaxRequestMaxBytes),
	}
	r.batch = limit(r.window, allows.MaxRequestBatch)
	// Requests wait at the server, where others may have some, too. One too many it drops without a
	// word, as it has a heartbeat.
	requests := 16
	if allows.MaxWaiting > 0 {
		requests = max(1, min(requests, allows.MaxWaiting/2))
	}
	if allows.MaxRequestMaxBytes > 0 {
		requests = 1 // so that we know what is left of it
	}
	r.window = min(r.window, r.batch*requests)
	if r.again = r.window / 2; requests == 1 {
		r.again = 0
	}
	expires := requestExpires(info)
	r.limits = fmt.Sprintf(`"expires":%d,"idle_heartbeat":%d,"max_bytes":%d}`, expires,
		min(pullHeartbeat, expires/2), r.bytes)
	return r
}

// requestExpires returns how long a request waits at the server.
func requestExpires(info *jetstream.ConsumerInfo) time.Duration {
	if most := info.Config.MaxRequestExpires; most > 0 {
		return min(pullExpires, most)
	}
	return pullExpires
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
	if p.asked > p.request.again {
		return nil
	}
	for p.asked < p.request.window {
		n := min(p.request.window-p.asked, p.request.batch)
		request := fmt.Appendf(nil, `{"batch":%d,%s`, n, p.request.limits)
		if err := p.conn.PublishRequest(p.request.subject, p.request.inbox, request); err != nil {
			return p.conn.Err()
		}
		p.asked, p.bytes = p.asked+n, p.request.bytes
	}
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

// wait takes the next message. A heartbeat may be behind one that takes long to come.
func (p *pull) wait(ctx context.Context) error {
	var mark int64
	p.conn.Underway(&mark)
	for {
		p.silent.Reset(2 * pullHeartbeat)
		select {
		case m := <-p.messages:
			p.taken = append(p.taken, m)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-p.conn.Gone:
			return p.conn.Err()
		case <-p.closing:
			return nats.ErrConnectionClosed
		case <-p.silent.C:
			if !p.conn.Underway(&mark) {
				return fmt.Errorf("%s: no heartbeat for %s", p.name, 2*pullHeartbeat)
			}
		}
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
		if p.bytes -= m.Size(); p.bytes == 0 && p.request.again == 0 {
			p.asked = 0 // the server says nothing of that
		}
		b := bridge.Message{Topic: m.Subject, Payload: m.Data}
		if len(m.Header) > 0 {
			b.Header = received(m.Header)
		}
		number, stamp, _ := delivery(m.Reply)
		if p.bucket {
			ofBucket(&b, m.Header, number)
		}
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
	if left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Bytes")); err == nil && left >= p.request.bytes &&
		strings.Contains(text, "Exceeds MaxBytes") {
		return fmt.Errorf("%s: the next message is larger than its max_bytes of %v: raise that", p.name,
			bridge.Size(p.request.bytes))
	}
	over := code == "408" ||
		code == "409" && (strings.EqualFold(text, "Batch Completed") ||
			strings.EqualFold(text, "Message Size Exceeds MaxBytes"))
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
	return fmt.Errorf("%s: %s %s", p.name, code, text)
}

func (p *pull) Close() error { return p.close() }

// stop gives back what was not acknowledged, so that the next instance gets it
// at once, and waits until the server has all acknowledgements.
func (p *pull) stop() error {
	close(p.closing)
	p.held.stop()
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	defer p.conn.End()
	if p.once {
		// If that fails, the server does so later: see forgotten. Another instance makes it anew.
		defer func() { _ = p.conn.js.DeleteConsumer(ctx, p.position.Stream, p.position.Durable) }()
	}
	defer p.keep(ctx)
	if p.conn.IsClosed() {
		return nil
	}
	if err := p.finish(ctx); err != nil {
		p.conn.End() // it is of no use to ask for more
		return fmt.Errorf("finish acknowledging: %w", err)
	}
	return nil
}

// finish sees to it that the server has what was acknowledged, and has back what was not.
func (p *pull) finish(ctx context.Context) error {
	// After this flush everything that was on its way to us has come.
	if err := p.sub.Drain(); err != nil {
		return p.conn.Err()
	}
	if err := p.conn.Sync(ctx, closeTimeout, p.conn.Outgoing()); err != nil {
		return err
	}
	return p.held.giveBack(ctx)
}
