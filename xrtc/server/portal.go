package server

import (
	"cmp"
	"container/heap"
	"container/list"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// portal is a ring of items with a name. It belongs to the lock of its account.
type portal struct {
	ring
	count
	id    string
	place *list.Element // in byUse
}

// count numbers the items of a portal. It goes on when the portal goes and comes again, as long as
// the account remembers it; then another life begins.
type count struct {
	life int64  // random
	next uint64 // ord of the next item
}

// first is the ord of the oldest item held, or of the next one.
func (p *portal) first() uint64 { return p.next - uint64(p.n) }

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
		e := entry{
			seq: a.seq + 1, ord: p.next, ts: timestamp, at: now, text: append(texts[i].text, stamp...),
			held: texts[i].held,
		}
		before := p.size()
		p.push(e, a.server.limits.RingCapacity)
		a.bytes.Add(int64(p.size() - before))
		a.seq++
		p.next++
		a.byUse.MoveToBack(p.place)
	}
	a.makeRoom()
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

// rendered is the text of an item up to the timestamp, with room for it. Neighbours for one portal
// share memory, which is free when the last of them goes, and held is that.
type rendered struct {
	text []byte
	held int
}

func (a *account) render(items []wire.SetItem) ([]rendered, error) {
	texts := make([]rendered, len(items))
	for i := range items {
		size := wire.ItemSize(items[i].PortalID, items[i].Text)
		if size-wire.StampSlack+wire.AnswerOverhead+len("\n") > mostPayload {
			return nil, &refusal{
				group: groupApplication, code: codeParse,
				text: "payload: too large for an answer, of which 65536 bytes are the most",
			}
		}
		texts[i].held = size
		if i > 0 && string(items[i].PortalID) == string(items[i-1].PortalID) {
			texts[i].held += texts[i-1].held
			texts[i-1].held = 0
		}
	}
	var slab []byte
	for i := len(items) - 1; i >= 0; i-- {
		if held := texts[i].held; held > 0 {
			slab = make([]byte, held)
			texts[i].held += held / 8 // that the allocator rounds up, at the most
		}
		start := len(slab) - wire.ItemSize(items[i].PortalID, items[i].Text)
		texts[i].text = wire.AppendUnstamped(slab[start:start:len(slab)], items[i].PortalID, items[i].Text)
		slab = slab[:start]
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
	for full := len(a.portals) >= a.server.limits.PortalsCountMax; full && len(a.portals) > 0; {
		oldest := a.byUse.Front().Value.(*portal)
		if a.expire(oldest, now); oldest.n > 0 && len(a.portals) < a.server.limits.PortalsCountMax {
			break
		}
		a.drop(oldest)
	}
	p := &portal{id: string(id), count: a.gone[string(id)]}
	if p.life == 0 {
		p.life = 1 + rand.Int64N(1<<40)
	} else {
		delete(a.gone, p.id)
		a.bytes.Add(-goneSize)
	}
	a.portals[p.id] = p
	p.place = a.byUse.PushBack(p)
	a.bytes.Add(portalSize)
	return p
}

// drop throws a portal away, with its items.
func (a *account) drop(p *portal) {
	a.bytes.Add(-int64(p.size()) - portalSize)
	delete(a.portals, p.id)
	a.byUse.Remove(p.place)
	if len(a.gone) >= min(maxGone, a.server.limits.AccountMemory/(16*goneSize)) {
		a.bytes.Add(-int64(len(a.gone)) * goneSize)
		a.gone = make(map[string]count)
	}
	a.gone[p.id] = p.count
	a.bytes.Add(goneSize)
}

// maxGone bounds how many portals are remembered that are gone.
const maxGone = 10_000

// pop throws the oldest item of a portal away.
func (a *account) pop(p *portal) {
	before := p.size()
	p.pop()
	a.bytes.Add(int64(p.size() - before))
}

// expire throws items away that are too old.
func (a *account) expire(p *portal, now time.Duration) {
	for p.n > 0 && now-p.at(0).at > a.server.limits.ItemAgeMax {
		a.pop(p)
	}
}

// expireAll throws away all that is too old, portals that become empty included.
func (a *account) expireAll(now time.Duration) {
	for _, p := range a.portals {
		if a.expire(p, now); p.n == 0 {
			a.drop(p)
		}
	}
}

// makeRoom throws the oldest items of all portals away if the account takes too much, until an
// eighth of what is left for them is free, and the portals that become empty.
func (a *account) makeRoom() {
	room := a.room()
	if a.bytes.Load() <= room {
		return
	}
	var h byAge
	for _, p := range a.portals {
		if p.n == 0 {
			a.drop(p)
		} else {
			h = append(h, p)
		}
	}
	heap.Init(&h)
	for a.bytes.Load() > room/8*7 && len(h) > 0 {
		p := h[0]
		if a.pop(p); p.n == 0 {
			heap.Pop(&h)
			a.drop(p)
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

// latest returns the newest item of every portal but those, the portal written last first, as many
// as fit.
func (a *account) latest(except []string) [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.server.mono()
	var newest []*entry
	for id, p := range a.portals {
		if a.expire(p, now); p.n > 0 && !slices.Contains(except, id) {
			newest = append(newest, p.at(p.n-1))
		}
	}
	slices.SortFunc(newest, func(x, y *entry) int { return cmp.Compare(y.seq, x.seq) })
	f := a.newFit()
	for _, e := range newest {
		if !f.add(e.text) {
			break
		}
	}
	return f.texts
}

// fit collects the texts of items that an answer has room for.
type fit struct {
	texts  [][]byte
	places []byte // of the first item of each portal, as text
	room   int    // bytes
	most   int    // items
}

func (a *account) newFit() *fit {
	return &fit{room: a.server.limits.PayloadSizeMax - wire.AnswerOverhead - len("\n"), most: a.server.limits.ItemCountMax}
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
	id     string
	portal *portal
	pos    *count // of the next item to read
	from   int    // index of the oldest
	to     int    // index behind the newest
	placed bool   // the answer says where it begins
}

// claim takes what is new for the session and fits into an answer, and moves the positions behind
// it. The account is charged with size until giveBack; without memory for that, nothing is claimed.
func (a *account) claim(s *session, get *wire.Get) (texts [][]byte, places []byte, size int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.work.Load()+mostPayload > int64(a.server.limits.AccountMemory/2) {
		return nil, nil, 0, errMemory
	}
	now := a.server.mono()
	var space [4]unread
	all := space[:0]
	for i := range get.Portals {
		if u := a.unread(s, &get.Portals[i], get.Cutoff, now); u.from < u.to {
			all = append(all, u)
		}
	}
	if len(all) == 0 {
		return nil, nil, 0, nil
	}
	f := a.newFit()
	if get.Schedule == "FIFO" {
		f.oldestFirst(all)
	} else {
		f.newestFirst(all)
	}
	size = a.server.limits.PayloadSizeMax - f.room + len(f.places)
	a.work.Add(int64(size))
	return f.texts, f.places, size, nil
}

// unread looks up what the session has not read of a portal. A fresh session begins where the get
// says that its client is, or before everything held.
func (a *account) unread(s *session, want *wire.Portal, cutoff int64, now time.Duration) unread {
	p := a.portals[want.ID]
	if p == nil {
		return unread{}
	}
	a.expire(p, now)
	pos := s.position(p)
	switch {
	case pos.life == p.life:
	case want.After.Life == p.life:
		*pos = count{p.life, min(uint64(max(0, want.After.Number)), p.next)}
	default:
		*pos = count{p.life, 0}
	}
	pos.next = max(pos.next, p.first())
	u := unread{id: want.ID, portal: p, pos: pos, from: int(pos.next - p.first()), to: p.n}
	if cutoff >= 0 {
		for u.from < u.to && (now.Milliseconds()-p.at(u.from).at.Milliseconds()) > cutoff {
			u.from++
			pos.next++
		}
	}
	for u.from < u.to && p.at(u.from).ts < want.Since {
		u.from++
	}
	return u
}

// take adds an item of u, and the first time where it is.
func (f *fit) take(u *unread, e *entry) bool {
	if !f.add(e.text) {
		return false
	}
	if !u.placed {
		f.places = wire.AppendPlace(f.places, u.id, wire.Place{Life: u.portal.life, Number: int64(e.ord) + 1})
		u.placed = true
	}
	return true
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
		if !f.take(u, e) {
			return
		}
		u.pos.next = e.ord + 1
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
		*all[i].pos = all[i].portal.count
	}
	for len(all) > 0 {
		most := 0
		for i := range all[1:] {
			if all[i+1].newest().seq > all[most].newest().seq {
				most = i + 1
			}
		}
		u := &all[most]
		if !f.take(u, u.newest()) {
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
