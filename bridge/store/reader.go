package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// How much one request to the stream asks for.
const (
	fetchRecords = 256
	fetchBytes   = 1 << 20
	lagWait      = 10 * time.Millisecond
	mostLag      = 5 * time.Second // of a replica that answers
	dropsEvery   = time.Second     // a line in the log
)

// reader is the end of a buffer that the rest of the pipeline reads from.
type reader struct {
	*buffer
	session *session
	stream  jetstream.Stream
	env     bridge.Env
	replies *nats.Subscription
	once    sync.Once
	closed  chan struct{}

	// Of Read alone.
	inbox   string   // with a dot at the end
	asked   int      // requests
	from    uint64   // sequence number to ask for next
	at      uint64   // number of the newest message that was returned or is missing
	gaps    uint64   // missing messages since the last batch
	queue   []stored // fetched
	lag     time.Time
	logged  time.Time
	dropped uint64 // since logged
}

// stored is a record with its sequence number.
type stored struct {
	record
	seq uint64
}

var _ bridge.Source = (*reader)(nil)

func (r *reader) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if batch, ack := r.next(); len(batch) > 0 {
			return batch, ack, nil
		}
		r.mu.Lock()
		last, finished, changed := r.last, r.finished, r.changed
		r.mu.Unlock()
		if r.at < last.Number {
			if err := r.fetch(ctx, last); err != nil {
				return nil, nil, err
			}
			continue
		}
		if finished {
			return nil, nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-r.closed:
			return nil, nil, errors.New("read the buffer: closed")
		case <-r.session.ended:
			return nil, nil, fmt.Errorf("read the buffer: %s: the connection has ended", r.session.where)
		}
	}
}

// next returns a batch of what has been fetched.
func (r *reader) next() (bridge.Batch, bridge.Ack) {
	var batch bridge.Batch
	var end mark
	for len(r.queue) > 0 && len(batch) < r.env.MaxBatch {
		q := &r.queue[0]
		n := min(len(q.batch), r.env.MaxBatch-len(batch))
		if batch == nil && (len(r.queue) == 1 || n == r.env.MaxBatch) {
			batch = q.batch[:n:n]
		} else {
			batch = append(batch, q.batch[:n]...)
		}
		end = mark{Number: q.first + uint64(n) - 1, Seq: q.seq}
		if n < len(q.batch) {
			end.Seq-- // the rest of the record is not settled with this
			q.batch, q.first = q.batch[n:], q.first+uint64(n)
			break
		}
		r.queue = r.queue[1:]
	}
	if len(batch) == 0 {
		return nil, nil
	}
	gaps := r.gaps
	r.gaps = 0
	return batch, func(_ context.Context, refused error) error {
		if refused == nil {
			r.settle(r.session, end, gaps)
		}
		return nil
	}
}

// fetch asks for the records behind the last one.
func (r *reader) fetch(ctx context.Context, last mark) error {
	request, err := json.Marshal(map[string]any{
		"seq": max(1, r.from), "next_by_subj": r.store.names.bufferSubject(r.pipeline), "batch": fetchRecords, "max_bytes": fetchBytes,
	})
	if err != nil {
		return err
	}
	r.asked++
	reply := r.inbox + strconv.Itoa(r.asked)
	if err := r.session.nc.PublishRequest("$JS.API.DIRECT.GET."+r.store.names.buffer(r.pipeline), reply, request); err != nil {
		return r.session.failed("read the buffer", err)
	}
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for n := 0; ; {
		m, err := r.replies.NextMsgWithContext(limited)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.session.suspect(ctx, err)
			return r.session.failed("read the buffer", err)
		}
		if m.Subject != reply {
			continue // to a request that nobody waited for
		}
		if status := m.Header.Get("Status"); status != "" {
			return r.over(ctx, status, m, n, last)
		}
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return fmt.Errorf("read the buffer: answer without a sequence number: %w", err)
		}
		n++
		r.from = seq + 1
		if err := r.take(seq, m.Data); err != nil {
			return err
		}
	}
}

// over handles the end of the answer to a request, which brought n records.
func (r *reader) over(ctx context.Context, status string, m *nats.Msg, n int, last mark) error {
	switch status {
	case "204", "404":
	default:
		return fmt.Errorf("read the buffer: %s: %s %s", r.session.where, status, m.Header.Get("Description"))
	}
	if n > 0 {
		r.lag = time.Time{}
		return nil
	}
	// There is nothing where there should be. It may come late to the replica that was asked; else
	// it is gone.
	info, err := r.stream.Info(ctx)
	if err != nil {
		r.session.suspect(ctx, err)
		return r.session.failed("read the buffer", err)
	}
	if info.State.Msgs > 0 && info.State.LastSeq >= r.from && r.store.settings.replicas() > 1 && (r.lag.IsZero() || time.Since(r.lag) < mostLag) {
		if r.lag.IsZero() {
			r.lag = time.Now()
		}
		wait := time.NewTimer(lagWait)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		return nil
	}
	return r.missing(last.Number + 1)
}

// take queues a record.
func (r *reader) take(seq uint64, data []byte) error {
	rec, err := parseRecord(data)
	if err != nil {
		r.log.Error("a record in the buffer is damaged, its messages are lost", "seq", seq, "err", err)
		return nil // the next one tells how many
	}
	end := rec.first + uint64(len(rec.batch)) - 1
	if end <= r.at {
		return nil // settled before
	}
	if rec.first <= r.at {
		rec.batch, rec.first = rec.batch[r.at+1-rec.first:], r.at+1
	}
	if err := r.missing(rec.first); err != nil {
		return err
	}
	r.at = end
	r.queue = append(r.queue, stored{rec, seq})
	return nil
}

// missing reports the messages between the newest one and number next, if there should be any.
func (r *reader) missing(next uint64) error {
	n := next - 1 - r.at
	if n == 0 {
		return nil
	}
	first := r.at + 1
	r.at = next - 1
	r.gaps += n
	r.mu.Lock()
	r.gone += n
	fresh := r.at - min(r.at, max(first-1, r.told))
	r.told = max(r.told, r.at)
	r.mu.Unlock()
	if fresh == 0 {
		return nil
	}
	r.env.Dropped(int(fresh))
	if r.settings.WhenFull == bridge.OverflowDropOldest {
		r.tell(fresh)
		return nil
	}
	r.log.Error("the buffer has lost messages: its files were damaged or changed", "n", fresh, "first", first, "last", r.at)
	if r.store.settings.Strict {
		return bridge.Permanent(fmt.Errorf("the buffer has lost %d messages, and state.strict is set: look at it with xrtcbridge buffer verify %s; a run without strict goes on behind them", fresh, r.pipeline))
	}
	return nil
}

// tell logs drops now and then.
func (r *reader) tell(n uint64) {
	r.dropped += n
	if now := time.Now(); now.Sub(r.logged) >= dropsEvery {
		r.log.Warn("the buffer was full, its oldest messages were dropped", "n", r.dropped)
		r.dropped, r.logged = 0, now
	}
}

func (r *reader) Close() error {
	r.once.Do(func() {
		close(r.closed)
		_ = r.replies.Unsubscribe()
		r.keeper.wake()
	})
	return nil
}
