package generate

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

type source struct {
	topic   bridge.Template
	payload bridge.Template // nil for the default
	left    int64           // messages still to make; below 0 is without end
	seq     int64           // of the last message
	most    int
	pace    pace
	lots    sync.Pool
	once    sync.Once
	closed  chan struct{}
}

var _ bridge.Source = (*source)(nil)

func newSource(s *Settings, most int) *source {
	src := &source{topic: s.Topic, payload: s.Payload, left: s.Count, most: most, closed: make(chan struct{})}
	if s.Count == 0 {
		src.left = -1
	}
	if s.Rate > 0 {
		src.pace.period = float64(time.Second) / s.Rate
	} else {
		src.pace.period = float64(s.Interval)
	}
	src.lots.New = func() any {
		l := &lot{home: &src.lots}
		l.ack = l.settle
		return l
	}
	return src
}

func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, err
	}
	if s.left == 0 {
		return nil, nil, io.EOF
	}
	n := s.pace.due(time.Now(), s.most)
	if s.left > 0 {
		n = int(min(int64(n), s.left))
	}
	l := s.lots.Get().(*lot)
	l.messages, l.text = l.messages[:0], l.text[:0]
	err := s.fill(l, n)
	if len(l.messages) == 0 {
		return nil, nil, err
	}
	s.pace.sent(len(l.messages))
	if s.left > 0 {
		s.left -= int64(len(l.messages))
	}
	return l.messages, l.ack, err
}

// wait returns when a message is due, at the latest at the end of the input.
func (s *source) wait(ctx context.Context) error {
	select {
	case <-s.closed:
		return os.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	default:
	}
	delay := s.pace.delay(time.Now())
	if delay <= 0 || s.left == 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.closed:
		return os.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *source) fill(l *lot, n int) error {
	now := time.Now()
	var m bridge.Message // one for all, since Render makes it escape
	for range n {
		m = bridge.Message{Time: now}
		topic, err := s.topic.Render(&m)
		if err != nil {
			return bridge.Permanent(fmt.Errorf("render topic: %w", err))
		}
		m.Topic = topic
		start := len(l.text)
		if s.payload == nil {
			l.text = appendDefault(l.text, s.seq+1, now)
		} else {
			text, err := s.payload.Render(&m)
			if err != nil {
				return bridge.Permanent(fmt.Errorf("render payload: %w", err))
			}
			l.text = append(l.text, text...)
		}
		m.Payload = l.text[start:len(l.text):len(l.text)]
		l.messages = append(l.messages, m)
		s.seq++
	}
	return nil
}

func appendDefault(b []byte, seq int64, now time.Time) []byte {
	b = fmt.Appendf(b, `{"seq":%d,"time":"`, seq)
	b = now.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, `"}`...)
}

func (s *source) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// lot is a batch with its Ack and the memory of its payloads, used many times.
type lot struct {
	home     *sync.Pool
	messages bridge.Batch
	text     []byte
	ack      bridge.Ack
}

func (l *lot) settle(context.Context, error) error {
	l.home.Put(l)
	return nil
}
