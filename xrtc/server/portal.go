package server

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// portal is a ring of items with a name. It belongs to the lock of its account.
type portal struct {
	ring
	next   uint64 // ord of the next item; it goes on counting when the portal goes and comes again
	newest uint64 // seq of the last item
}

// first is the ord of the oldest item held, or of the next one.
func (p *portal) first() uint64 { return p.next - uint64(p.n) }

// entryOverhead is what an entry takes beside its text, about.
const entryOverhead = 64

// perItemSlab is how many bytes of items for several portals share memory, which lives as long as one of them.
const perItemSlab = 4 << 10

// set puts the items into their portals and wakes who waits for them. All or none is taken.
func (a *account) set(items []wire.SetItem) (timestamp int64, err error) {
	texts, err := a.render(items)
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.server.mono()
	timestamp = a.tick()
	var space [64]byte
	stamp := wire.AppendStamp(space[:0], timestamp)
	for i := range items {
		p := a.portal(items[i].PortalID, now)
		text := append(texts[i], stamp...)
		a.seq++
		a.bytes += len(text) + entryOverhead
		if freed := p.push(entry{seq: a.seq, ord: p.next, ts: timestamp, at: now, text: text}, a.server.limits.RingCapacity); freed > 0 {
			a.bytes -= freed + entryOverhead
		}
		p.next++
		p.newest = a.seq
	}
	if a.bytes > a.server.limits.AccountMemory {
		a.trim()
	}
	for i := range items {
		if i > 0 && string(items[i].PortalID) == string(items[i-1].PortalID) {
			continue
		}
		for w := range a.waiting[string(items[i].PortalID)] {
			w.wake()
		}
	}
	return timestamp, nil
}

// render makes the texts of the items up to the timestamp, with room for it.
func (a *account) render(items []wire.SetItem) ([][]byte, error) {
	sizes, total, same := make([]int, len(items)), 0, true
	for i := range items {
		sizes[i] = wire.ItemSize(items[i].PortalID, items[i].Text)
		if sizes[i]-wire.StampSlack+wire.AnswerOverhead+len("\n") > mostPayload {
			return nil, &refusal{group: groupApplication, code: codeParse, text: "payload: too large for an answer, of which 65536 bytes are the most"}
		}
		total += sizes[i]
		same = same && string(items[i].PortalID) == string(items[0].PortalID)
	}
	texts := make([][]byte, len(items))
	var slab []byte
	if same || total <= perItemSlab {
		slab = make([]byte, 0, total)
	}
	for i := range items {
		if slab == nil {
			texts[i] = wire.AppendUnstamped(make([]byte, 0, sizes[i]), items[i].PortalID, items[i].Text)
			continue
		}
		start, end := len(slab), len(slab)+sizes[i]
		texts[i] = wire.AppendUnstamped(slab[start:start:end], items[i].PortalID, items[i].Text)
		slab = slab[:end]
	}
	return texts, nil
}

// time is tick for callers that do not hold the lock.
func (a *account) time() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tick()
}

// tick returns the time for a timestamp, which never goes back.
func (a *account) tick() int64 {
	a.lastTS = max(a.lastTS, a.server.now().UnixMilli())
	return a.lastTS
}

// portal returns the portal of that name, and makes it if it is not there.
func (a *account) portal(id []byte, now time.Duration) *portal {
	if p := a.portals[string(id)]; p != nil {
		return p
	}
	if len(a.portals) >= a.server.limits.PortalsCountMax {
		a.expireAll(now)
	}
	for len(a.portals) >= a.server.limits.PortalsCountMax {
		var oldest string
		for id, p := range a.portals {
			if oldest == "" || p.newest < a.portals[oldest].newest {
				oldest = id
			}
		}
		a.drop(oldest)
	}
	p := &portal{next: a.gone[string(id)]}
	delete(a.gone, string(id))
	a.portals[string(id)] = p
	return p
}

// drop throws a portal away, with its items.
func (a *account) drop(id string) {
	p := a.portals[id]
	for p.n > 0 {
		a.bytes -= p.pop() + entryOverhead
	}
	delete(a.portals, id)
	if len(a.gone) >= maxGone {
		clear(a.gone)
	}
	a.gone[id] = p.next
}

// maxGone bounds how many portals are remembered that are gone, for telling sessions what they missed.
const maxGone = 10_000

// bounds returns the ord of the oldest item held of a portal, and of the next one.
func (a *account) bounds(id string) (first, next uint64) {
	if p := a.portals[id]; p != nil {
		return p.first(), p.next
	}
	return a.gone[id], a.gone[id]
}

// expire throws items away that are too old.
func (a *account) expire(p *portal, now time.Duration) {
	for p.n > 0 && now-p.at(0).at > a.server.limits.ItemAgeMax {
		a.bytes -= p.pop() + entryOverhead
	}
}

// expireAll throws away all that is too old, portals that become empty included.
func (a *account) expireAll(now time.Duration) {
	for id, p := range a.portals {
		if a.expire(p, now); p.n == 0 {
			a.drop(id)
		}
	}
}

// trim throws the oldest items of all portals away until an eighth of the memory is free.
func (a *account) trim() {
	var h byAge
	for _, p := range a.portals {
		if p.n > 0 {
			h = append(h, p)
		}
	}
	heap.Init(&h)
	for a.bytes > a.server.limits.AccountMemory/8*7 && len(h) > 0 {
		a.bytes -= h[0].pop() + entryOverhead
		if h[0].n == 0 {
			heap.Pop(&h)
		} else {
			heap.Fix(&h, 0)
		}
	}
}

// byAge is a heap of portals, the one with the oldest item first.
type byAge []*portal

func (h byAge) Len() int           { return len(h) }
func (h byAge) Less(i, j int) bool { return h[i].ring.at(0).seq < h[j].ring.at(0).seq }
func (h byAge) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byAge) Push(p any)        { *h = append(*h, p.(*portal)) }
func (h *byAge) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	*h = (*h)[:last]
	return p
}

// latest returns the newest item of every portal, the portal written last first, as many as fit.
func (a *account) latest() [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.server.mono()
	var newest []*entry
	for _, p := range a.portals {
		if a.expire(p, now); p.n > 0 {
			newest = append(newest, p.at(p.n-1))
		}
	}
	slices.SortFunc(newest, func(x, y *entry) int { return cmp.Compare(y.seq, x.seq) })
	f := a.newFit(false)
	for _, e := range newest {
		if !f.add(e.text) {
			break
		}
	}
	return f.texts
}

// fit collects the texts of items that an answer has room for.
type fit struct {
	texts [][]byte
	room  int // bytes
	most  int // items
}

func (a *account) newFit(tells bool) *fit {
	f := &fit{room: a.server.limits.PayloadSizeMax - wire.AnswerOverhead - len("\n"), most: a.server.limits.ItemCountMax}
	if tells {
		f.room -= wire.MissedSize
	}
	return f
}

// add adds an item if there is room. The first always fits.
func (f *fit) add(text []byte) bool {
	size := len(text)
	if len(f.texts) > 0 {
		size++ // a comma
		if size > f.room || len(f.texts) == f.most {
			return false
		}
	}
	f.room -= size
	f.texts = append(f.texts, text)
	return true
}

// unread is what a session has not read of a portal.
type unread struct {
	portal *portal
	pos    *uint64 // ord of the next item to read
	from   int     // index of the oldest
	to     int     // index behind the newest
}

// claim takes what is new for the session and fits into an answer, and moves the
// positions behind it. missed counts items that went before they could be claimed; tells leaves room for that number.
func (a *account) claim(s *session, get *wire.Get, tells bool) (texts [][]byte, missed int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.server.mono()
	var space [4]unread
	all := space[:0]
	for i := range get.Portals {
		u, lost := a.unread(s, &get.Portals[i], get.Cutoff, now)
		missed += lost
		if u.from < u.to {
			all = append(all, u)
		}
	}
	if len(all) == 0 {
		return nil, missed
	}
	f := a.newFit(tells)
	if get.Schedule == "FIFO" {
		f.oldestFirst(all)
	} else {
		f.newestFirst(all)
	}
	return f.texts, missed
}

// unread looks up what the session has not read of a portal, and how much it missed.
func (a *account) unread(s *session, want *wire.Portal, cutoff int64, now time.Duration) (u unread, missed int64) {
	p := a.portals[want.ID]
	if p != nil {
		a.expire(p, now)
	}
	first, next := a.bounds(want.ID)
	pos := s.position(want.ID)
	switch {
	case pos == nil: // a fresh session begins before everything held, and has missed nothing
		pos = &first
		s.positions[want.ID] = pos
	case *pos < first:
		missed, *pos = int64(first-*pos), first
	case *pos > next: // the portal was forgotten, and counts from the beginning
		*pos = first
	}
	if p == nil {
		return u, missed
	}
	u = unread{portal: p, pos: pos, from: int(*pos - p.first()), to: p.n}
	if cutoff >= 0 {
		for u.from < u.to && (now.Milliseconds()-p.at(u.from).at.Milliseconds()) > cutoff {
			u.from++
			*pos++
		}
	}
	for u.from < u.to && p.at(u.from).ts < want.Since {
		u.from++
	}
	return u, missed
}

// oldestFirst takes items in the order of their arrival. What does not fit stays.
func (f *fit) oldestFirst(all []unread) {
	for len(all) > 0 {
		least := 0
		for i := range all[1:] {
			if all[i+1].oldest().seq < all[least].oldest().seq {
				least = i + 1
			}
		}
		u := &all[least]
		e := u.oldest()
		if !f.add(e.text) {
			return
		}
		*u.pos = e.ord + 1
		if u.from++; u.from == u.to {
			all = slices.Delete(all, least, least+1)
		}
	}
}

func (u *unread) oldest() *entry { return u.portal.at(u.from) }
func (u *unread) newest() *entry { return u.portal.at(u.to - 1) }

// newestFirst takes items against the order of their arrival. What does not fit is passed over.
func (f *fit) newestFirst(all []unread) {
	for i := range all {
		*all[i].pos = all[i].portal.next
	}
	for len(all) > 0 {
		most := 0
		for i := range all[1:] {
			if all[i+1].newest().seq > all[most].newest().seq {
				most = i + 1
			}
		}
		u := &all[most]
		if !f.add(u.newest().text) {
			return
		}
		if u.to--; u.from == u.to {
			all = slices.Delete(all, most, most+1)
		}
	}
}

// waiter is a get that waits for items.
type waiter struct{ signal chan struct{} } // holds one after something came

func (w *waiter) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// wait registers a waiter for the portals. The returned function ends that.
func (a *account) wait(portals []wire.Portal) (*waiter, func()) {
	w := &waiter{signal: make(chan struct{}, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range portals {
		if a.waiting[p.ID] == nil {
			a.waiting[p.ID] = make(map[*waiter]struct{})
		}
		a.waiting[p.ID][w] = struct{}{}
	}
	return w, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, p := range portals {
			delete(a.waiting[p.ID], w)
			if len(a.waiting[p.ID]) == 0 {
				delete(a.waiting, p.ID)
			}
		}
	}
}
