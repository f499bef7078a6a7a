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
func (s *sink) Write(ctx context.Context, batch bridge.Batch) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	conn := s.session.conn
	defer context.AfterFunc(ctx, func() { _ = conn.fail(ctx.Err()) })()
	select {
	case s.turn <- struct{}{}:
	case <-conn.dead:
		return 0, fmt.Errorf("publish: %w", conn.cause)
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
func (s *sink) stream(batch bridge.Batch) (int, error) {
	n := 0
	for n < len(batch) {
		k, refused := s.encode(batch[n:], 0)
		if err := s.session.conn.send(s.buf); err != nil {
			return n, fmt.Errorf("publish: %w", err)
		}
		if n += k; refused != nil {
			return n, refused
		}
	}
	return n, nil
}

// confirm sends the batch and waits for the acknowledgements, which it does
// without the turn, so that the next batch can leave meanwhile.
func (s *sink) confirm(batch bridge.Batch) (int, error) {
	first, _ := s.window.room()
	n, refused, err := s.sendAll(batch)
	s.endTurn()
	if err == nil {
		err = s.await(first + uint64(n))
	}
	if err != nil {
		return s.window.confirmed(first, n), fmt.Errorf("publish: %w", err)
	}
	return n, refused
}

// sendAll sends the batch as the window allows, up to a message that cannot be
// sent: that is refused.
func (s *sink) sendAll(batch bridge.Batch) (n int, refused, err error) {
	for n < len(batch) && refused == nil {
		next, room := s.window.room()
		if room == 0 {
			// Half a window at a time, rather than a message for each acknowledgement.
			size := uint64(s.window.size())
			if err := s.await(next - size/2); err != nil {
				return n, nil, err
			}
			continue
		}
		var k int
		k, refused = s.encode(batch[n:min(len(batch), n+room)], next)
		s.window.add(k)
		n += k
		if err := s.session.conn.send(s.buf); err != nil {
			return n, nil, err
		}
	}
	return n, refused, nil
}

// encode fills buf with packets of the first n messages, numbered from seq.
// refused is about the message behind them.
func (s *sink) encode(batch bridge.Batch, seq uint64) (n int, refused error) {
	if cap(s.buf) > 8*chunk {
		s.buf = nil // it was for a message that was far bigger than usual
	}
	s.buf = s.buf[:0]
	for i := range batch {
		topic, err := s.topicOf(&batch[i])
		if err != nil {
			return i, bridge.Permanent(err)
		}
		s.buf = appendPublish(s.buf, topic, batch[i].Payload, s.qos, s.retain, packetID(seq+uint64(i)))
		if len(s.buf) >= chunk {
			return i + 1, nil
		}
	}
	return len(batch), nil
}

func (s *sink) topicOf(m *bridge.Message) (string, error) {
	topic, err := s.topic.Render(m)
	if err != nil {
		return "", fmt.Errorf("render topic: %w", err)
	}
	if topic != s.last {
		if err := checkTopic(topic); err != nil {
			return "", fmt.Errorf("publish to %q: %w", topic, err)
		}
		s.last = topic
	}
	if size := publishSize(topic, m.Payload, s.qos); size > s.limit {
		return "", fmt.Errorf("publish to %q: packet of %d bytes, max_packet is %d", topic, size, s.limit)
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
