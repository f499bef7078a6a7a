package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
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
	keep     func(context.Context) // saves the position
	quit     context.CancelFunc
	done     chan struct{}

	mu      sync.Mutex // guards what follows
	reading bool       // Read waits for the channel, so that it must be left alone
	early   []*nats.Msg
	batches []*heldBatch // in order of reading
	last    string       // reply of a message that was read; empty: none was
	floor   floor
}

type heldBatch struct {
	replies []string
	since   time.Time
}

// newHeld returns what holds that which comes through messages. It wants run, until stop.
func newHeld(c *conn, messages chan *nats.Msg, info *jetstream.ConsumerInfo, keep func(context.Context)) *held {
	return &held{
		conn:     c,
		messages: messages,
		interval: max(info.Config.AckWait/3, time.Millisecond),
		keep:     keep,
		floor:    newFloor(info),
		done:     make(chan struct{}),
	}
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
	h.last = replies[len(replies)-1]
	h.floor.read(replies)
	h.mu.Unlock()
	return func(_ context.Context, reason error) error {
		n := bridge.Settled(len(b.replies), reason)
		settled, rest := b.replies[:n], b.replies[n:]
		h.mu.Lock()
		b.replies = rest // these stay held, so that the position does not move past them
		h.batches = slices.DeleteFunc(h.batches, func(b *heldBatch) bool { return len(b.replies) == 0 })
		h.mu.Unlock()
		if err := h.answer(settled, ack); err != nil || reason == nil {
			return err
		}
		return h.answer(rest, fmt.Sprintf(`%s {"delay":%d}`, nak, nakDelay))
	}
}

func (h *held) answer(replies []string, text string) error {
	body := []byte(text)
	for _, reply := range replies {
		if err := h.conn.Publish(reply, body); err != nil {
			return h.conn.Err()
		}
	}
	return nil
}

func (h *held) run(ctx context.Context) {
	defer close(h.done)
	t, k := time.NewTicker(h.interval), time.NewTicker(keepEvery)
	defer t.Stop()
	defer k.Stop()
	h.keep(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			// An error means that the connection has ended, which Read tells.
			_ = h.answer(h.old(now), progress)
		case <-k.C:
			h.keep(ctx)
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

// acknowledged notes what the consumer says of that.
func (h *held) acknowledged(upTo uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floor.acknowledged = upTo
}

// position returns up to where all messages are acknowledged, and whether others read, too.
func (h *held) position() (floor uint64, shared bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.floor.of(h.replies()), h.floor.shared
}

// replies returns those of all messages that are held and were seen. The lock must be held.
func (h *held) replies() []string {
	replies := repliesOf(h.early)
	for _, b := range h.batches {
		replies = append(replies, b.replies...)
	}
	return replies
}

// stop ends the telling.
func (h *held) stop() {
	h.quit()
	<-h.done
}

// giveBack refuses all messages that are held, in the order of the stream, and waits until the
// consumer has taken account of that, and of all acknowledgements.
func (h *held) giveBack(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.early = drain(h.messages, h.early, math.MaxInt)
	replies := h.replies()
	slices.SortFunc(replies, func(a, b string) int { return cmp.Compare(sequence(a), sequence(b)) })
	if err := h.answer(replies, nak); err != nil || h.last == "" {
		return err
	}
	// To a ping the server answers when it has all of them, which then wait for the consumer.
	return h.conn.Await(ctx, closeTimeout, h.conn.Outgoing(), func(ctx context.Context) error {
		_, err := h.conn.RequestWithContext(ctx, h.last, []byte(progress))
		if errors.Is(err, nats.ErrNoResponders) {
			return nil // the consumer is gone
		}
		return err
	})
}

// repliesOf returns the reply subjects of messages, leaving out what the server says about
// requests.
func repliesOf(messages []*nats.Msg) []string {
	var replies []string
	for _, m := range messages {
		if m.Reply != "" {
			replies = append(replies, m.Reply)
		}
	}
	return replies
}
