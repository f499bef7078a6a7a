package nats

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	ack      = "+ACK"
	nak      = "-NAK"
	progress = "+WPI"
)

// held is the messages of a consumer that have come and are not acknowledged. While
// the pipeline is slow, it tells the server so, which would otherwise send
// them again after its ack wait.
type held struct {
	conn     *conn
	messages chan *nats.Msg
	interval time.Duration
	quit     chan struct{}
	done     chan struct{}

	mu      sync.Mutex // guards what follows
	reading bool       // Read waits for the channel, so that it must be left alone
	early   []*nats.Msg
	batches []*heldBatch // in order of reading
}

type heldBatch struct {
	replies []string
	since   time.Time
}

// holdMessages starts to hold what comes through messages, until stop.
func holdMessages(c *conn, messages chan *nats.Msg, ackWait time.Duration) *held {
	h := &held{
		conn:     c,
		messages: messages,
		interval: max(ackWait/3, time.Millisecond),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	go h.run()
	return h
}

// take adds to taken what has come, up to limit. If that is nothing the caller may
// wait for the channel, and then calls resume.
func (h *held) take(taken []*nats.Msg, limit int) []*nats.Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.early), limit)
	taken = append(taken, h.early[:n]...)
	h.early = slices.Delete(h.early, 0, n)
	taken = drain(h.messages, taken, limit)
	h.reading = len(taken) == 0
	return taken
}

// resume ends the waiting, and adds to taken what has come meanwhile.
func (h *held) resume(taken []*nats.Msg, limit int) []*nats.Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reading = false
	return drain(h.messages, taken, limit)
}

// drain adds what is in the channel to taken, until that has limit messages.
func drain(messages chan *nats.Msg, taken []*nats.Msg, limit int) []*nats.Msg {
	for len(taken) < limit {
		select {
		case m := <-messages:
			taken = append(taken, m)
		default:
			return taken
		}
	}
	return taken
}

// batch holds a batch that was read and returns what settles it.
func (h *held) batch(replies []string) func(context.Context, error) error {
	b := &heldBatch{replies, time.Now()}
	h.mu.Lock()
	h.batches = append(h.batches, b)
	h.mu.Unlock()
	return func(_ context.Context, reason error) error {
		h.mu.Lock()
		if i := slices.Index(h.batches, b); i >= 0 {
			h.batches = slices.Delete(h.batches, i, i+1)
		}
		h.mu.Unlock()
		if reason != nil {
			return h.answer(b.replies, fmt.Sprintf(`%s {"delay":%d}`, nak, nakDelay))
		}
		return h.answer(b.replies, ack)
	}
}

func (h *held) answer(replies []string, text string) error {
	body := []byte(text)
	for _, reply := range replies {
		if err := h.conn.Publish(reply, body); err != nil {
			return h.conn.err()
		}
	}
	return nil
}

func (h *held) run() {
	defer close(h.done)
	t := time.NewTicker(h.interval)
	defer t.Stop()
	for {
		select {
		case <-h.quit:
			return
		case now := <-t.C:
			// An error means that the connection has ended, which Read tells.
			_ = h.answer(h.old(now), progress)
		}
	}
}

// old returns the replies of messages that have been here for a while.
func (h *held) old(now time.Time) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var replies []string
	for _, b := range h.batches {
		if now.Sub(b.since) < h.interval {
			break
		}
		replies = append(replies, b.replies...)
	}
	if h.reading {
		return replies
	}
	h.early = drain(h.messages, h.early, math.MaxInt)
	return append(replies, repliesOf(h.early)...)
}

// add holds one message more.
func (h *held) add(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.early = append(drain(h.messages, h.early, math.MaxInt), m)
}

// newest returns the highest sequence number of what is held.
func (h *held) newest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.early = drain(h.messages, h.early, math.MaxInt)
	n := uint64(0)
	for _, reply := range repliesOf(h.early) {
		n = max(n, sequence(reply))
	}
	for _, b := range h.batches {
		for _, reply := range b.replies {
			n = max(n, sequence(reply))
		}
	}
	return n
}

// stop ends the telling.
func (h *held) stop() {
	close(h.quit)
	<-h.done
}

// giveBack refuses all messages that are held, in the order of the stream.
func (h *held) giveBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.early = drain(h.messages, h.early, math.MaxInt)
	var replies []string
	for _, b := range h.batches {
		replies = append(replies, b.replies...)
	}
	replies = append(replies, repliesOf(h.early)...)
	h.batches, h.early = nil, nil
	slices.SortFunc(replies, func(a, b string) int { return cmp.Compare(sequence(a), sequence(b)) })
	_ = h.answer(replies, nak)
}

// repliesOf returns the reply subjects of messages, leaving out what the server says about requests.
func repliesOf(messages []*nats.Msg) []string {
	var replies []string
	for _, m := range messages {
		if m.Reply != "" {
			replies = append(replies, m.Reply)
		}
	}
	return replies
}
