package step

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// end returns when a cell ends: of a pane, the last window that it is in; of a session, its last
// message.
func (w *window) end(c *cell) int64 {
	if w.gap > 0 {
		return c.last
	}
	return c.start + w.size
}

// cellSize returns about how many bytes a cell takes beside what it keeps of its values.
func (w *window) cellSize(key string) bridge.Size {
	return bridge.Size(256 + 2*len(key) + 224*len(w.values))
}

// begin begins a cell.
func (w *window) begin(s *series, at int64, late bool, out *bridge.Output) *cell {
	c := &cell{
		of: s, start: at, figures: make([]figure, len(w.values)), debt: w.debts.owe(out), bytes: w.cellSize(s.key),
	}
	w.bytes += c.bytes
	if w.gap == 0 {
		c.start = w.paneOf(at)
	}
	if late { // nobody else needs to know
		w.late = append(w.late, c)
		return c
	}
	i, _ := s.at(c.start)
	s.cells = slices.Insert(s.cells, i, c)
	w.series[s.key] = s
	if w.gap > 0 {
		heap.Push(&w.ends, session{at + w.gap, c})
		return c
	}
	k, found := slices.BinarySearchFunc(w.rounds, c.start,
		func(r *round, start int64) int { return cmp.Compare(r.start, start) })
	if !found {
		w.rounds = slices.Insert(w.rounds, k, &round{start: c.start})
	}
	w.rounds[k].cells = append(w.rounds[k].cells, c)
	return c
}

// drop forgets a cell.
func (w *window) drop(c *cell) {
	w.bytes -= c.bytes
	w.debts.pay(c.debt)
	s := c.of
	switch i := slices.Index(s.cells, c); i {
	case -1: // it was late
		return
	case 0:
		s.cells = s.cells[1:]
	default:
		s.cells = slices.Delete(s.cells, i, i+1)
	}
	if w.gap > 0 {
		heap.Remove(&w.ends, c.place)
	}
	if len(s.cells) == 0 {
		delete(w.series, s.key)
	}
}

// next returns the end of the aligned window that ends next; never if there is none.
func (w *window) next() int64 {
	if len(w.rounds) == 0 {
		return never
	}
	end := w.rounds[0].start + w.every
	if end <= w.closed {
		end = w.closed + w.every
	}
	return end
}

// close ends the windows that end up to that time.
func (w *window) close(mark int64, out *bridge.Output) {
	if w.gap > 0 {
		w.closeSessions(mark, false, out)
		w.closed = max(w.closed, mark)
		return
	}
	for end := w.next(); end <= mark; end = w.next() {
		w.endAt(end, out, ends{})
	}
	w.closed = max(w.closed, w.paneOf(mark))
}

// flush ends all windows, so that each message is in one. Time goes on where it is.
func (w *window) flush(out *bridge.Output) {
	if w.gap > 0 {
		w.closeSessions(never, true, out)
		return
	}
	closed := w.closed
	if k := len(w.rounds); k > 0 {
		last := w.rounds[k-1].start + w.every
		for end := w.next(); end <= last; end = w.next() {
			w.endAt(end, out, ends{partial: true})
		}
	}
	for _, r := range w.rounds { // which have been in a window
		for _, c := range r.cells {
			w.drop(c)
		}
	}
	w.rounds, w.closed = nil, closed
}

// endAt writes the windows that end there, and forgets panes of which that was the last one.
func (w *window) endAt(end int64, out *bridge.Output, how ends) {
	for _, r := range w.rounds {
		if r.start >= end {
			break
		}
		for _, c := range r.cells {
			if s := c.of; s.wrote != end {
				s.wrote = end
				w.write(out, w.sum(s, end), end-w.size, end, how)
			}
		}
	}
	n := 0
	for ; n < len(w.rounds) && w.rounds[n].start+w.size <= end; n++ {
		for _, c := range w.rounds[n].cells {
			w.drop(c)
		}
	}
	w.rounds = slices.Delete(w.rounds, 0, n)
	w.closed = end
}

// sum returns the panes of s that are in the window that ends there as one.
func (w *window) sum(s *series, end int64) *cell {
	i, _ := s.at(end - w.size)
	all := s.cells[i]
	if w.size == w.every {
		return all
	}
	whole := *all
	whole.figures = slices.Clone(all.figures)
	for _, c := range s.cells[i+1:] {
		if c.start >= end {
			break
		}
		w.together(&whole, c)
	}
	return &whole
}

// together adds the messages of a cell to another one.
func (w *window) together(to, c *cell) {
	isFirst, isLast := c.first < to.first, c.last >= to.last
	w.merge(to.figures, c.figures, isFirst, isLast)
	to.n += c.n
	if isFirst {
		to.first = c.first
	}
	if isLast {
		to.last, to.topic = c.last, c.topic
	}
}
