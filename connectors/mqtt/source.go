package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// patience is how long a full buffer holds up the broker before messages of QoS 0 are dropped.
const patience = 5 * time.Second

type source struct {
	env     bridge.Env
	clean   bool
	session *session
	queue   *queue
	receipt receipts
	unacked unacked

	// The rest belongs to the goroutine that reads the socket.
	topics   interner
	retained map[string]string
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

func openSource(ctx context.Context, set *SourceSettings, env bridge.Env) (bridge.Source, error) {
	s := &source{
		env:      env,
		clean:    set.clean(),
		queue:    newQueue(int(set.Buffer)),
		retained: map[string]string{"mqtt_retained": "true"},
	}
	ses, err := connect(ctx, &set.ClientSettings, identity{clientID: set.clientID(env), clean: s.clean}, s)
	if err != nil {
		return nil, err
	}
	s.session = ses
	stop := context.AfterFunc(ctx, func() { _ = ses.conn.fail(ctx.Err()) })
	defer stop()
	if err := ses.subscribe(set.Topics, byte(set.QoS), set.ConnectTimeout); err != nil {
		_ = s.Close()
		return nil, err
	}
	if !s.clean && !ses.resumed {
		env.Logger.InfoContext(ctx, "a new session: either the first, or the broker has lost the last one and what it kept for us",
			"client_id", set.clientID(env))
	}
	return s, nil
}

// Read returns what has arrived.
func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err // even if there are messages, which may never end
	}
	for {
		batch, refs, err := s.queue.take(s.env.MaxBatch)
		if len(batch) > 0 {
			return batch, s.ackOf(refs), s.refusals(refs)
		}
		if err != nil {
			return nil, nil, err
		}
		select {
		case <-s.queue.ready:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// Close disconnects. What the broker could deliver again, it will.
func (s *source) Close() error {
	if n := s.queue.end(net.ErrClosed, false); n > 0 {
		s.env.Dropped(n)
	}
	s.session.close()
	return nil
}

func (s *source) ackOf(refs []ref) bridge.Ack {
	return func(_ context.Context, refused error) error {
		packets := s.acknowledgements(refs)
		switch {
		case len(packets) == 0:
			return nil // nothing but QoS 0
		case refused != nil && !s.clean:
			// MQTT cannot refuse a message: only a new connection to the session
			// brings it again. The reason is not wrapped, since it says nothing about this source.
			_ = s.session.conn.fail(errors.New("connect anew for the broker to deliver again: " + refused.Error()))
			return nil
		}
		for i := range refs {
			switch refs[i].qos {
			case 1:
				s.unacked.remove(refs[i].id)
			case 2:
				s.receipt.confirm(refs[i].id)
			}
		}
		if err := s.session.conn.send(packets); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		if refused != nil {
			return errors.New("refuse: the session is clean, so the broker cannot deliver again")
		}
		return nil
	}
}

func (s *source) acknowledgements(refs []ref) []byte {
	var b []byte
	for _, r := range refs {
		if r.qos == 0 {
			continue
		}
		if b == nil {
			b = make([]byte, 0, 4*len(refs))
		}
		kind := byte(puback)
		if r.qos == 2 {
			kind = pubrec
		}
		b = appendAck(b, kind, r.id)
	}
	return b
}

// frame takes what the broker sends to a subscriber.
func (s *source) frame(f frame) error {
	switch f.kind() {
	case publish:
		return s.publish(f)
	case pubrel:
		id, err := parseAck(f)
		if err != nil {
			return err
		}
		s.receipt.release(id)
		s.replies = appendAck(s.replies, pubcomp, id)
		return nil
	}
	return errUnexpected(f)
}

func (s *source) publish(f frame) error {
	topic, payload, id, err := parsePublish(f)
	if err != nil {
		return err
	}
	switch f.qos() {
	case 1:
		if known := s.unacked.add(id); known && f.dup() {
			return nil
		}
	case 2:
		known, confirmed := s.receipt.add(id)
		if confirmed {
			s.replies = appendAck(s.replies, pubrec, id)
		}
		if known {
			return nil
		}
	}
	if len(s.arrived.msgs) == 0 {
		s.now = time.Now()
	}
	m := bridge.Message{Topic: s.topics.text(topic), Payload: payload, Time: s.now}
	if f.retained() {
		m.Header = s.retained
	}
	to := ref{id: id, qos: f.qos()}
	if f.cut {
		to.cut = int32(f.size)
	}
	s.arrived.add(m, to)
	return nil
}

// flush moves what has arrived into the queue. While that is full it does not
// return, which holds up the broker; only messages of QoS 0 do not wait long.
func (s *source) flush(c *conn) bool {
	if len(s.replies) > 0 {
		_ = c.send(s.replies) // an error ends the connection by itself
		s.replies = s.replies[:0]
	}
	for len(s.arrived.msgs) > 0 {
		n := len(s.arrived.msgs)
		if s.queue.offer(s.arrived) {
			s.arrived = run{msgs: make(bridge.Batch, 0, n), refs: make([]ref, 0, n)}
			s.full, s.dropping = time.Time{}, false
			return true
		}
		if s.hold(c.ping) {
			return false
		}
	}
	return true
}

// hold waits until there may be room, and returns true if a ping came first.
func (s *source) hold(ping <-chan struct{}) (pinged bool) {
	if s.full.IsZero() {
		s.full = time.Now()
	}
	var late <-chan time.Time
	if left := time.Until(s.full.Add(patience)); left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		late = t.C
	} else if s.drop(); len(s.arrived.msgs) == 0 {
		return false
	}
	select {
	case <-s.queue.ended:
		s.drop()
		s.arrived = run{} // the broker delivers the rest again
	case <-s.queue.room:
	case <-late:
	case <-ping:
		return true
	}
	return false
}

// drop gives up what has arrived with QoS 0.
func (s *source) drop() {
	n := s.arrived.only(false)
	if n == 0 {
		return
	}
	s.env.Dropped(n)
	if !s.dropping {
		s.dropping = true
		s.env.Logger.Warn("dropping messages of QoS 0: the pipeline is too slow and the buffer full", "n", n)
	}
}

// lost keeps what cannot come again, and lets go of the rest.
func (s *source) lost(err error) { _ = s.queue.end(err, true) }
