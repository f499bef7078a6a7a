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

	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

// gapEvery is the least time between two lines of the log about gaps.
const gapEvery = time.Second

var _ bridge.Source = (*source)(nil)

// source gets items. A goroutine receives them into a queue, and Read takes what is there.
type source struct {
	*connection
	set    *SourceSettings
	env    bridge.Env
	queue  *queue
	ids    identifier
	mu     sync.Mutex  // guards cursor once something was received
	cursor *sdk.Cursor // of what is acknowledged
	saver  *bridge.Saver
	gap    gap

	stop      context.CancelFunc
	receiving sync.WaitGroup
	close     func() error
}

func (r *keyring) openSource(ctx context.Context, set *SourceSettings, env bridge.Env) (bridge.Source, error) {
	s := &source{set: set, env: env, queue: newQueue(int(set.Buffer)), cursor: new(sdk.Cursor)}
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
		Portals:  sdk.Portals(s.set.Portals...),
		Mode:     sdk.Mode(s.set.Mode),
		Every:    s.set.Interval,
		Schedule: sdk.Schedule(s.set.Schedule),
		MaxAge:   s.set.Cutoff,
		After:    s.cursor,
		Missed:   s.missed,
	}
	for items, err := range s.StreamBatches(ctx, request) {
		if err != nil {
			s.queue.end(classify(err))
			return
		}
		if !s.queue.add(ctx, items) {
			return
		}
	}
	s.queue.end(context.Canceled)
}

// missed counts items that were gone before they could be read, and logs that now and then.
func (s *source) missed(n int64) {
	s.env.Dropped(int(n))
	if sum, ok := s.gap.add(n, time.Now()); ok {
		s.env.Logger.Warn("items went from their portal before they could be read: the pipeline is slower than the portals are written",
			"n", sum)
	}
}

// gap adds up what was missed between two lines of the log.
type gap struct {
	n      int64
	logged time.Time
}

func (g *gap) add(n int64, now time.Time) (sum int64, due bool) {
	g.n += n
	if now.Sub(g.logged) < gapEvery {
		return 0, false
	}
	sum, g.n, g.logged = g.n, 0, now
	return sum, true
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
			refused = append(refused, bridge.Refusal{Index: i, Err: fmt.Errorf("decode payload of portal %s: %w", it.PortalID, err)})
		}
	}
	return batch, refused
}

// ack notes what was delivered.
func (s *source) ack(items []sdk.Item) bridge.Ack {
	return func(ctx context.Context, refused error) error {
		if refused != nil {
			return nil //nolint:nilerr // there is nothing to do: whoever reads next begins behind what was acknowledged
		}
		s.mu.Lock()
		for i := range items {
			s.cursor.Add(&items[i])
		}
		s.mu.Unlock()
		return s.saver.Delivered(ctx)
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
	s.connection.close()
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
