package faulttest

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"testing"
)

// Ledger says what became of messages that [Payload] made. The zero value is
// empty. All methods may be called concurrently, and keep nothing of a payload. It
// takes 4 bits a message, if counters are dense, and some bytes a key.
type Ledger struct {
	AllowReorder bool // Check lets messages arrive in any order; to be set before use

	mu        sync.Mutex // guards what follows
	producers map[string]*producer
	report    Report   // without what must be computed: Lost and Unsure
	notes     []string // the first failures, for people
}

const maxNotes = 8

// producer is what is known of the messages of one producer in one run.
type producer struct {
	pages map[uint64]*page   // by counter / pageBits
	last  map[string]*uint64 // by key: the counter that was delivered last
}

const pageBits = 1024

type bitset [pageBits / 64]uint64

// page is what is known of pageBits messages.
type page struct{ sent, accepted, delivered, dead bitset }

// add sets a bit and reports whether that is news.
func (b *bitset) add(n uint64) bool {
	word, bit := &b[n%pageBits/64], uint64(1)<<(n%64)
	news := *word&bit == 0
	*word |= bit
	return news
}

func (b *bitset) has(n uint64) bool { return b[n%pageBits/64]&(1<<(n%64)) != 0 }

// Sent notes that a message is about to be sent. It must be called before the
// message can be delivered.
func (l *Ledger) Sent(payload []byte) {
	l.note(payload, "sent", func(_ *producer, pg *page, id identity) { l.sent(pg, id.n) })
}

// Accepted notes that the receiver has taken responsibility for a message,
// however often it says so. It implies Sent.
func (l *Ledger) Accepted(payload []byte) {
	l.note(payload, "accepted", func(_ *producer, pg *page, id identity) {
		l.sent(pg, id.n)
		if pg.accepted.add(id.n) {
			l.report.Accepted++
		}
	})
}

// Delivered notes that a message has arrived. Calls for the messages of one
// key must come in the order of arrival.
func (l *Ledger) Delivered(payload []byte) {
	l.note(payload, "delivered", func(p *producer, pg *page, id identity) {
		switch {
		case !pg.sent.has(id.n):
			l.corrupt("delivered, but nobody sent", payload)
		case pg.delivered.add(id.n):
			l.report.Delivered++
			l.order(p, id)
		default:
			l.report.Duplicated++
		}
	})
}

// DeadLettered notes that a message was put aside, which is no loss.
func (l *Ledger) DeadLettered(payload []byte) {
	l.note(payload, "dead-lettered", func(_ *producer, pg *page, id identity) {
		switch {
		case !pg.sent.has(id.n):
			l.corrupt("dead-lettered, but nobody sent", payload)
		case pg.dead.add(id.n):
			l.report.DeadLettered++
		}
	})
}

// Dropped notes that n more messages were given up and said to be: so many
// that are missing are not lost.
func (l *Ledger) Dropped(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Dropped += n
}

// Buffered notes that n messages are in a buffer now, replacing what was noted
// before: so many that are missing are not lost.
func (l *Ledger) Buffered(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.StillBuffered = n
}

// Report returns what is known by now. Lost and Unsure mean something only
// when nothing is on its way any more.
func (l *Ledger) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	missing := 0
	for _, p := range l.producers {
		for _, pg := range p.pages {
			for i := range pg.accepted {
				missing += bits.OnesCount64(pg.accepted[i] &^ pg.delivered[i] &^ pg.dead[i])
				r.Unsure += bits.OnesCount64(pg.delivered[i] &^ pg.accepted[i])
			}
		}
	}
	r.Lost = max(0, missing-r.Dropped-r.StillBuffered)
	return r
}

// Check fails the test if messages were lost, changed or moved, or if fewer
// than least were accepted, and says which. The test goes on.
func (l *Ledger) Check(t testing.TB, least int) {
	t.Helper()
	r := l.Report()
	ok := true
	fail := func(format string, args ...any) {
		t.Helper()
		ok = false
		t.Errorf(format, args...)
	}
	if r.Lost != 0 {
		fail("%d messages were lost, of these that are missing: %q", r.Lost, l.missing())
	}
	if r.Corrupt != 0 {
		fail("%d messages were corrupt", r.Corrupt)
	}
	if r.Reordered != 0 && !l.AllowReorder {
		fail("%d messages came out of order", r.Reordered)
	}
	if r.Accepted < least {
		fail("%d messages were accepted, fewer than %d", r.Accepted, least)
	}
	if ok {
		t.Logf("ledger: %s", r)
		return
	}
	t.Errorf("ledger: %s; first failures: %q", r, l.failures())
}

// note calls f with where the message is noted, or counts it as corrupt.
func (l *Ledger) note(payload []byte, what string, f func(*producer, *page, identity)) {
	id, ok := identify(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok {
		l.corrupt(what+", but changed", payload)
		return
	}
	p := l.producers[string(id.producer)]
	if p == nil {
		if l.producers == nil {
			l.producers = map[string]*producer{}
		}
		p = &producer{pages: map[uint64]*page{}, last: map[string]*uint64{}}
		l.producers[string(id.producer)] = p
	}
	pg := p.pages[id.n/pageBits]
	if pg == nil {
		pg = new(page)
		p.pages[id.n/pageBits] = pg
	}
	f(p, pg, id)
}

func (l *Ledger) sent(pg *page, n uint64) {
	if pg.sent.add(n) {
		l.report.Sent++
	}
}

func (l *Ledger) order(p *producer, id identity) {
	last := p.last[string(id.key)]
	if last == nil {
		last = new(uint64)
		p.last[string(id.key)] = last
	} else if id.n < *last {
		l.report.Reordered++
		l.remark("%s key %s: %d after %d", id.producer, id.key, id.n, *last)
	}
	*last = id.n
}

func (l *Ledger) corrupt(what string, payload []byte) {
	l.report.Corrupt++
	l.remark("%s: %d bytes, %.100q", what, len(payload), payload)
}

func (l *Ledger) remark(format string, args ...any) {
	if len(l.notes) < maxNotes {
		l.notes = append(l.notes, fmt.Sprintf(format, args...))
	}
}

func (l *Ledger) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notes)
}

// missing returns the first messages, as run|producer|n, that were accepted and did not arrive.
func (l *Ledger) missing() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, name := range slices.Sorted(maps.Keys(l.producers)) {
		pages := l.producers[name].pages
		for _, number := range slices.Sorted(maps.Keys(pages)) {
			pg := pages[number]
			for n := number * pageBits; n-number*pageBits < pageBits; n++ {
				if !pg.accepted.has(n) || pg.delivered.has(n) || pg.dead.has(n) {
					continue
				}
				if found = append(found, fmt.Sprintf("%s|%d", name, n)); len(found) == maxNotes {
					return found
				}
			}
		}
	}
	return found
}
