package mqtt

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// chunk is about how many bytes are encoded before they are written.
const chunk = 64 << 10

// ack is an acknowledgement as it arrived.
type ack struct {
	kind byte
	id   uint16
}

type sink struct {
	session    *session
	window     *window
	topic      bridge.Template
	qos        byte
	retain     bool
	limit      int
	ackTimeout time.Duration

	turn chan struct{} // held by the Write that is sending
	buf  []byte        // of the holder of turn
	last string        // of the holder of turn: a topic known to be valid

	// The rest belongs to the goroutine that reads the socket.
	acks    []ack
	replies []byte
}

var (
	_ bridge.Sink = (*sink)(nil)
	_ peer        = (*sink)(nil)
)

func openSink(ctx context.Context, set *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	s := &sink{
		window:     newWindow(set.MaxInflight, byte(set.QoS)),
		topic:      set.Topic,
		qos:        byte(set.QoS),
		retain:     set.Retain,
		limit:      int(set.MaxPacket),
		ackTimeout: set.AckTimeout,
		turn:       make(chan struct{}, 1),
	}
	who := identity{clientID: set.clientID(env), unique: set.ClientID == "", clean: true}
	if who.unique {
		who.clientID += "-" + strings.ToLower(rand.Text()[:8])
	}
	ses, err := connect(ctx, &set.ClientSettings, who, s)
	if err != nil {
		return nil, err
	}
	s.session = ses
	return s, nil
}

// Write publishes the batch. With QoS 1 and 2 it waits for the broker to confirm.
func (s *sink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := ctx.Err(); err != nil {
		return bridge.Result{}, err
	}
	conn := s.session.conn
	defer context.AfterFunc(ctx, func() { _ = conn.fail(ctx.Err()) })()
	select {
	case s.turn <- struct{}{}:
	case <-conn.dead:
		return bridge.Result{}, fmt.Errorf("publish: %w", conn.cause)
	}
	if s.qos == 0 {
		defer s.endTurn()
		return s.stream(batch)
	}
	return s.confirm(batch)
}

// Close disconnects.
func (s *sink) Close() error {
	s.session.close()
	return nil
}

func (s *sink) endTurn() { <-s.turn }

// stream sends the batch and trusts.
func (s *sink) stream(batch bridge.Batch) (bridge.Result, error) {
	w := writing{batch: batch}
	for w.next < len(batch) {
		before := w.sent
		s.encode(&w, len(batch), 0)
		if err := s.session.conn.send(s.buf); err != nil {
			return w.refused.Result(before), fmt.Errorf("publish: %w", err)
		}
	}
	return w.refused.Result(w.sent), nil
}

// confirm sends the batch and waits for the acknowledgements, which it does
// without the turn, so that the next batch can leave meanwhile.
func (s *sink) confirm(batch bridge.Batch) (bridge.Result, error) {
	first, _ := s.window.room()
	w := writing{batch: batch}
	err := s.sendAll(&w)
	s.endTurn()
	if err == nil {
		err = s.await(first + uint64(w.sent))
	}
	if err == nil {
		return w.refused.Result(w.sent), nil
	}
	n := s.window.confirmed(first, w.sent)
	if unconfirmed := w.sent - n; unconfirmed > 0 {
		err = fmt.Errorf("%w, with %d messages sent and not confirmed", err, unconfirmed)
	}
	return w.refused.Result(n), fmt.Errorf("publish: %w", err)
}

// writing is how far a batch has come.
type writing struct {
	batch   bridge.Batch
	next    int // message to encode
	sent    int // messages, or about to be
	refused bridge.Refusals
}

// sendAll sends the batch as the window allows.
func (s *sink) sendAll(w *writing) error {
	for w.next < len(w.batch) {
		number, room := s.window.room()
		if room == 0 {
			// Half a window at a time, rather than a message for each acknowledgement.
			size := uint64(s.window.size())
			if err := s.await(number - size/2); err != nil {
				return err
			}
			continue
		}
		before := w.sent
		s.encode(w, room, number)
		s.window.add(w.sent - before)
		if err := s.session.conn.send(s.buf); err != nil {
			return err
		}
	}
	return nil
}

// encode fills buf with packets of the next messages, most of them at most, which it numbers from
// seq. It passes over those that cannot be published.
func (s *sink) encode(w *writing, most int, seq uint64) {
	if cap(s.buf) > 8*chunk {
		s.buf = nil // it was for a message that was far bigger than usual
	}
	s.buf = s.buf[:0]
	for ; w.next < len(w.batch) && most > 0 && len(s.buf) < chunk; w.next++ {
		m := &w.batch[w.next]
		topic, err := s.topicOf(m)
		if err != nil {
			w.refused = append(w.refused, bridge.Refusal{Index: w.next, Err: err})
			continue
		}
		s.buf = appendPublish(s.buf, topic, m.Payload, s.qos, s.retain, packetID(seq))
		w.sent++
		seq++
		most--
	}
}

func (s *sink) topicOf(m *bridge.Message) (string, error) {
	topic, err := s.topic.Render(m)
	if err != nil {
		return "", fmt.Errorf("render topic: %w", err)
	}
	if topic != s.last || topic == "" {
		if err := checkTopic(topic); err != nil {
			return "", fmt.Errorf("publish to %.100q: %w", topic, err)
		}
		s.last = topic
	}
	if size := publishSize(topic, m.Payload, s.qos); size > s.limit {
		return "", fmt.Errorf("publish to %.100q: packet of %d bytes, max_packet is %d", topic, size, s.limit)
	}
	return topic, nil
}

// await returns when all messages before number target are acknowledged.
func (s *sink) await(target uint64) error {
	reached, before := s.window.wait(target)
	if reached == nil {
		return nil
	}
	late := time.NewTimer(s.ackTimeout)
	defer late.Stop()
	for {
		select {
		case <-reached:
			return nil
		case <-s.session.conn.dead:
			return s.session.conn.cause
		case <-late.C:
			now := s.window.acknowledged()
			if now == before {
				return s.session.conn.fail(fmt.Errorf("no acknowledgement within %v", s.ackTimeout))
			}
			before = now
			late.Reset(s.ackTimeout)
		}
	}
}

// frame takes what the broker sends to a publisher.
func (s *sink) frame(f frame) error {
	switch f.kind() {
	case puback, pubrec, pubcomp:
		id, err := parseAck(f)
		s.acks = append(s.acks, ack{f.kind(), id})
		return err
	}
	return errUnexpected(f)
}

func (s *sink) flush(c *conn) bool {
	replies, err := s.window.settle(s.acks, s.replies[:0])
	s.acks, s.replies = s.acks[:0], replies
	switch {
	case err != nil:
		_ = c.fail(err)
	case len(replies) > 0:
		_ = c.send(replies) // an error ends the connection by itself
	}
	return true
}

func (s *sink) lost(error) {}
