package store

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// How far what is saved may be behind what is settled, and how long settled records may stay in the stream.
const (
	saveMessages = 500
	saveEvery    = 50 * time.Millisecond
	noteEvery    = time.Second // the newest number, when nothing is settled
	purgeEvery   = time.Second
)

// keeper saves the position of a buffer and then takes out of it what is settled, off the way of the messages.
type keeper struct {
	buffer *buffer
	signal chan struct{} // something was settled or written
	stop   chan struct{}
	start  sync.Once
	end    sync.Once
	done   sync.WaitGroup

	mu       sync.Mutex // held while keeping
	session  *session   // that purged is about
	saved    position
	savedAt  time.Time
	purged   uint64 // sequence number
	purgedAt time.Time
}

// errNoSession says that there is nobody to save to until the pipeline opens the buffer again.
var errNoSession = errors.New("not connected")

func newKeeper(b *buffer) *keeper {
	return &keeper{buffer: b, signal: make(chan struct{}, 1), stop: make(chan struct{})}
}

func (k *keeper) begin() { k.start.Do(func() { k.done.Go(k.run) }) }

func (k *keeper) close() {
	k.end.Do(func() { close(k.stop) })
	k.done.Wait()
}

func (k *keeper) wake() {
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

func (k *keeper) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	k.done.Go(func() { <-k.stop; cancel() })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait := k.wait()
		timer.Reset(wait)
		if wait > 0 {
			select {
			case <-k.signal:
				if k.wait() > 0 {
					continue
				}
			case <-timer.C:
			case <-k.stop:
				return
			}
		}
		if err := k.keep(ctx, false); err != nil && ctx.Err() == nil {
			if !errors.Is(err, errNoSession) {
				k.buffer.log.Warn("cannot save the position in the buffer, trying again", "err", err)
			}
			timer.Reset(purgeEvery)
			select {
			case <-timer.C:
			case <-k.stop:
				return
			}
		}
	}
}

// wait returns how long nothing needs to be done.
func (k *keeper) wait() time.Duration {
	k.buffer.mu.Lock()
	n, settled, last, hungry := k.buffer.session, k.buffer.settled, k.buffer.last, k.buffer.hungry
	k.buffer.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.in(n)
	due := time.Hour
	now := time.Now()
	if settled.Number > k.saved.Settled.Number {
		due = saveEvery - now.Sub(k.savedAt)
		if settled.Number-k.saved.Settled.Number >= saveMessages || hungry {
			due = 0
		}
	}
	if last.Number > k.saved.Last.Number {
		due = min(due, noteEvery-now.Sub(k.savedAt))
	}
	if k.saved.Settled.Seq > k.purged {
		due = min(due, purgeEvery-now.Sub(k.purgedAt))
		if hungry {
			due = 0
		}
	}
	return max(0, due)
}

// keep saves the position, and takes out what is settled if that is due or wanted now.
func (k *keeper) keep(ctx context.Context, now bool) error {
	b := k.buffer
	b.mu.Lock()
	n, stream := b.session, b.stream
	p := position{Epoch: b.epoch, Settled: b.settled, Last: b.last}
	if p.Last.Number < p.Settled.Number {
		p.Last = p.Settled // the sink is yet to hear that this one is stored
	}
	now = now || b.hungry
	b.mu.Unlock()
	if n == nil || n.hasEnded() {
		return errNoSession
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.in(n)
	if p != k.saved {
		data, err := json.Marshal(p)
		if err == nil {
			err = n.save(ctx, b.store.names.positionSubject(b.pipeline), data)
		}
		if err != nil {
			return err
		}
		k.saved, k.savedAt = p, time.Now()
	}
	if p.Settled.Seq > k.purged && (now || time.Since(k.purgedAt) >= purgeEvery) {
		crashpoint.Reach(crashpoint.Purging)
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(p.Settled.Seq+1)); err != nil {
			n.suspect(ctx, err)
			return n.failed("take settled messages out of the buffer", err)
		}
		crashpoint.Reach(crashpoint.Purged)
		k.purged, k.purgedAt = p.Settled.Seq, time.Now()
		b.mu.Lock()
		b.hungry = false
		b.broadcast()
		b.mu.Unlock()
	}
	return nil
}

// in forgets, in a new session, how far the stream was purged: its sequence numbers may have begun anew.
func (k *keeper) in(n *session) {
	if k.session != n {
		k.session, k.purged = n, 0
	}
}
