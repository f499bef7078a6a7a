package mqtt

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
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

// A topic has an alias, where the broker takes those, if that saves something, and if it is not so
// long that the topics that have one take much memory.
const (
	shortTopic  = 4
	longTopic   = 1 << 10
	mostAliases = 1 << 10
)

// ack is an acknowledgement as it arrived.
type ack struct {
	kind byte
	id   uint16
	why  *reasonError // that the broker does not take the message, of MQTT 5
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

	turn    chan struct{}     // held by the Write that is sending
	buf     []byte            // of the holder of turn
	props   []byte            // of the holder of turn
	headers writer            // of the holder of turn
	aliases map[string]uint16 // of topics; of the holder of turn
	clock   bridge.Clock
	last    string // of the holder of turn: a topic known to be valid

	limit          int // of a packet, our own or that of the broker
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
		clock:   env.Clock,
		aliases: make(map[string]uint16),
		window:  newWindow(set.MaxInflight, byte(set.QoS)),
		qos:     byte(set.QoS),
		turn:    make(chan struct{}, 1),
	}
	text, constant := set.Topic.Constant()
	s.own = constant || strings.Contains(text, "/")
	var err error
	if set.Bridge != "" {
		s.conn, err = l.join(ctx, &set.ClientSettings, nil, s)
	} else {
		who := identity{
			clientID: set.clientID(env), unique: set.ClientID == "", clean: true, spoken: &l.spoken, needs: set.five(),
		}
		if who.unique {
			who.clientID += "-" + strings.ToLower(rand.Text()[:8])
		}
		s.conn, err = connect(ctx, &set.ClientSettings, who, s)
	}
	if err != nil {
		return nil, err
	}
	s.limit = int(set.MaxPacket)
	// Some of mosquitto hang up behind a refusal. That of a message of QoS 2 comes before those in
	// front of it are complete, which would so begin anew for ever.
	if _, hungUp := l.refusals.LoadAndDelete(env.Instance); hungUp {
		defer s.window.careful()
	}
	if !s.conn.who.five {
		return s, nil
	}
	server := s.conn.server
	if server.qos < s.qos {
		_ = s.Close()
		return nil, bridge.Permanent(fmt.Errorf("the broker takes QoS %d at most: set qos", server.qos))
	}
	if server.packet > 0 {
		s.limit = min(s.limit, server.packet)
	}
	if most := server.receive; most > 0 {
		if most > 1 && (set.Birth != nil || set.Will != nil) {
			most-- // for a notice
		}
		s.window.narrow(most)
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
	settled := w.sent
	if s.qos > 0 && err != nil {
		settled = s.window.confirmed(first, w.sent)
	}
	if err == nil {
		s.window.relax()
	} else if s.window.refusals(first+uint64(settled), w.sent-settled) != nil {
		s.links.refusals.Store(s.instance, true)
	}
	if unconfirmed := w.sent - settled; unconfirmed > 0 {
		err = fmt.Errorf("%w, with %d messages sent and not confirmed", err, unconfirmed)
	}
	if err != nil {
		err = fmt.Errorf("publish: %w", err)
	}
	verdicts := s.window.refusals(first, settled)
	if verdicts == nil && w.expired == nil {
		return w.refused.Result(settled), err
	}
	r, passing := s.judge(&w, settled, verdicts)
	return r, cmp.Or(err, passing)
}

// judge says what became of a batch of which the first n messages that were sent are acknowledged,
// some of them by verdicts. One that may pass ends the front of those that are settled, and is an
// error.
func (s *sink) judge(w *writing, n int, verdicts map[int]*reasonError) (r bridge.Result, err error) {
	refused, expired, sent := w.refused, w.expired, 0
	for i := range w.next {
		switch {
		case len(refused) > 0 && refused[0].Index == i:
			r.Refused, refused = append(r.Refused, refused[0]), refused[1:]
		case len(expired) > 0 && expired[0] == i:
			r.Omitted, expired = append(r.Omitted, i), expired[1:]
		case sent == n:
			return r, nil
		default:
			if why := verdicts[sent]; why != nil {
				topic, _ := s.set.Topic.Render(&w.batch[i])
				err = fmt.Errorf("publish to %.100q: refused by the broker, %w", topic, why)
				if !why.ofMessage() {
					return r, err
				}
				r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: err})
			}
			sent++
		}
		r.Settled = i + 1
	}
	return r, nil
}

// Close disconnects.
func (s *sink) Close() error {
	s.closing.Do(func() {
		if s.waits() { // a connection that is shared would not end
			_ = s.conn.fail(errLeft)
		}
		s.conn.close(s.conn.notice(s.set.Will.notice()))
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
	expired []int
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
			err = s.await(s.window.half(), w.bytes)
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
	now := s.clock.Now()
	for ; w.next < len(w.batch) && most > 0 && len(s.buf) < chunk; w.next++ {
		m := &w.batch[w.next]
		topic, err := s.topicOf(m)
		retain := false
		if err == nil {
			retain, err = s.retained(m)
		}
		expired := false
		if err == nil && s.conn.who.five {
			if s.props, expired, err = s.headers.properties(s.props[:0], m, now); err != nil {
				err = fmt.Errorf("publish to %.100q: %w", topic, err)
			}
		}
		if expired {
			w.expired = append(w.expired, w.next)
			continue
		}
		o := outgoing{
			topic: topic, payload: m.Payload, qos: s.qos, retain: retain, id: packetID(seq), five: s.conn.who.five,
			properties: s.props,
		}
		fresh := s.alias(&o)
		size := o.size()
		larger := size > s.taken || len(m.Payload) > s.payload
		switch {
		case err != nil || !larger && size <= s.limit:
		case size > int(s.set.MaxPacket):
			err = fmt.Errorf("publish to %.100q: packet of %d bytes, max_packet is %d", topic, size, s.set.MaxPacket)
		case size > s.limit:
			err = fmt.Errorf("publish to %.100q: packet of %d bytes, and the broker takes %d at most: raise its limit, "+
				"like max_packet_size of mosquitto",
				topic, size, s.limit)
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
		if fresh {
			s.aliases[topic] = uint16(len(s.aliases) + 1)
		}
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

// alias has a number stand for the topic, or with it for the first time, which the caller notes when
// it sends that.
func (s *sink) alias(o *outgoing) (fresh bool) {
	if len(o.topic) < shortTopic || len(o.topic) > longTopic || s.conn.server.aliases == 0 {
		return false
	}
	number, known := s.aliases[o.topic]
	switch {
	case known:
		o.topic = ""
	case len(s.aliases) == min(s.conn.server.aliases, mostAliases):
		return false
	default:
		number = uint16(len(s.aliases) + 1)
	}
	s.props = binary.BigEndian.AppendUint16(append(s.props, propTopicAlias), number)
	o.properties = s.props
	return !known
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
	case text == "true" && s.conn.who.five && !s.conn.server.retains:
		return false, errors.New("the broker keeps no retained messages: leave out retain")
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
		id, reason, err := parseAck(f)
		a := ack{kind: f.kind(), id: id}
		if reason >= reasonFailed && a.kind != pubcomp { // which says that it does not know the message any more
			a.why = reasonOf(f.body[2:])
		}
		s.acks = append(s.acks, a)
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
