package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// writer is the end of a buffer that sources write to.
type writer struct {
	*buffer
	session *session
	limits  limits
	guard   guard
	text    []byte // of a record, used again
	full    bool   // since the log was told
	once    sync.Once
	closed  chan struct{}
}

var _ bridge.Sink = (*writer)(nil)

// errFull says that a record has no room, where it is not to wait for it.
var errFull = errors.New("no room")

// Write returns when the messages are stored, as durable as configured.
func (w *writer) Write(ctx context.Context, batch bridge.Batch) (r bridge.Result, err error) {
	refuse := func(format string, args ...any) {
		r.Refused = append(r.Refused, bridge.Refusal{Index: r.Settled, Err: fmt.Errorf(format, args...)})
		r.Settled++
	}
	most := len(batch) // messages in a record
	for r.Settled < len(batch) {
		if w.session.hasEnded() {
			return r, fmt.Errorf("write to the buffer: %s: the connection has ended", w.session.where)
		}
		rest := batch[r.Settled:]
		if n := w.known(rest); n > 0 {
			r.Settled += n
			continue
		}
		if err := w.guard.check(w.store); err != nil {
			if dropped, failed := w.dropOldest(ctx); failed != nil || !dropped {
				return r, cmp.Or(failed, err)
			}
			w.guard.looked = time.Time{}
			continue
		}
		n := w.fit(rest[:min(most, len(rest))])
		if n == 0 {
			refuse("the message has %v, and the buffer takes %v at most", bridge.Size(len(rest[0].Payload)),
				bridge.Size(w.limits.most))
			continue
		}
		switch err := w.put(ctx, rest[:n]); {
		case err == nil:
			r.Settled += n
			most = min(2*most, len(batch))
		case err == errFull && n > 1: //nolint:errorlint // it is never wrapped
			most = n / 2
		case err == errFull: //nolint:errorlint // likewise
			refuse("the buffer is full: it holds %v, which is its max_bytes", bridge.Size(w.limits.bytes))
		default:
			w.remember(rest[:n])
			return r, err
		}
	}
	return r, nil
}

// known returns how many messages at the front of the batch an earlier try has stored after all.
func (w *writer) known(batch bridge.Batch) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending
	w.pending = nil
	if p == nil || !p.stored {
		return 0
	}
	at := slices.Index(p.ids, batch[0].ID)
	if at < 0 {
		return 0
	}
	for n < len(batch) && at+n < len(p.ids) && batch[n].ID == p.ids[at+n] {
		n++
	}
	return n
}

// remember notes the messages of a record that may be stored or not. The batch may change before
// they come again.
func (w *writer) remember(batch bridge.Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending == nil {
		return
	}
	w.pending.ids = make([]string, len(batch))
	for i := range batch {
		w.pending.ids[i] = batch[i].ID
	}
}

// fit returns how many messages go into one record; the first may be too large for any.
func (w *writer) fit(batch bridge.Batch) int {
	size := recordFixed
	for i := range batch {
		size += recordSize(&batch[i])
		if size > w.limits.most || i > 0 && size > w.limits.record {
			return i
		}
	}
	return len(batch)
}

// put stores a record.
func (w *writer) put(ctx context.Context, batch bridge.Batch) error {
	w.mu.Lock()
	last := w.last
	w.mu.Unlock()
	w.text = appendRecord(w.text[:0], last.Number+1, batch)
	p := &pending{last: last.Number + uint64(len(batch)), sum: recordSum(w.text)}
	for {
		w.mu.Lock()
		w.pending = p
		w.mu.Unlock()
		crashpoint.Reach(crashpoint.BufferStoring)
		seq, err := w.publish(ctx, last.Seq)
		if err == nil {
			crashpoint.Reach(crashpoint.BufferStored)
			return w.stored(p, seq)
		}
		full := answered(err, codeStoreFailed) && strings.Contains(err.Error(), "maximum") || isNoRoom(err)
		if !full {
			w.unclear(ctx, err)
			return err
		}
		w.forget()
		if w.settings.WhenFull == bridge.OverflowReject {
			return errFull
		}
		if dropped, err := w.dropOldest(ctx); err != nil {
			return err
		} else if dropped {
			continue
		}
		if err := w.awaitRoom(ctx); err != nil {
			return err
		}
	}
}

// dropOldest takes some of the oldest records out of the buffer, if it is to do that when the store
// or the disk is full, which the server does only when the buffer itself is. The keeper counts
// them.
func (w *writer) dropOldest(ctx context.Context) (dropped bool, err error) {
	if !w.dropsOldest() {
		return false, nil
	}
	w.mu.Lock()
	stream := w.stream
	w.mu.Unlock()
	info, err := stream.Info(ctx)
	if err == nil && info.State.Msgs > 0 {
		dropped = true
		some := max(1, (info.State.LastSeq+1-info.State.FirstSeq)/16)
		err = stream.Purge(ctx, jetstream.WithPurgeSequence(info.State.FirstSeq+some))
		w.mu.Lock()
		w.unseen = true
		w.mu.Unlock()
		w.keeper.wake()
	}
	if err != nil {
		w.session.suspect(ctx, err)
		return false, w.session.failed(ctx, "drop the oldest messages of the buffer", err)
	}
	select {
	case <-time.After(lookAtDisk): // files go in the background
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return dropped, nil
}

// lastAnswer is how much longer than its context a write waits for the answer: without it nobody
// could say whether the record is stored.
const lastAnswer = time.Second

// publish stores w.text behind that sequence number, and nowhere else.
func (w *writer) publish(ctx context.Context, last uint64) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	limited, cancel := w.session.patience(context.WithoutCancel(ctx), answerTimeout, false)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastAnswer, cancel) })()
	answer, err := w.session.js.PublishMsg(limited,
		&nats.Msg{Subject: w.store.names.bufferSubject(w.pipeline), Data: w.text},
		jetstream.WithExpectLastSequence(last), jetstream.WithExpectStream(w.store.names.buffer(w.pipeline)))
	switch {
	case err == nil:
		return answer.Sequence, nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("no answer for %s", answerTimeout)
	}
	return 0, fmt.Errorf("write to the buffer: %s: %w", w.session.where, err)
}

// unclear is called when a record may have been stored or not.
func (w *writer) unclear(ctx context.Context, err error) {
	var answer *jetstream.APIError
	switch {
	case answered(err, codeWrongLast, codeWrongLastUnchanged):
		w.session.end() // an earlier try was stored, or somebody else writes; what comes after looks
	case errors.As(err, &answer) && answer.ErrorCode == codeStoreFailed:
		w.session.end() // a server that failed to write goes on failing until it is started again, and may have written the record
	case errors.As(err, &answer):
		w.forget()
	case ctx.Err() == nil:
		w.session.end()
	}
}

// forget is for a record that was refused.
func (w *writer) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = nil
}

// stored notes that the record is in the stream.
func (w *writer) stored(p *pending, seq uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buffer.session != w.session {
		// which has found the record; see known
		return errors.New("write to the buffer: the connection was replaced meanwhile")
	}
	w.pending = nil
	w.full = false
	if w.held() == 0 {
		w.since = time.Now()
	}
	w.last = mark{Number: p.last, Seq: seq}
	w.unseen = w.dropsOldest()
	w.tell()
	w.broadcast()
	w.keeper.wake()
	return nil
}

// awaitRoom waits until something was taken out of the buffer.
func (w *writer) awaitRoom(ctx context.Context) error {
	w.mu.Lock()
	changed := w.changed
	w.hungry = true
	w.keeper.wake()
	w.mu.Unlock()
	if !w.full {
		w.full = true
		w.log.Warn("the buffer is full, its sources wait", "max_bytes", bridge.Size(w.limits.bytes).String())
	}
	again := time.NewTimer(time.Second)
	defer again.Stop()
	select {
	case <-changed:
	case <-again.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closed:
		return errors.New("write to the buffer: closed")
	case <-w.session.ended:
		return fmt.Errorf("write to the buffer: %s: the connection has ended", w.session.where)
	}
	return nil
}

func (w *writer) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}
