package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// patience is how long a full buffer holds up the broker before messages of QoS 0 are dropped.
const patience = 5 * time.Second

type source struct {
	env      bridge.Env
	set      *SourceSettings
	filters  []string
	clean    bool
	conn     *conn
	before   record    // what is known of the session from before
	told     sync.Once // that it has subscriptions that topics does not name
	queue    *queue
	receipts receipts
	stalled  chan struct{} // closed when the queue was full once
	stallOne sync.Once
	closing  sync.Once
	owed     atomic.Int32 // batches that are not acknowledged

	// What follows belongs to the goroutine that reads messages.
	answer <-chan struct{} // closed when the broker has answered to a change of the subscriptions; nil: there is none
	ending []string        // subscriptions that are still to be ended
	began  time.Time
	trip   time.Duration // that the broker took to grant the subscriptions

	// The rest belongs to the goroutine that reads the socket.
	topics   interner
	headers  reader
	arrived  run
	replies  []byte
	now      time.Time
	full     time.Time // since when the queue is, if it is
	dropping bool
}

var (
	_ bridge.Source = (*source)(nil)
	_ peer          = (*source)(nil)
)

func (l *links) openSource(ctx context.Context, set *SourceSettings, env bridge.Env) (bridge.Source, error) {
	s := &source{
		env: env, set: set, clean: set.clean(),
		queue:   newQueue(int(set.Buffer), set.clean(), set.Bridge != ""),
		stalled: make(chan struct{}),
	}
	s.filters, _ = uncovered(set.Topics)
	if !s.clean {
		s.topics.named = names(s.filters)
	}
	s.recall(ctx)
	var err error
	if set.Bridge != "" {
		s.conn, err = l.join(ctx, &set.ClientSettings, s, nil)
		if need := set.five(); err == nil && need != "" && !s.conn.who.five {
			_ = s.Close()
			err = bridge.Permanent(fmt.Errorf("%s needs MQTT 5, which the broker does not speak: leave it out", need))
		}
	} else {
		who := identity{
			clientID: set.clientID(env), clean: s.clean, spoken: &l.spoken, needs: set.five(), receive: set.MaxInflight,
		}
		if !s.clean {
			who.expiry = set.SessionExpiry
		}
		s.conn, err = connect(ctx, &set.ClientSettings, who, s)
	}
	if err != nil {
		return nil, err
	}
	if set.Bridge != "" && !s.conn.who.bridge {
		env.Logger.WarnContext(ctx,
			"the broker knows no bridges: what the sink publishes comes back, unless topics keep it apart")
	}
	if got := s.conn.server.expiry; s.conn.who.five && got < s.conn.who.expiry {
		env.Logger.WarnContext(ctx, "the broker keeps the session for less than session_expiry when the bridge is away",
			"session_expiry", s.conn.who.expiry, "keeps", got)
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.fail(ctx.Err()) })()
	if err := s.resume(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Read returns what has arrived.
func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err // even if there are messages, which may never end
	}
	for {
		s.settle(ctx)
		batch, refs, err := s.queue.take(s.env.MaxBatch)
		if len(batch) > 0 {
			s.owed.Add(1)
			return batch, s.ackOf(refs), s.refusals(refs)
		}
		if err != nil {
			return nil, nil, err
		}
		calm := s.owed.Load() == 0 // else the broker may wait for us
		select {
		case <-s.queue.ready:
		case <-s.answer:
		case <-s.pause():
			if calm {
				s.end(s.ending)
			}
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// Close disconnects. What the broker could deliver again, it will.
func (s *source) Close() error {
	s.closing.Do(func() {
		s.lose(s.queue.end(net.ErrClosed, true))
		s.conn.close(s.conn.notice(s.set.Will.notice()))
	})
	return nil
}

func (s *source) ackOf(refs []ref) bridge.Ack {
	return func(_ context.Context, refused error) error {
		defer s.owed.Add(-1)
		refs, rest := refs, []ref(nil)
		if refused != nil && s.set.guarantee().Level == bridge.LevelAtLeastOnce {
			n := bridge.Settled(len(refs), refused)
			refs, rest = refs[:n], refs[n:]
		}
		packets := s.acknowledgements(refs)
		s.receipts.confirm(refs...)
		if err := s.conn.send(packets); err != nil && !s.clean {
			return fmt.Errorf("acknowledge: %w", err)
		}
		switch {
		case rest != nil:
			s.giveBack(rest, refused)
		case refused != nil && len(packets) > 0:
			return errors.New("refuse: the session is clean, so the broker cannot deliver again")
		}
		return nil
	}
}

// giveBack has the broker deliver messages again. MQTT cannot refuse one: only a new connection to
// the session brings it again. What was acknowledged before, of other batches too, must not be lost
// by that.
func (s *source) giveBack(refs []ref, why error) {
	again := len(s.acknowledgements(refs)) / ackSize
	s.lose(len(refs) - again) // those of QoS 0
	if again > 0 {
		// The reason is not wrapped, since it says nothing about this source.
		s.conn.part(s.conn.notice(s.set.Will.notice()),
			errors.New("connect anew for the broker to deliver again: "+why.Error()))
	}
}

func (s *source) acknowledgements(refs []ref) []byte {
	var b []byte
	for _, r := range refs {
		if r.qos == 0 {
			continue
		}
		if b == nil {
			b = make([]byte, 0, ackSize*len(refs))
		}
		b = appendAck(b, r.ack(), r.id)
	}
	return b
}

// frame takes what the broker sends to a subscriber.
func (s *source) frame(f frame) error {
	switch f.kind() {
	case publish:
		return s.publish(f)
	case pubrel:
		id, _, err := parseAck(f)
		if err != nil {
			return err
		}
		s.receipts.confirm(ref{id: id})
		s.replies = appendAck(s.replies, pubcomp, id)
		return nil
	}
	return unexpectedError(f.head)
}

func (s *source) publish(f frame) error {
	p, err := parsePublish(f)
	if err != nil {
		return err
	}
	to := ref{id: p.id, qos: f.qos()}
	if to.qos > 0 {
		switch before := s.receipts.add(p.id); {
		case before == received:
			s.replies = appendAck(s.replies, pubrec, p.id)
			return nil
		case before == arrived && (f.dup() || to.qos == 2):
			return nil
		}
	}
	t := s.topics.topic(p.topic)
	if t.unnamed {
		s.drop(t.text, to)
		return nil
	}
	if len(s.arrived.msgs) == 0 {
		s.now = time.Now()
	}
	m := bridge.Message{Topic: t.text, Payload: p.payload, Time: s.now}
	if m.Header, err = s.headers.headers(p.properties, f.retained()); err != nil {
		return err
	}
	if f.cut {
		to.cut = int32(f.size)
	}
	s.arrived.add(m, to)
	return nil
}

// drop acknowledges a message that no filter names: the session has subscriptions from before,
// perhaps of others that had the client id.
func (s *source) drop(topic string, to ref) {
	s.foreign(topic)
	s.lose(1)
	if to.qos > 0 {
		s.receipts.confirm(to)
		s.replies = appendAck(s.replies, to.ack(), to.id)
	}
}

// flush moves what has arrived into the queue. While that is full it does not
// return, which holds up the broker; only messages of QoS 0 do not wait long.
func (s *source) flush(c *conn) {
	_ = c.send(s.replies) // an error ends the connection by itself
	s.replies = s.replies[:0]
	for n := len(s.arrived.msgs); len(s.arrived.msgs) > 0; {
		if taken, lost := s.queue.offer(s.arrived); taken {
			s.lose(lost)
			s.arrived = run{msgs: make(bridge.Batch, 0, n), refs: make([]ref, 0, n)}
			s.full, s.dropping = time.Time{}, false
			return
		}
		s.hold(c)
	}
}

// hold waits until there may be room.
func (s *source) hold(c *conn) {
	if s.full.IsZero() {
		s.full = time.Now()
		s.stallOne.Do(func() { close(s.stalled) })
	}
	c.held.Store(true)
	defer c.held.Store(false)
	var late <-chan time.Time
	if left := time.Until(s.full.Add(patience)); left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		late = t.C
	} else if n := s.arrived.only(false); n > 0 {
		s.lose(n)
		if !s.dropping {
			s.dropping = true
			s.env.Logger.Warn("dropping messages of QoS 0: the pipeline is too slow and the buffer full", "n", n)
		}
		if len(s.arrived.msgs) == 0 {
			return
		}
	}
	select {
	case <-s.queue.ended:
	case <-s.queue.room:
	case <-late:
	}
}

// lose counts messages that do not come again.
func (s *source) lose(n int) {
	if n > 0 {
		s.env.Dropped(n)
	}
}

func (s *source) waits() bool { return false }

// lost keeps what cannot come again, and lets go of the rest.
func (s *source) lost(err error) { s.queue.end(err, false) }

// refusals returns Refusals of the messages that were too large, nil if none was.
func (s *source) refusals(refs []ref) error {
	var refused bridge.Refusals
	for i := range refs {
		if refs[i].cut > 0 {
			refused = append(refused, bridge.Refusal{Index: i, Err: fmt.Errorf(
				"packet of %d bytes, max_packet is %d: the payload is the beginning only", refs[i].cut, s.conn.limit)})
		}
	}
	if refused == nil {
		return nil
	}
	return refused
}
