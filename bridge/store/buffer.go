package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// buffer is the buffer of one pipeline: a stream of records, and a position up to which they are
// settled.
//
// The numbers of messages decide, and sequence numbers of the stream are only where to look first,
// since the server gives those a second time when it has lost the newest ones.
type buffer struct {
	store    *Store
	pipeline string
	settings bridge.BufferSettings
	log      *slog.Logger
	keeper   *keeper

	mu       sync.Mutex // guards what follows; held while the buffer is attached to a session
	former   *buffer    // that of the pipeline before this one, until its position is saved
	session  *session   // nil: none yet
	stream   jetstream.Stream
	limits   limits
	epoch    string    // of the stream, which the saved position is about
	last     mark      // newest record
	settled  mark      // everything up to there
	lost     spans     // behind settled
	past     uint64    // messages that were lost in front of that, since it was opened
	known    uint64    // of those in lost and past, messages that another process has counted
	read     uint64    // number of the newest message that the source has; 0: it is not open
	stamps   []stamp   // of the records that the source has, but for those that are settled
	since    time.Time // when the oldest message was stored, if there are no stamps; or before that
	pending  *pending  // record whose fate is not known, or nil
	opened   bool
	before   uint64 // held when it was opened
	unseen   bool   // something may have been dropped since the keeper has looked
	hungry   bool   // the sink waits for room
	finished bool
	changed  chan struct{} // closed, and replaced, at each change

	figuresMu sync.Mutex // guards figures; never held for long
	figures   bridge.Held
}

// stamp is when a record was stored, and the number of its last message.
type stamp struct {
	last uint64
	at   time.Time
}

// mark is a message, and the sequence number of its record.
type mark struct {
	Number uint64 `json:"number"`
	Seq    uint64 `json:"seq"`
}

// position is what is saved of a buffer.
type position struct {
	Epoch   string `json:"epoch"`
	Settled mark   `json:"settled"`
	Last    mark   `json:"last"`
	Lost    spans  `json:"lost,omitempty"` // behind Settled, and counted
}

func (p position) equal(q position) bool {
	return p.Epoch == q.Epoch && p.Settled == q.Settled && p.Last == q.Last && slices.Equal(p.Lost, q.Lost)
}

// limits are what the stream allows.
type limits struct {
	bytes  int64 // in all
	record int   // size to begin a new record at
	most   int   // size of the largest
}

// pending is a record that may have been stored or not.
type pending struct {
	last   uint64   // number of its last message
	sum    uint32   // of the record
	ids    []string // of its messages, once the write has failed: those that come again have the same
	stored bool
}

const (
	recordSizeWanted = 1 << 20
	mostRecord       = 8 << 20 // which the largest message must fit into
	epochKey         = "xrtcbridge.epoch"
)

// Buffer returns the buffer of a pipeline. One of that name that had the buffer before, and must have
// ended, leaves it as it is then.
func (s *Store) Buffer(pipeline string, set bridge.BufferSettings) bridge.Buffer {
	b := &buffer{
		store: s, pipeline: pipeline, settings: set, log: s.log.With("pipeline", pipeline),
		changed: make(chan struct{}),
	}
	b.keeper = newKeeper(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.buffers, func(of *buffer) bool { return of.pipeline == pipeline })
	if at < 0 {
		s.buffers = append(s.buffers, b)
	} else {
		b.former, s.buffers[at] = s.buffers[at], b
	}
	return b
}

func (b *buffer) OpenSink(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
	n, err := b.attach(ctx)
	if err != nil {
		return nil, err
	}
	env.NeedID()
	b.mu.Lock()
	defer b.mu.Unlock()
	return &writer{buffer: b, session: n, limits: b.limits, closed: make(chan struct{})}, nil
}

func (b *buffer) OpenSource(ctx context.Context, env bridge.Env) (bridge.Source, error) {
	n, err := b.attach(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &reader{
		buffer: b, session: n, stream: b.stream, env: env,
		inbox: n.nc.NewInbox() + ".", from: b.settled.Seq + 1, at: b.settled.Number, closed: make(chan struct{}),
	}
	if r.replies, err = n.nc.SubscribeSync(r.inbox + "*"); err != nil {
		return nil, n.failed(ctx, "open the buffer", err)
	}
	b.read = r.at
	b.forgetStamps()
	return r, nil
}

func (b *buffer) Finish(done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished = done
	b.broadcast()
}

func (b *buffer) Held() bridge.Held {
	b.figuresMu.Lock()
	defer b.figuresMu.Unlock()
	return b.figures
}

// held returns how many messages are owed. What the source has settled may be newer than what the
// sink knows to be stored.
func (b *buffer) held() uint64 {
	return b.last.Number - min(b.last.Number, b.settled.Number+b.lost.count())
}

// tell says what is held. The lock must be held.
func (b *buffer) tell() {
	h := bridge.Held{Before: b.before, Now: b.held(), Lost: b.past + b.lost.count() - b.known}
	switch {
	case h.Now == 0:
	case len(b.stamps) > 0:
		h.Oldest = b.stamps[0].at
	default:
		h.Oldest = b.since
	}
	b.figuresMu.Lock()
	defer b.figuresMu.Unlock()
	b.figures = h
}

// forgetStamps is for a source that has nothing any more. The lock must be held.
func (b *buffer) forgetStamps() {
	if len(b.stamps) > 0 {
		b.since, b.stamps = b.stamps[0].at, nil
	}
}

// lose notes that messages are gone, and returns how many of them were not known to be. The lock
// must be held.
func (b *buffer) lose(s span) (fresh uint64) {
	s.First = max(s.First, b.settled.Number+1)
	before := b.lost.count()
	b.lost = b.lost.with(s)
	b.tell()
	return b.lost.count() - before
}

// broadcast wakes whoever waits for a change. The lock must be held.
func (b *buffer) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// attach makes sure that the buffer knows its stream in the session of now.
func (b *buffer) attach(ctx context.Context) (*session, error) {
	n, err := b.store.open(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session == n {
		return n, nil
	}
	if b.former != nil {
		if err := b.former.close(); err != nil {
			return nil, err
		}
		b.former = nil
	}
	if err := b.learn(ctx, n); err != nil {
		n.suspect(ctx, err)
		if !bridge.IsPermanent(err) {
			err = n.failed(ctx, "open the buffer", err)
		}
		return nil, err
	}
	b.session = n
	b.keeper.begin()
	return n, nil
}

// learn finds out what the stream holds.
func (b *buffer) learn(ctx context.Context, n *session) error {
	saved, err := n.position(ctx, b.store.names.positionSubject(b.pipeline))
	if err != nil {
		if _, damaged := errors.AsType[*damageError](err); !damaged {
			return err
		}
		b.log.Warn("the position in the buffer is damaged: some messages may come again")
	}
	if err := b.ensureStream(ctx, n, saved); err != nil {
		return err
	}
	info, err := b.stream.Info(ctx)
	if err != nil {
		return err
	}
	newest, sum, err := n.lastRecord(ctx, info)
	if err != nil {
		return err
	}
	if b.opened {
		return b.relearn(newest, sum, info.State.LastSeq)
	}
	b.opened = true
	b.settled, b.last = saved.Settled, newest
	if saved.Epoch != b.epoch {
		b.settled = mark{}
		if saved.Epoch != "" {
			b.log.Warn("the buffer is not the one that the position is about, reading all of it", "held_then",
				saved.Last.Number-saved.Settled.Number)
		}
		if newest.Number > 0 {
			first, _, err := n.firstRecord(ctx, info)
			if err != nil {
				return err
			}
			b.settled = mark{Number: first.Number - 1}
		}
	} else if newest.Number < saved.Last.Number {
		// Numbers are never used twice, and the source will notice what is missing.
		b.last.Number = saved.Last.Number
	}
	if info.State.LastSeq < saved.Settled.Seq {
		b.settled.Seq = 0 // sequence numbers began anew
	}
	b.last.Seq = info.State.LastSeq
	b.settled.Number = min(b.settled.Number, b.last.Number)
	if saved.Epoch == b.epoch {
		_, b.lost = saved.Lost.cut(b.settled.Number)
	}
	b.known = b.lost.count()
	b.before, b.since, b.unseen = b.held(), info.State.FirstTime, b.dropsOldest()
	b.tell()
	if b.before > 0 {
		b.log.Info("the buffer holds messages from before", "n", b.before)
	}
	return nil
}

// relearn is for a buffer that has been attached before.
func (b *buffer) relearn(newest mark, sum uint32, lastSeq uint64) error {
	p := b.pending
	switch {
	case newest.Number <= b.last.Number:
		// What may be missing, the source notices.
	case p != nil && newest.Number == p.last && sum == p.sum:
		p.stored = true
		b.last.Number = newest.Number
	default:
		return bridge.Permanent(fmt.Errorf("another bridge writes to the buffer of pipeline %q: "+
			"let one of them have another state.nats.prefix", b.pipeline))
	}
	b.last.Seq = lastSeq
	if lastSeq < b.settled.Seq {
		b.settled.Seq = 0 // sequence numbers began anew
	}
	b.unseen = b.dropsOldest()
	b.tell()
	b.broadcast()
	return nil
}

// ensureStream makes the stream if it is missing, and adjusts its limits if they are not as
// configured.
func (b *buffer) ensureStream(ctx context.Context, n *session, saved position) error {
	config := jetstream.StreamConfig{
		Name: b.store.names.buffer(b.pipeline), Subjects: []string{b.store.names.bufferSubject(b.pipeline)},
		Description: "buffer of a pipeline of xrtcbridge",
		Discard:     jetstream.DiscardNew, MaxBytes: int64(b.settings.MaxBytes), AllowDirect: true,
		Replicas: b.store.settings.replicas(),
		Metadata: map[string]string{epochKey: saved.Epoch},
	}
	if b.dropsOldest() {
		config.Discard = jetstream.DiscardOld
	}
	stream, err := n.js.Stream(ctx, config.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		// If there was one whose description is damaged, making it anew with the same description
		// brings back what it holds.
		if saved.Epoch == "" {
			config.Metadata[epochKey] = strings.ToLower(rand.Text()[:13])
		}
	case err != nil:
		return err
	default:
		has := stream.CachedInfo().Config
		config.Metadata[epochKey] = has.Metadata[epochKey]
		if config.MaxBytes == 0 {
			config.MaxBytes = has.MaxBytes
		}
	}
	if stream, err = n.makeStream(ctx, config, "lower max_bytes of the buffer"); err != nil {
		return err
	}
	b.stream, b.epoch = stream, config.Metadata[epochKey]
	most := min(mostRecord, int(n.nc.MaxPayload())-1024) // what the server adds
	if limit := stream.CachedInfo().Config.MaxBytes; limit > 0 {
		b.limits.bytes = limit
		most = min(most, int(min(limit, 1<<30))/2)
	}
	b.limits.most, b.limits.record = most, min(most, recordSizeWanted)
	return nil
}

// position loads the position of a buffer.
func (n *session) position(ctx context.Context, subject string) (p position, err error) {
	data, err := n.load(ctx, subject)
	if len(data) > 0 {
		if e := json.Unmarshal(data, &p); e != nil {
			return position{}, &damageError{}
		}
	}
	return p, err
}

// close saves the position. It may be called again if that fails.
func (b *buffer) close() error {
	b.keeper.close()
	b.mu.Lock()
	n, former := b.session, b.former
	b.mu.Unlock()
	if former != nil {
		return former.close() // which nobody has followed yet
	}
	if n == nil || n.hasEnded() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout/2)
	defer cancel()
	return b.keeper.keep(ctx, true)
}

// settle notes that everything up to the mark, which was read in a session, is settled.
func (b *buffer) settle(n *session, m mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != n {
		m.Seq = b.settled.Seq // sequence numbers may have begun anew
	}
	b.settled = m
	gone, lost := b.lost.cut(m.Number)
	b.past, b.lost = b.past+gone, lost
	for len(b.stamps) > 0 && b.stamps[0].last <= m.Number {
		b.since, b.stamps = b.stamps[0].at, b.stamps[1:]
	}
	b.tell()
	b.keeper.wake()
}

func (b *buffer) dropsOldest() bool { return b.settings.WhenFull == bridge.OverflowDropOldest }
