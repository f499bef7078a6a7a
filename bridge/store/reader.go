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
	inbox string   // with a dot at the end
	asked int      // requests
	from  uint64   // sequence number to ask for next
	at    uint64   // number of the newest message that was returned or is missing
	queue []stored // fetched
	lag   time.Time
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
	if len(r.queue) == 0 {
		return nil, nil
	}
	var batch bridge.Batch
	var end mark
	begin := r.queue[0].seq - 1
	var numbers []uint64 // of the first message of each record
	var sizes []int
	for len(r.queue) > 0 && len(batch) < r.env.MaxBatch {
		q := &r.queue[0]
		n := min(len(q.batch), r.env.MaxBatch-len(batch))
		numbers, sizes = append(numbers, q.first), append(sizes, n)
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
	return batch, func(_ context.Context, refused error) error {
		n := bridge.Settled(len(batch), refused)
		if refused != nil {
			end.Seq = begin                      // the records go when all is settled
			for i, left := 0, n; left > 0; i++ { // some numbers may be missing between two records
				end.Number = numbers[i] + uint64(min(left, sizes[i])) - 1
				left -= sizes[i]
			}
		}
		if n > 0 {
			r.settle(r.session, end)
		}
		return nil
	}
}

// fetch asks for the records behind the last one.
func (r *reader) fetch(ctx context.Context, last mark) error {
	request, err := json.Marshal(map[string]any{
		"seq": max(1, r.from), "next_by_subj": r.store.names.bufferSubject(r.pipeline), "batch": fetchRecords,
		"max_bytes": fetchBytes,
	})
	if err != nil {
		return err
	}
	r.asked++
	reply := r.inbox + strconv.Itoa(r.asked)
	if err := r.session.nc.PublishRequest(r.session.api+"DIRECT.GET."+r.store.names.buffer(r.pipeline), reply,
		request); err != nil {
		return r.session.failed(ctx, "read the buffer", err)
	}
	limited, cancel := r.session.patience(ctx, answerTimeout, true)
	defer cancel()
	for n := 0; ; {
		m, err := r.replies.NextMsgWithContext(limited)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.session.suspect(ctx, err)
			return r.session.failed(ctx, "read the buffer", err)
		}
		if m.Subject != reply {
			continue // to a request that nobody waited for
		}
		if status := m.Header.Get("Status"); status != "" {
			return r.over(ctx, status, m, n, last)
		}
		n++
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil { // the server appends it to headers that are damaged: one number further is not too far
			r.log.Error("a record in the buffer is damaged, its messages are lost", "after", r.from-1, "err", err)
			r.from++
			continue // the next one tells how many
		}
		r.from = seq + 1
		if err := r.take(seq, m); err != nil {
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
		return r.session.failed(ctx, "read the buffer", err)
	}
	if info.State.Msgs > 0 && info.State.LastSeq >= r.from && r.store.settings.replicas() > 1 &&
		(r.lag.IsZero() || time.Since(r.lag) < mostLag) {
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
func (r *reader) take(seq uint64, m *nats.Msg) error {
	rec, err := parseRecord(m.Data)
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
	r.mu.Lock()
	dropped := r.lost.has(span{rec.first, end})
	r.mu.Unlock()
	if dropped {
		return nil // while it came, and that is counted
	}
	if err := r.missing(rec.first); err != nil {
		return err
	}
	r.at = end
	r.queue = append(r.queue, stored{rec, seq})
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = end
	if err == nil {
		r.stamps = append(r.stamps, stamp{end, at})
		r.tell()
	}
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
	r.mu.Lock()
	fresh := r.lose(span{first, r.at})
	r.mu.Unlock()
	if r.dropsOldest() {
		r.keeper.drops(fresh)
		return nil
	}
	if fresh > 0 {
		r.log.Error("the buffer has lost messages: its files were damaged or changed", "n", fresh, "first", first,
			"last", r.at)
	}
	if r.store.settings.Strict {
		return bridge.Permanent(fmt.Errorf("the buffer has lost %s, "+
			"and state.strict is set: look at it with xrtcbridge buffer verify %s; "+
			"a run without strict goes on behind that", bridge.Plural(n, "message"), r.pipeline))
	}
	return nil
}

func (r *reader) Close() error {
	r.once.Do(func() {
		r.mu.Lock()
		r.read = 0
		r.mu.Unlock()
		close(r.closed)
		_ = r.replies.Unsubscribe()
		r.keeper.wake()
	})
	return nil
}
