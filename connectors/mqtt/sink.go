package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
)

// chunk is about how many bytes are encoded before they are written.
const chunk = 64 << 10

// ack is an acknowledgement as it arrived.
type ack struct {
	kind byte
	id   uint16
}

type sink struct {
	set    *SinkSettings
	conn   *conn
	window *window
	qos    byte
	own    bool // the template says which of the reserved topics

	links    *links
	instance string

	closing sync.Once

	turn chan struct{} // held by the Write that is sending
	buf  []byte        // of the holder of turn
	last string        // of the holder of turn: a topic known to be valid

	taken, payload int // of the holder of turn: the largest packet and payload that the broker has taken for sure

	// The rest belongs to the goroutine that reads the socket.
	acks    []ack
	replies []byte
}

var (
	_ bridge.Sink = (*sink)(nil)
	_ peer        = (*sink)(nil)
)

func (l *links) openSink(ctx context.Context, set *SinkSettings, env bridge.Env) (bridge.Sink, error) {
	s := &sink{
		set:   set,
		links: l, instance: env.Instance, taken: surelyTaken, payload: surelyTaken,
		window: newWindow(set.MaxInflight, byte(set.QoS)),
		qos:    byte(set.QoS),
		turn:   make(chan struct{}, 1),
	}
	text, constant := set.Topic.Constant()
	s.own = constant || strings.Contains(text, "/")
	var err error
	if set.Bridge != "" {
		s.conn, err = l.join(ctx, &set.ClientSettings, nil, s)
	} else {
		who := identity{clientID: set.clientID(env), unique: set.ClientID == "", clean: true}
		if who.unique {
			who.clientID += "-" + strings.ToLower(rand.Text()[:8])
		}
		s.conn, err = connect(ctx, &set.ClientSettings, who, s)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Write publishes the batch. With QoS 1 and 2 it waits for the broker to confirm.
func (s *sink) Write(ctx context.Context, batch bridge.Batch) (bridge.Result, error) {
	if err := ctx.Err(); err != nil {
		return bridge.Result{}, err
	}
	defer context.AfterFunc(ctx, func() { _ = s.conn.fail(ctx.Err()) })()
	w := writing{batch: batch}
	first, err := s.sendAll(&w)
	if s.qos > 0 && err == nil { // without the turn, so that the next batch can leave meanwhile
		err = s.await(first+uint64(w.sent), w.bytes)
	}
	if err == nil {
		return w.refused.Result(w.sent), nil
	}
	settled := w.sent
	if s.qos > 0 {
		settled = s.window.confirmed(first, w.sent)
	}
	if unconfirmed := w.sent - settled; unconfirmed > 0 {
		err = fmt.Errorf("%w, with %d messages sent and not confirmed", err, unconfirmed)
	}
	return w.refused.Result(settled), fmt.Errorf("publish: %w", err)
}

// Close disconnects.
func (s *sink) Close() error {
	s.closing.Do(func() {
		if s.waits() { // a connection that is shared would not end
			_ = s.conn.fail(errLeft)
		}
		s.conn.close(s.set.Will.packet())
	})
	return nil
}

// writing is how far a batch has come.
type writing struct {
	batch   bridge.Batch
	next    int // message to encode
	sent    int // messages, or about to be
	bytes   int // of them
	refused bridge.Refusals
}

// sendAll sends the batch as the window allows, while no other Write is sending. It returns the
// number of its first message.
func (s *sink) sendAll(w *writing) (first uint64, err error) {
	select {
	case s.turn <- struct{}{}:
	case <-s.conn.dead:
		return 0, s.conn.cause
	}
	defer func() { <-s.turn }()
	first, _ = s.window.room()
	for err == nil && w.next < len(w.batch) {
		if number, room := s.window.room(); room > 0 {
			err = s.send(w, room, number)
		} else { // half a window at a time, rather than a message for each acknowledgement
			err = s.await(number-uint64(s.set.MaxInflight)/2, w.bytes)
		}
	}
	return first, err
}

// send sends packets of the next messages, most of them at most, which it numbers from seq.
func (s *sink) send(w *writing, most int, seq uint64) error {
	before := w.sent
	large := s.encode(w, most, seq)
	if s.qos > 0 {
		if large != nil { // those before it do not come again when the broker hangs up
			if err := s.await(seq, w.bytes); err != nil {
				w.sent = before
				return err
			}
		}
		s.window.add(w.sent - before)
	}
	var err error
	if large == nil {
		err = s.conn.send(s.buf)
	} else {
		err = s.try(large)
	}
	if err != nil && (large != nil || s.qos == 0) {
		w.sent = before // even if it is confirmed: mosquitto does that when it drops a packet for its size
	}
	return err
}

// encode fills buf with packets of the next messages, or with one that is larger than all before.
// It passes over those that cannot be published.
func (s *sink) encode(w *writing, most int, seq uint64) (large *bridge.Message) {
	if cap(s.buf) > 8*chunk {
		s.buf = nil // it was for a message that was far bigger than usual
	}
	s.buf = s.buf[:0]
	for ; w.next < len(w.batch) && most > 0 && len(s.buf) < chunk; w.next++ {
		m := &w.batch[w.next]
		topic, err := s.topicOf(m)
		retain := false
		if err == nil {
			retain, err = s.retained(m)
		}
		o := outgoing{topic: topic, payload: m.Payload, qos: s.qos, retain: retain, id: packetID(seq)}
		size := o.size()
		larger := size > s.taken || len(m.Payload) > s.payload
		switch limit := int(s.set.MaxPacket); {
		case err != nil || !larger && size <= limit:
		case size > limit:
			err = fmt.Errorf("publish to %.100q: packet of %d bytes, max_packet is %d", topic, size, limit)
		case len(s.buf) > 0:
			w.bytes += len(s.buf)
			return nil
		default:
			err = s.trial(topic, m, size)
		}
		if err != nil {
			w.refused = append(w.refused, bridge.Refusal{Index: w.next, Err: err})
			continue
		}
		s.buf = o.append(s.buf)
		w.sent++
		seq++
		most--
		if larger {
			large, most = m, 0
		}
	}
	w.bytes += len(s.buf)
	return large
}

func (s *sink) topicOf(m *bridge.Message) (string, error) {
	topic, err := s.set.Topic.Render(m)
	if err != nil {
		return "", fmt.Errorf("render topic: %w", err)
	}
	if topic != s.last || topic == "" {
		err := checkTopic(topic)
		if err == nil && !s.own && reserved(topic) {
			err = errors.New("a message must not choose one of the broker's own topics; " +
				"the text of the setting topic may begin with one")
		}
		if err != nil {
			return "", fmt.Errorf("publish to %.100q: %w", topic, err)
		}
		s.last = topic
	}
	return topic, nil
}

// retained tells whether the broker is to keep the message.
func (s *sink) retained(m *bridge.Message) (bool, error) {
	if s.set.Retain == nil {
		return false, nil
	}
	text, err := s.set.Retain.Render(m)
	switch {
	case err != nil:
		return false, fmt.Errorf("render retain: %w", err)
	case text != "true" && text != "false":
		return false, fmt.Errorf("retain gives %.100q, not true or false", text)
	}
	return text == "true", nil
}

// await returns when all messages before number target are acknowledged.
func (s *sink) await(target uint64, bytes int) error {
	reached := s.window.wait(target)
	if reached == nil {
		return nil
	}
	return s.within(reached, bytes)
}

// within waits for what tells that the broker has answered. That may take as long as bytes leave,
// then what they need to get there, and then the timeout.
func (s *sink) within(answered <-chan struct{}, bytes int) error {
	before := s.window.acknowledged()
	timeout := s.set.AckTimeout + socket.Crossing(int64(bytes))
	late := time.NewTimer(timeout)
	defer late.Stop()
	for {
		select {
		case <-answered:
			return nil
		case <-s.conn.dead:
			return s.conn.cause
		case <-late.C:
			now, left := s.window.acknowledged(), timeout-s.conn.stalled()
			switch {
			case now > before:
				before, left = now, timeout
			case left <= 0:
				return s.conn.fail(fmt.Errorf("no acknowledgement within %v", s.set.AckTimeout))
			}
			late.Reset(left)
		}
	}
}

// frame takes what the broker sends to a publisher.
func (s *sink) frame(f frame) error {
	switch f.kind() {
	case puback, pubrec, pubcomp:
		id, _, err := parseAck(f)
		s.acks = append(s.acks, ack{f.kind(), id})
		return err
	}
	return unexpectedError(f.head)
}

func (s *sink) flush(c *conn) {
	replies, err := s.window.settle(s.acks, s.replies[:0])
	s.acks, s.replies = s.acks[:0], replies
	if err != nil {
		_ = c.fail(err)
		return
	}
	_ = c.send(replies) // an error ends the connection by itself
}

func (s *sink) waits() bool { return s.window.waits() }

func (s *sink) lost(error) {}
