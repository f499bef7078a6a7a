package store

import (
	"context"
	"errors"
	"fmt"
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
	env     bridge.Env
	limits  limits
	guard   guard
	text    []byte // of a record, used again
	full    bool   // since the log was told
	once    sync.Once
	closed  chan struct{}
}

var _ bridge.Sink = (*writer)(nil)

// Write returns when the messages are stored, as durable as configured.
func (w *writer) Write(ctx context.Context, batch bridge.Batch) (int, error) {
	done := 0
	for done < len(batch) {
		if w.session.hasEnded() {
			return done, fmt.Errorf("write to the buffer: %s: the connection has ended", w.session.where)
		}
		if n := w.known(&batch[done]); n > 0 {
			done += n
			continue
		}
		if err := w.guard.check(w.store); err != nil {
			return done, err
		}
		n, err := w.fit(batch[done:])
		if err == nil {
			err = w.put(ctx, batch[done:done+n])
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// known returns how many messages an earlier try has stored after all, beginning with this one.
func (w *writer) known(m *bridge.Message) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending
	w.pending = nil
	if p == nil || !p.stored {
		return 0
	}
	for i := range p.batch {
		if &p.batch[i] == m {
			return len(p.batch) - i
		}
	}
	return 0
}

// fit returns how many messages go into one record.
func (w *writer) fit(batch bridge.Batch) (int, error) {
	size := recordFixed
	for i := range batch {
		size += recordSize(&batch[i])
		switch {
		case i == 0 && size > w.limits.most:
			return 0, bridge.Permanent(fmt.Errorf("the message has %v, and the buffer takes %v at most", bridge.Size(len(batch[0].Payload)), bridge.Size(w.limits.most)))
		case i > 0 && size > w.limits.record:
			return i, nil
		}
	}
	return len(batch), nil
}

// put stores a record.
func (w *writer) put(ctx context.Context, batch bridge.Batch) error {
	w.mu.Lock()
	last := w.last
	w.mu.Unlock()
	w.text = appendRecord(w.text[:0], last.Number+1, batch)
	p := &pending{first: last.Number + 1, batch: batch, sum: recordSum(w.text)}
	w.mu.Lock()
	w.pending = p
	w.mu.Unlock()
	for {
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
			return bridge.Permanent(fmt.Errorf("the buffer is full: it holds %v, which is its max_bytes", bridge.Size(w.limits.bytes)))
		}
		if err := w.awaitRoom(ctx); err != nil {
			return err
		}
		w.mu.Lock()
		w.pending = p
		w.mu.Unlock()
	}
}

// publish stores w.text behind that sequence number, and nowhere else.
func (w *writer) publish(ctx context.Context, last uint64) (uint64, error) {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := w.session.js.PublishMsg(limited, &nats.Msg{Subject: w.store.names.bufferSubject(w.pipeline), Data: w.text},
		jetstream.WithExpectLastSequence(last), jetstream.WithExpectStream(w.store.names.buffer(w.pipeline)))
	switch {
	case err == nil:
		return answer.Sequence, nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
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
		return errors.New("write to the buffer: the connection was replaced meanwhile") // which has found the record; see known
	}
	w.pending = nil
	w.full = false
	w.last = mark{Number: p.last(), Seq: seq}
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
