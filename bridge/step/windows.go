package step

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// longAgo and never are times that no message has, in nanoseconds as all times here, and mostTime
// is further from 1970 than any.
const (
	longAgo  = -8e18
	never    = 8e18
	mostTime = 7e18
)

// window is the step. Windows that are aligned consist of panes, one for each step of every, so
// that those that overlap share them; a session is one cell.
type window struct {
	*windowSettings
	*figures
	now              func() time.Time
	every, size, gap int64 // one of every and gap is 0

	series map[string]*series
	rounds []*round // of panes, oldest first
	ends   sessions
	late   []*cell // of this call
	closed int64   // windows have ended up to here, by time
	newest int64   // time of a message, or, by arrival, of a call
	came   time.Time
	bytes  bridge.Size
	debts  debts
	text   []byte
}

// series is what is open of a key.
type series struct {
	key    string
	quoted []byte
	cells  []*cell // in the order of their times
	wrote  int64   // end of the window that was written last
}

// round is all panes of a time.
type round struct {
	start int64
	cells []*cell
}

// cell is a pane, a session, or a window of late messages.
type cell struct {
	of          *series
	start       int64 // of a pane; or of its first message, as first
	first, last int64 // times of messages
	n           int
	topic       string
	figures     []figure
	debt        *debt
	bytes       bridge.Size
	place       int // of a session, in ends
}

var _ bridge.Step = (*window)(nil)

var (
	errLate  = errors.New("it is late: all windows of its time have ended")
	errAhead = errors.New("its time is further ahead of the clock than max_ahead allows")
	errTime  = errors.New("the time is neither a number of seconds since 1970 nor a text like 2026-11-28T08:00:00Z")
)

func (w *window) Process(_ context.Context, batch bridge.Batch, out *bridge.Output) error {
	now := w.now()
	arrived := now.UnixNano()
	if w.Time == nil {
		arrived = w.arrival(arrived, out)
		w.close(arrived, out)
	}
	for i := range batch {
		if err := w.take(i, &batch[i], arrived, out); err != nil {
			out.Refuse(i, err)
		}
	}
	if len(batch) > 0 {
		w.came = now
	}
	if out.Last() || w.Time != nil && w.Idle > 0 && now.Sub(w.came) >= w.Idle {
		w.flush(out)
	}
	for _, c := range w.late {
		w.write(out, c, c.start, w.end(c), ends{late: true})
		w.drop(c)
	}
	clear(w.late)
	w.late = w.late[:0]
	w.debts.release(out)
	out.Wake(w.wait(now, arrived))
	return nil
}

func (w *window) Close() error { return nil }

// arrival returns the time of a call, which does not go back.
func (w *window) arrival(now int64, out *bridge.Output) int64 {
	if now < w.newest-max(w.size, w.gap) { // somebody has set the clock
		w.flush(out)
		w.newest, w.closed = longAgo, longAgo
	}
	w.newest = max(w.newest, now)
	return w.newest
}

// wait returns how long to wait for the next call; 0: until there are messages.
func (w *window) wait(now time.Time, arrived int64) time.Duration {
	switch {
	case len(w.series) == 0:
		return 0
	case w.Time != nil && w.Idle > 0:
		return w.came.Add(w.Idle).Sub(now)
	case w.Time != nil:
		return 0
	case w.gap > 0:
		return max(1, time.Duration(w.ends[0].at-arrived))
	}
	return max(1, time.Duration(w.next()-arrived))
}

// take takes message i in. An error says why not.
func (w *window) take(i int, m *bridge.Message, at int64, out *bridge.Output) error {
	key, err := keyOf(w.Key, m)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if err := w.read(m); err != nil {
		return err
	}
	if w.Time != nil {
		clock := at
		if at, err = w.timeOf(m); err != nil {
			return fmt.Errorf("time: %w", err)
		}
		if at > clock && at-clock > int64(w.MaxAhead) {
			return errAhead
		}
	}
	s := w.series[key]
	c, late := w.find(s, key, at, out)
	switch {
	case late && w.Late == "drop":
		out.Drop(i)
		return nil
	case late && w.Late == "refuse":
		return errLate
	case s == nil && !late && len(w.series) >= w.MaxKeys:
		return errKeys
	case w.bytes+w.figures.bytes()+w.cellSize(key) > w.MaxBytes:
		return errBytes
	}
	out.Hold(i)
	if c == nil {
		if s == nil || late || len(s.cells) == 0 {
			s = &series{key: key, quoted: quoted(key), wrote: longAgo}
		}
		c = w.begin(s, at, late, out)
	}
	isFirst, isLast := c.n == 0 || at < c.first, c.n == 0 || at >= c.last
	more := bridge.Size(w.add(c.figures, c.n, isFirst, isLast))
	c.n++
	c.bytes, w.bytes = c.bytes+more, w.bytes+more
	if isFirst {
		c.first = at
	}
	if isLast {
		c.last, c.topic = at, m.Topic
	}
	if w.gap > 0 && !late {
		w.join(c.of, c)
	}
	if w.Time != nil && at > w.newest {
		w.newest = at
		w.close(at-int64(w.Lateness), out)
	}
	return nil
}

// timeOf returns the time that a message says it belongs to.
func (w *window) timeOf(m *bridge.Message) (int64, error) {
	raw, err := w.Time.AppendJSON(w.text[:0], m)
	if err != nil {
		return 0, err
	}
	w.text = raw
	if len(raw) > 2 && raw[0] == '"' {
		t, err := time.Parse(time.RFC3339Nano, string(raw[1:len(raw)-1]))
		if err != nil || t.Year() < 1800 || t.Year() > 2190 {
			return 0, errTime
		}
		return t.UnixNano(), nil
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(math.Abs(seconds) < mostTime/1e9) {
		return 0, errTime
	}
	whole, part := math.Modf(seconds)
	return int64(whole)*1e9 + int64(math.Round(part*1e9)), nil
}

// find returns the cell of a key that a message of that time belongs to, nil if there is none yet.
// It is late if it could belong to none but one that has ended.
func (w *window) find(s *series, key string, at int64, out *bridge.Output) (c *cell, late bool) {
	start := at
	if w.gap == 0 {
		start = w.paneOf(at)
		late = start+w.size <= w.closed
	} else {
		if c = w.session(s, at, out); c != nil {
			return c, false
		}
		late = at+w.gap <= w.closed
	}
	switch {
	case late:
		for _, c := range w.late {
			if c.of.key == key && (c.start == start || w.gap > 0 && w.touches(c, at)) {
				return c, true
			}
		}
	case s != nil && w.gap == 0:
		if i, found := s.at(start); found {
			return s.cells[i], false
		}
	}
	return nil, late
}

// at returns where the cell with that start is, or would be.
func (s *series) at(start int64) (i int, found bool) {
	if n := len(s.cells); n > 0 && s.cells[n-1].start == start {
		return n - 1, true
	}
	return slices.BinarySearchFunc(s.cells, start, func(c *cell, start int64) int { return cmp.Compare(c.start, start) })
}

func (w *window) paneOf(at int64) int64 {
	n := at % w.every
	if n < 0 {
		n += w.every
	}
	return at - n
}

// ends says how a window ends.
type ends struct{ partial, late bool }

// write lets the message go that a window becomes.
func (w *window) write(out *bridge.Output, c *cell, start, end int64, how ends) {
	b := append(w.text[:0], '{')
	if w.Key != nil {
		b = append(append(append(b, `"key":`...), c.of.quoted...), ',')
	}
	until := time.Unix(0, end).UTC()
	b = time.Unix(0, start).UTC().AppendFormat(append(b, `"start":"`...), time.RFC3339Nano)
	b = until.AppendFormat(append(b, `","end":"`...), time.RFC3339Nano)
	b = strconv.AppendInt(append(b, `","count":`...), int64(c.n), 10)
	b = w.figures.write(b, c.figures, c.n)
	if how.partial {
		b = append(b, `,"partial":true`...)
	}
	if how.late {
		b = append(b, `,"late":true`...)
	}
	b = append(b, '}')
	w.text = b
	out.Add(bridge.Message{Topic: c.topic, Payload: bytes.Clone(b), Time: until})
}
