package xrtc

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

var _ bridge.Source = (*source)(nil)

// source gets items. A goroutine receives them into a queue, and Read takes what is there.
type source struct {
	*connection
	set   *SourceSettings
	env   bridge.Env
	queue *queue
	ids   identifier
	saver *bridge.Saver

	mu     sync.Mutex  // guards what follows, once something was received
	cursor *sdk.Cursor // of what is acknowledged
	lots   []int       // with LIFO, how many items came together
	held   []sdk.Item  // acknowledged, and not noted since older ones that came with them are not
	lost   int64       // items that the log has not told
	warn   rate.Sometimes

	stop      context.CancelFunc
	receiving sync.WaitGroup
	close     func() error
}

func (r *keyring) openSource(ctx context.Context, set *SourceSettings, env bridge.Env) (bridge.Source, error) {
	s := &source{
		set: set, env: env, queue: newQueue(int(set.Buffer)), cursor: new(sdk.Cursor),
		warn: rate.Sometimes{Interval: time.Second},
	}
	s.saver = bridge.NewSaver(env, s.state)
	state, err := env.Checkpoint.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load checkpoint: %w", err)
	}
	if len(state) > 0 {
		if err := json.Unmarshal(state, s.cursor); err != nil {
			return nil, bridge.Permanent(fmt.Errorf("load checkpoint: %w", err))
		}
	}
	if s.connection, err = r.connect(ctx, &set.ClientSettings, env, true, 0); err != nil {
		return nil, err
	}
	s.ids.prefix, s.ids.before = s.name, s.cursor.Clone()
	receiving, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.close = sync.OnceValue(s.shut)
	s.receiving.Go(func() { s.receive(receiving) })
	return s, nil
}

// receive puts what comes into the queue until ctx is done or there is an error.
func (s *source) receive(ctx context.Context) {
	request := sdk.GetRequest{
		All:      s.set.all(),
		Mode:     sdk.Mode(s.set.Mode),
		Every:    s.set.Interval,
		Schedule: sdk.Schedule(s.set.Schedule),
		MaxAge:   s.set.Cutoff,
		After:    s.cursor,
	}
	if !request.All {
		request.Portals = sdk.Portals(s.set.Portals...)
	}
	for items, err := range s.StreamBatches(ctx, request) {
		if err != nil {
			s.queue.end(classify(err))
			return
		}
		if s.set.lifo() {
			s.mu.Lock()
			s.lots = append(s.lots, len(items))
			s.mu.Unlock()
		}
		if !s.queue.add(ctx, items) {
			return
		}
	}
	s.queue.end(context.Canceled)
}

// missed counts items that will never be read, and logs them at most once a second.
func (s *source) missed(n int64) {
	s.env.Dropped(int(n))
	if s.lost += n; s.set.lifo() || s.set.Cutoff > 0 {
		return
	}
	s.warn.Do(func() {
		s.env.Logger.Warn("items went from their portal before they could be read: "+
			"the pipeline is slower than the portals are written, or was away", "n", s.lost)
		s.lost = 0
	})
}

// Read returns what has arrived.
func (s *source) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	items, err := s.queue.take(ctx, s.env.MaxBatch)
	if err != nil {
		return nil, nil, err
	}
	batch, refused := s.messages(items)
	if len(refused) > 0 {
		return batch, s.ack(items), refused
	}
	return batch, s.ack(items), nil
}

// messages makes messages of items. One that cannot be decoded is refused, and holds the payload as
// it is.
func (s *source) messages(items []sdk.Item) (bridge.Batch, bridge.Refusals) {
	var refused bridge.Refusals
	size := 0
	for i := range items {
		size += len(items[i].Payload)
	}
	slab := make([]byte, 0, size)
	batch := make(bridge.Batch, len(items))
	s.ids.begin(items)
	for i := range items {
		it, m := &items[i], &batch[i]
		start := len(slab)
		slab = append(slab, it.Payload...)
		*m = bridge.Message{ID: s.ids.next(it), Topic: it.PortalID, Payload: slab[start:len(slab):len(slab)], Time: it.Time}
		payload, err := decode(s.set.Decode, m.Payload)
		if err == nil {
			m.Payload = payload
			if s.set.Envelope {
				err = unseal(m)
			}
		}
		if err != nil {
			refused = append(refused, bridge.Refusal{
				Index: i,
				Err:   fmt.Errorf("decode payload of portal %s: %w", it.PortalID, err),
			})
		}
	}
	return batch, refused
}

// ack notes what was delivered.
func (s *source) ack(items []sdk.Item) bridge.Ack {
	return func(ctx context.Context, refused error) error {
		n := bridge.Settled(len(items), refused)
		if refused != nil && s.set.lifo() {
			n = 0 // a place in a portal says nothing of what is behind it
		}
		if n == 0 {
			return nil // whoever reads next begins behind what was acknowledged
		}
		s.note(items[:n])
		return s.saver.Delivered(ctx)
	}
}

// note notes what was delivered. What came together newest first is noted when all of it was, for a
// cursor holds one place in each portal.
func (s *source) note(items []sdk.Item) {
	missed := int64(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set.lifo() {
		s.held, items = append(s.held, items...), nil
	}
	for i := range items {
		missed += s.cursor.Add(&items[i])
	}
	for ; len(s.lots) > 0 && s.lots[0] <= len(s.held); s.lots = s.lots[1:] {
		for i := s.lots[0] - 1; i >= 0; i-- {
			missed += s.cursor.Add(&s.held[i])
		}
		s.held = s.held[s.lots[0]:]
	}
	if missed > 0 {
		s.missed(missed)
	}
}

func (s *source) state() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.cursor)
}

// Close ends the requests, and saves how far the pipeline has come.
func (s *source) Close() error { return s.close() }

func (s *source) shut() error {
	s.stop()
	s.queue.end(errClosed)
	s.receiving.Wait()
	_ = s.connection.Close()
	return s.saver.Close(context.Background())
}

// identifier makes message ids that stay the same when an item comes again, in this instance or the
// next: of server and account, portal, time, the checksum of the payload, and how many equal items
// came before in the same millisecond.
type identifier struct {
	prefix string
	before *sdk.Cursor // of what was acknowledged when the instance was opened
	text   strings.Builder

	// How many equal items have come. There are two maps, of which the older one is forgotten when
	// the newer one is full: items of one millisecond come near each other.
	equal, older map[likeness]int
}

// likeness is what equal items have in common.
type likeness struct {
	portal string
	time   int64
	sum    uint32
}

const mostLikenesses = 1 << 15

// begin makes room for the ids of a batch, which share their memory.
func (d *identifier) begin(items []sdk.Item) {
	d.text = strings.Builder{}
	size := 0
	for i := range items {
		size += len(d.prefix) + len(items[i].PortalID) + len("-01234567890123-01234567-012345")
	}
	d.text.Grow(size)
}

func (d *identifier) next(it *sdk.Item) string {
	like := likeness{it.PortalID, it.Time.UnixMilli(), crc32.ChecksumIEEE([]byte(it.Payload))}
	n := d.count(like, it)
	start := d.text.Len()
	var digits [20]byte
	d.text.WriteString(d.prefix)
	d.text.WriteString(it.PortalID)
	d.text.WriteByte('-')
	d.text.Write(strconv.AppendInt(digits[:0], like.time, 36))
	d.text.WriteByte('-')
	d.text.Write(strconv.AppendUint(digits[:0], uint64(like.sum), 36))
	if n > 0 {
		d.text.WriteByte('-')
		d.text.Write(strconv.AppendInt(digits[:0], int64(n), 36))
	}
	return d.text.String()[start:]
}

// count returns how many items came before that are equal to it.
func (d *identifier) count(like likeness, it *sdk.Item) int {
	n, known := d.equal[like]
	if !known {
		n, known = d.older[like]
	}
	if !known && d.before != nil {
		n = d.before.Count(it)
	}
	if d.equal == nil || len(d.equal) == mostLikenesses {
		d.equal, d.older = make(map[likeness]int), d.equal
	}
	d.equal[like] = n + 1
	return n
}
