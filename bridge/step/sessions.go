package step

import (
	"container/heap"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// sessions is a heap, by when they end if nothing came since they were looked at.
type sessions []session

type session struct {
	at int64
	*cell
}

func (s sessions) Len() int           { return len(s) }
func (s sessions) Less(i, k int) bool { return s[i].at < s[k].at }
func (s sessions) Swap(i, k int) {
	s[i], s[k] = s[k], s[i]
	s[i].place, s[k].place = i, k
}

func (s *sessions) Push(x any) {
	next := x.(session)
	next.place = len(*s)
	*s = append(*s, next)
}

func (s *sessions) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	(*s)[last] = session{}
	*s = (*s)[:last]
	return x
}

// touches reports whether a message of that time and c are in one session.
func (w *window) touches(c *cell, at int64) bool { return at > c.first-w.gap && at < c.last+w.gap }

// session returns the session of s that a message of that time belongs to, nil if there is none.
// One that would become too long ends in front of it.
func (w *window) session(s *series, at int64, out *bridge.Output) *cell {
	for i := 0; s != nil && i < len(s.cells); i++ {
		c := s.cells[i]
		switch {
		case !w.touches(c, at):
		case max(at, c.last)-min(at, c.first) < int64(w.MaxSession):
			return c
		default:
			w.write(out, c, c.first, c.last, ends{partial: true})
			w.drop(c)
			i--
		}
	}
	return nil
}

// join makes one of c and the sessions that it has come to touch.
func (w *window) join(s *series, c *cell) {
	for len(s.cells) > 1 {
		i := slices.IndexFunc(s.cells, func(o *cell) bool {
			return o != c && o.first < c.last+w.gap && c.first < o.last+w.gap &&
				max(o.last, c.last)-min(o.first, c.first) < int64(w.MaxSession)
		})
		if i < 0 {
			return
		}
		other := s.cells[i]
		w.together(c, other)
		if other.debt.call < c.debt.call {
			c.debt, other.debt = other.debt, c.debt
		}
		c.bytes, other.bytes = c.bytes+other.bytes, 0
		w.drop(other)
	}
}

// closeSessions ends the sessions that have had no message for long, or all.
func (w *window) closeSessions(mark int64, partial bool, out *bridge.Output) {
	for len(w.ends) > 0 && w.ends[0].at <= mark {
		c := w.ends[0].cell
		if end := c.last + w.gap; end > mark {
			w.ends[0].at = end
			heap.Fix(&w.ends, 0)
			continue
		}
		w.write(out, c, c.first, c.last, ends{partial: partial})
		w.drop(c)
	}
}
