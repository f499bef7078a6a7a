package xrtc

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"
)

// Cursor notes how far a reader has come in each portal, so that a later session can go on there.
// The zero value notes nothing. It is for one goroutine at a time, and can be marshalled.
//
// A Cursor notes the newest item of each portal: its place, if the server tells, its time, and the
// checksums of all items of that millisecond.
type Cursor struct {
	portals map[string]*mark
	last    string // the portal of the last item
	lastOne *mark
}

// mark is how far a portal has been read.
type mark struct {
	Place
	Time int64    // of the newest item, in milliseconds
	Sums []uint32 // of the items of that time
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(payload string) uint32 { return crc32.Checksum([]byte(payload), castagnoli) }

// Add notes an item, and with it all that came to its portal before. So items are added in the
// order in which they came there; with LIFO those that come together are added in reverse, once all
// are dealt with.
//
// It returns how many items of the portal were never seen between the one noted before and this
// one, if the server tells: they went from its ring because newer ones needed the room or they were
// too old, or MaxAge or LIFO left them out.
func (c *Cursor) Add(it *Item) (missed int64) {
	if c.lastOne == nil || c.last != it.PortalID {
		c.last, c.lastOne = it.PortalID, c.mark(it)
	}
	m, ts := c.lastOne, it.Time.UnixMilli()
	switch {
	case m.Life != it.Place.Life || m.Time-ts > clockSkew.Milliseconds(): // another server, which knows nothing of that one
		*m = mark{Time: ts, Sums: m.Sums[:0]}
	case m.Life > 0:
		missed = max(0, it.Place.Number-m.Number-1)
	}
	m.Place = it.Place
	switch {
	case ts < m.Time:
		return missed
	case ts > m.Time:
		m.Time, m.Sums = ts, m.Sums[:0]
	}
	if len(m.Sums) == maxSums { // a clock that stands still
		m.Sums = append(m.Sums[:0], m.Sums[maxSums/2:]...)
	}
	m.Sums = append(m.Sums, sum(it.Payload))
	return missed
}

// mark returns the mark of an item's portal, and makes it if there is none.
func (c *Cursor) mark(it *Item) *mark {
	m := c.portals[it.PortalID]
	if m != nil {
		return m
	}
	if len(c.portals) >= maxMarks { // portals come and go
		maps.DeleteFunc(c.portals, func(_ string, m *mark) bool { return it.Time.Sub(time.UnixMilli(m.Time)) > markAge })
	}
	if c.portals == nil {
		c.portals = make(map[string]*mark)
	}
	m = &mark{Place: Place{Life: it.Place.Life, Number: it.Place.Number - 1}}
	c.portals[it.PortalID] = m
	return m
}

// A cursor of so many portals forgets those that had no item for so long, which is longer than
// servers hold one.
const (
	maxMarks = 4096
	markAge  = 24 * time.Hour
)

// clockSkew is how much the clocks of the machines of one service may differ.
const clockSkew = 2 * time.Second

// maxSums bounds the checksums of one millisecond: portals hold fewer items.
const maxSums = 1 << 16

// forget makes every item of a portal a new one.
func (c *Cursor) forget(portal string) {
	delete(c.portals, portal)
	c.lastOne = nil
}

// Since returns the time of the newest item noted of a portal, the zero time if there is none.
func (c *Cursor) Since(portal string) time.Time {
	if m := c.portals[portal]; m != nil {
		return time.UnixMilli(m.Time)
	}
	return time.Time{}
}

// Count returns how many items equal to it are noted of its millisecond, if that is the newest of
// its portal, and else 0.
func (c *Cursor) Count(it *Item) (n int) {
	m := c.portals[it.PortalID]
	if m == nil || m.Time != it.Time.UnixMilli() {
		return 0
	}
	want := sum(it.Payload)
	for _, s := range m.Sums {
		if s == want {
			n++
		}
	}
	return n
}

// Clone returns a copy.
func (c *Cursor) Clone() *Cursor {
	d := new(Cursor)
	if c == nil {
		return d
	}
	d.portals = make(map[string]*mark, len(c.portals))
	for id, m := range c.portals {
		d.portals[id] = &mark{m.Place, m.Time, slices.Clone(m.Sums)}
	}
	return d
}

// MarshalJSON returns the cursor in a form for UnmarshalJSON.
func (c Cursor) MarshalJSON() ([]byte, error) { return json.Marshal(c.portals) }

// UnmarshalJSON sets the cursor to what MarshalJSON returned.
func (c *Cursor) UnmarshalJSON(text []byte) error {
	portals := make(map[string]*mark)
	if err := json.Unmarshal(text, &portals); err != nil {
		return fmt.Errorf("read cursor: %w", err)
	}
	maps.DeleteFunc(portals, func(_ string, m *mark) bool { return m == nil })
	*c = Cursor{portals: portals}
	return nil
}

// taken reports whether the item has been noted already, by its time and checksum, and then forgets
// that, so that an equal item is new.
func (c *Cursor) taken(it *Item) bool {
	m := c.portals[it.PortalID]
	if m == nil {
		return false
	}
	ts := it.Time.UnixMilli()
	if ts != m.Time {
		return ts < m.Time
	}
	i := slices.Index(m.Sums, sum(it.Payload))
	if i < 0 {
		return false
	}
	m.Sums = slices.Delete(m.Sums, i, i+1)
	return true
}
