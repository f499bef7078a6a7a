package xrtc

import (
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Item is a text in a portal.
type Item struct {
	PortalID string // 1 to 32 letters and digits
	Payload  string // UTF-8

	// Time is when the server got the item, in milliseconds. Set ignores it, and Place.
	Time  time.Time
	Place Place
}

// Place says where in its portal an item is: which one it is in one life of the portal, from 1 on
// and without gaps. Lives are random, and another one begins when the server does. Only servers of
// this package tell; others leave it zero.
type Place struct{ Life, Number int64 }

// Mode says how long a get waits for items.
type Mode string

// The modes of a get.
const (
	Probe  Mode = "probe"  // returns what is there, or nothing, at once
	Watch  Mode = "watch"  // waits for the first item, up to GET_ITEM_TIMEOUT
	Stream Mode = "stream" // goes on returning items until GET_ITEM_TIMEOUT is over
)

// Schedule is the order of items.
type Schedule string

// The schedules. With LIFO, old items that an answer has no room for are passed over.
const (
	LIFO Schedule = "LIFO" // newest first
	FIFO Schedule = "FIFO" // oldest first
)

// Portal is a portal to get items from.
type Portal struct {
	ID string

	// Since leaves items out that the server got before, to the millisecond. Zero is no bound.
	Since time.Time
}

// Portals names portals.
func Portals(ids ...string) []Portal {
	all := make([]Portal, len(ids))
	for i, id := range ids {
		all[i].ID = id
	}
	return all
}

// GetRequest says which items to get. The zero value asks for the latest item of every portal.
type GetRequest struct {
	// Portals are the portals to get new items from. None means the latest item of every portal, be
	// it new or not, the portal written last first; then Get answers at once. A server other than
	// those of this package leaves out what does not fit into one answer.
	Portals []Portal

	// All makes Client.Stream get every portal of the account. It looks for new ones before each
	// request, at most once in Every; so it may take GET_ITEM_TIMEOUT until one is found, whose
	// items come all the same.
	All bool

	Mode     Mode     // empty: Probe for Get, Stream for Client.Stream
	Schedule Schedule // empty: LIFO for Get, FIFO for Client.Stream

	// MaxAge leaves out items that are older when the answer is made (cutoff), to the millisecond.
	// 0 is no bound.
	MaxAge time.Duration

	// Every is the time from one probe to the next when Client.Stream is used with mode Probe, and
	// from one look for new portals to the next with All; 0 is a second.
	Every time.Duration

	// Once makes Client.Stream end with the server's answer, after GET_ITEM_TIMEOUT.
	Once bool

	// After makes Client.Stream go on behind what it notes; nil begins with all that the server
	// holds.
	After *Cursor
}

func (r *GetRequest) check() error {
	for _, p := range r.Portals {
		if bad := wire.CheckPortalID(p.ID); bad != "" {
			return fmt.Errorf("portal id %q: %s", p.ID, bad)
		}
	}
	switch r.Mode {
	case "", Probe, Watch, Stream:
	default:
		return fmt.Errorf("mode %q: %s, %s or %s is wanted", r.Mode, Probe, Watch, Stream)
	}
	switch r.Schedule {
	case "", LIFO, FIFO:
	default:
		return fmt.Errorf("schedule %q: %s or %s is wanted", r.Schedule, LIFO, FIFO)
	}
	if r.MaxAge < 0 {
		return fmt.Errorf("max age %v: it cannot be negative", r.MaxAge)
	}
	return nil
}

// wire returns the request as it is sent.
func (r *GetRequest) wire(mode Mode, schedule Schedule) *wire.Get {
	g := &wire.Get{Mode: string(mode), Schedule: string(schedule), Cutoff: wire.DefaultCutoff}
	if r.Mode != "" {
		g.Mode = string(r.Mode)
	}
	if r.Schedule != "" {
		g.Schedule = string(r.Schedule)
	}
	if r.MaxAge > 0 {
		g.Cutoff = max(1, r.MaxAge.Milliseconds())
	}
	for _, p := range r.Portals {
		since := int64(0)
		if !p.Since.IsZero() {
			since = p.Since.UnixMilli()
		}
		g.Portals = append(g.Portals, wire.Portal{ID: p.ID, Since: since})
	}
	return g
}
