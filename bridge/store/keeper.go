package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
)

// How far what is saved may be behind what is settled, and how long settled records may stay in the
// stream.
const (
	saveMessages = 500
	saveEvery    = 50 * time.Millisecond
	noteEvery    = time.Second     // the newest number, when nothing is settled
	dropLook     = time.Second / 2 // at what the server has dropped
	dropsEvery   = time.Second     // a line in the log
	purgeEvery   = time.Second
)

// keeper saves the position of a buffer and then takes out of it what is settled, off the way of
// the messages.
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
	lookedAt time.Time
	first    uint64     // sequence number of the oldest record then
	log      sync.Mutex // guards what follows
	logged   time.Time
	dropped  uint64 // since logged
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
	lost, unseen := k.buffer.lost, k.buffer.unseen
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
	if unseen {
		due = min(due, dropLook-now.Sub(k.lookedAt))
	}
	if !slices.Equal(lost[:min(len(lost), mostSpans)], k.saved.Lost) {
		due = min(due, saveEvery-now.Sub(k.savedAt))
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

// keep saves the position, and takes out what is settled if that is due or wanted now. At the end it
// does not look for what was dropped: the ledger has been read, and the next process counts that.
func (k *keeper) keep(ctx context.Context, ending bool) error {
	b := k.buffer
	b.mu.Lock()
	n, stream := b.session, b.stream
	p := position{Epoch: b.epoch, Settled: b.settled, Last: b.last, Lost: b.lost}
	unseen := b.unseen
	if p.Last.Number < p.Settled.Number {
		p.Last = p.Settled // the sink is yet to hear that this one is stored
	}
	now := ending || b.hungry
	b.mu.Unlock()
	if n == nil || n.hasEnded() {
		return errNoSession
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.in(n)
	var dropped span
	if unseen && !ending && time.Since(k.lookedAt) >= dropLook {
		var err error
		if dropped, err = k.look(ctx, n, stream); err != nil {
			n.suspect(ctx, err)
			return n.failed(ctx, "look at what the buffer has dropped", err)
		}
		p.Lost = p.Lost.with(dropped)
	}
	p.Lost = p.Lost[:min(len(p.Lost), mostSpans)]
	if !p.equal(k.saved) {
		data, err := json.Marshal(p)
		if err == nil {
			err = n.save(ctx, b.store.names.positionSubject(b.pipeline), data)
		}
		if err != nil {
			return err
		}
		k.saved, k.savedAt = p, time.Now()
	}
	// Only what is saved as counted is counted, so that nobody counts it once more.
	b.mu.Lock()
	dropped.First = max(dropped.First, b.read+1)
	fresh := b.lose(dropped)
	b.mu.Unlock()
	k.drops(fresh)
	if p.Settled.Seq > k.purged && (now || time.Since(k.purgedAt) >= purgeEvery) {
		crashpoint.Reach(crashpoint.Purging)
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(p.Settled.Seq+1)); err != nil {
			n.suspect(ctx, err)
			return n.failed(ctx, "take settled messages out of the buffer", err)
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

// look returns which messages the server has dropped since the buffer was full, of those that
// nobody has read; the last number is 0 if that is none. The lock must be held.
func (k *keeper) look(ctx context.Context, n *session, stream jetstream.Stream) (dropped span, _ error) {
	b := k.buffer
	b.mu.Lock()
	b.unseen = false
	last, settled := b.last, b.settled
	b.mu.Unlock()
	again := func(err error) (span, error) {
		b.mu.Lock()
		b.unseen = true
		b.mu.Unlock()
		return span{First: 1}, err
	}
	k.lookedAt = time.Now()
	info, err := stream.Info(ctx)
	if err != nil {
		return again(err)
	}
	if info.State.FirstSeq <= max(settled.Seq+1, k.first) {
		return span{First: 1}, nil
	}
	k.first = info.State.FirstSeq
	first, at := mark{Number: last.Number + 1}, time.Time{}
	if info.State.Msgs > 0 {
		if first, at, err = n.firstRecord(ctx, info); err != nil {
			return again(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.stamps) == 0 && at.After(b.since) {
		b.since = at
	}
	return span{max(b.settled.Number, b.read) + 1, first.Number - 1}, nil
}

// drops logs drops now and then.
func (k *keeper) drops(n uint64) {
	k.log.Lock()
	defer k.log.Unlock()
	k.dropped += n
	if now := time.Now(); k.dropped > 0 && now.Sub(k.logged) >= dropsEvery {
		k.buffer.log.Warn("the buffer was full, its oldest messages were dropped", "n", k.dropped)
		k.dropped, k.logged = 0, now
	}
}

// in forgets, in a new session, how far the stream was purged: its sequence numbers may have begun
// anew.
func (k *keeper) in(n *session) {
	if k.session != n {
		k.session, k.purged, k.first = n, 0, 1
	}
}
