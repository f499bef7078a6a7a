package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// readStream returns the next lines of the files of one path, in their order.
func (f *follower) readStream(s *stream, now time.Time) (batch bridge.Batch, ack bridge.Ack, err error, more bool) {
	for i := 0; i < len(s.files); {
		t := s.files[i]
		// When there is something in the next file, or that has gone itself, the writer has left
		// this one, so that from now on its end is the end. The order of the two questions matters.
		left := i+1 < len(s.files) && s.files[i+1].begun()
		if batch, ack, err, more = f.read(t, now); len(batch) > 0 || more || err != nil {
			return batch, ack, err, more
		}
		if t.drained && !t.failed && t.over(now, f.settings.Grace) && f.leave(t) {
			continue
		}
		if !t.drained || !left {
			break
		}
		i++
	}
	return nil, nil, nil, false
}

// longRow is how many lines of an unfinished row of CSV are strange.
const longRow = 3

// read returns the next lines of t; more says that there are some though none is returned.
func (f *follower) read(t *tracked, now time.Time) (batch bridge.Batch, ack bridge.Ack, err error, more bool) {
	switch {
	case t.missing || t.failed:
		t.drained = t.failed
		return nil, nil, nil, false
	case t.opened == nil && t.idle():
		return nil, nil, nil, false
	case t.opened == nil && !f.reopen(t):
		t.drained = false
		return nil, nil, nil, false
	}
	if f.current != t {
		if err := f.turnTo(t); err != nil {
			return nil, nil, err, false
		}
	}
	for f.fill(t, now) {
		if !f.placed { // its id must be in the checkpoint first
			return nil, nil, nil, true
		}
		if batch, ack, err = f.take(t, false); len(batch) > 0 || err != nil {
			return batch, ack, err, false
		}
		if f.lines.Rest() > int64(f.settings.MaxLine) { // there may be no end to it, and others wait
			t.drained = false
			return nil, nil, nil, true
		}
	}
	if t.opened == nil || t.missing {
		return nil, nil, nil, false // it was cut
	}
	over := t.over(now, f.settings.Grace)
	if rest := f.lines.Rest(); rest > 0 && (over ||
		f.settings.FlushAfter > 0 && now.Sub(t.grown) >= f.settings.FlushAfter) {
		if batch, ack, err = f.take(t, true); len(batch) > 0 || err != nil {
			return batch, ack, err, false
		}
	}
	if f.settings.Codec.Kind == "csv" && bytes.Count(f.lines.Unfinished(), []byte("\n")) >= longRow {
		f.warn(t.ID,
			"a row goes on over many lines, since it has a quote that is not closed; it is waited for, up to max_line",
			"path", t.At, "byte", t.offset)
	}
	// What cannot be read by then never will be, and must not hold up what comes after it.
	t.drained = f.lines.Rest() == 0 && (!t.packed || t.complete)
	return nil, nil, nil, false
}

// turnTo makes t the file whose bytes lines holds. The row that names its columns may stand far in
// front of them.
func (f *follower) turnTo(t *tracked) error {
	if f.current != nil {
		f.current.skipped = f.lines.Skipped()
	}
	f.lines.Reset()
	f.lines.Skip(t.skipped)
	t.skipped = framing.Skipped{} // it is where lines is now
	f.current = t
	if f.lines.Table = t.table; t.table != nil || f.settings.Codec.Kind != "csv" || t.offset == 0 {
		return nil
	}
	begin := bytesAt(t, 0, 2*framing.MaxHeader)
	text := bytes.TrimLeft(begin, "\x00")
	return f.headed(t, f.lines.Recall(text, t.offset-int64(len(begin)-len(text))))
}

// headed takes over how the columns of t are called, and returns why it cannot be read if they are
// not.
func (f *follower) headed(t *tracked, err error) error {
	if t.table = f.lines.Table; err != nil {
		return bridge.Permanent(fmt.Errorf("%s: %w", t.At, err))
	}
	return nil
}

// fill reads on in t and reports whether there was something.
func (f *follower) fill(t *tracked, now time.Time) bool {
	if t.complete && t.offset+f.lines.Rest() >= t.at {
		return false
	}
	if !t.packed && !f.unchanged(t) {
		return false
	}
	at := t.offset + f.lines.Rest()
	size := t.packedSize()
	n, err := t.ReadAt(f.lines.Room(), at)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		t.complete, t.whole = t.packed && err != nil, size
	case t.packed && errors.Is(err, io.ErrUnexpectedEOF): // it is being written
	case t.packed:
		f.warn(t.At, "a packed file is damaged, what follows in it is lost", "path", t.At, "byte", at+int64(n), "err", err)
		t.failed = true
		f.dropped(1)
	default:
		f.warn(t.At, "cannot read a file, trying again", "path", t.At, "err", err)
		return false
	}
	if n == 0 {
		t.at = max(t.at, at)
		return false
	}
	t.at = max(t.at, at+int64(n))
	t.grown = now
	room := f.lines.Room()[:n]
	if skip := f.skip(t, room); skip > 0 {
		n = copy(room, room[skip:])
	}
	f.lines.Filled(n)
	return true
}

// skip returns how many bytes are left out: NULs where a writer went on behind a cut, and the
// newline of a line that was taken without it, with the carriage return before it.
func (f *follower) skip(t *tracked, read []byte) (n int) {
	if f.lines.Rest() > 0 {
		return 0
	}
	if t.leading {
		for n < len(read) && read[n] == 0 {
			n++
		}
		n -= n % len(f.charset.newline)
		if t.leading = n == len(read); n > 0 {
			f.warn(t.ID, "a file begins with NULs, as its writer went on behind what was cut off; skipping them", "path", t.At)
			if len(t.front) < window && int64(len(t.front)) == t.offset {
				t.front = append(t.front, make([]byte, min(n, window-len(t.front)))...)
			}
		}
	} else if nl := []byte(f.charset.newline); len(t.tail) > 0 && !bytes.HasSuffix(t.tail, nl) {
		// The carriage return is the line's in any case: at its end, it would not have been
		// delivered.
		cr := bytes.Replace(nl, []byte{'\n'}, []byte{'\r'}, 1)
		if crnl := append(cr, nl...); bytes.Equal(read, cr) || bytes.HasPrefix(read, crnl) {
			n = len(cr)
		}
		if bytes.HasPrefix(read[n:], nl) {
			n += len(nl)
		}
		t.tail = append(bytes.Clone(t.tail), read[:n]...)
	}
	t.offset += int64(n)
	return n
}

// unchanged reports whether what stands before the next byte is what was read. If it is not, the
// file was cut: only an unfinished line may have been taken back, or it is another one now.
func (f *follower) unchanged(t *tracked) bool {
	before := func(want []byte, end int64) bool {
		if first := len(want) - window; first > 0 &&
			!bytes.Equal(bytesAt(t, end-int64(len(want)), min(first, window)), want[:min(first, window)]) {
			return false
		}
		want = want[max(0, len(want)-window):]
		return bytes.Equal(bytesAt(t, end-int64(len(want)), len(want)), want)
	}
	at := t.offset + f.lines.Rest()
	info, err := t.file.Stat()
	if err != nil {
		return true // reading it will tell
	}
	held := f.lines.Unfinished()
	if (t.offset == 0 || t.leading) && len(held) == 0 { // room made beforehand has NULs, until it is written to
		if !before(t.front, int64(len(t.front))) {
			f.rewritten(t)
			return false
		}
		t.glimpse()
	}
	if info.Size() >= at && (len(held) == 0 || before(held, at)) && (len(held) >= window || before(t.tail, t.offset)) {
		return true
	}
	if info.Size() >= t.offset && before(t.tail, t.offset) {
		f.lines.Reset()
		t.at = t.offset
		return true
	}
	f.rewritten(t)
	return false
}

// rewritten hands a file that was cut to the look, as one that is not known: it may be a copy, and
// what stood in it before may be found in one.
func (f *follower) rewritten(t *tracked) {
	f.log.Warn("a file was cut, reading it from its start", "path", t.At, "unread", max(0, t.size()-t.offset))
	t.Pending, t.cut = f.lines.Held(), true
	now := time.Now()
	f.held[t.Inode.key()] = &stranger{
		sibling: sibling{t.At, t.Path}, info: t.info, opened: t.opened, since: now, held: true, moved: true,
	}
	t.opened = nil // it is the stranger's
	f.current = nil
	f.lines.Reset()
	f.orphan(t)
	nudge(f.search)
}

// leave gives a file up that has gone, and reports whether it was read to its end, and all of it
// delivered. Should it grow then, a look sees that.
func (f *follower) leave(t *tracked) bool {
	if t.inFlight() {
		return false
	}
	if info, err := t.stat(); err == nil {
		t.info = info
	}
	if t.complete = t.complete && t.packedSize() == t.whole; !t.idle() {
		return false // more has come just now, or cannot be read
	}
	f.shut(t)
	t.part()
	t.Left = true
	return true
}

// shut closes a file.
func (f *follower) shut(t *tracked) {
	if t.opened != nil {
		f.handles.used.Add(-1)
		t.close()
		t.opened = nil
	}
	if f.current == t {
		f.current = nil
		f.lines.Reset()
	}
}

func (f *follower) take(t *tracked, last bool) (bridge.Batch, bridge.Ack, error) {
	begin := point{t.offset, t.tail, t.lines}
	_, before := f.lines.Taken()
	batch, ack, long := f.lines.Lines(t.Path, f.most, last)
	err := f.headed(t, f.lines.Err())
	start, first := t.offset-before, t.offset == 0
	if _, after := f.lines.Taken(); after > before {
		t.took(after-before, f.lines.Raw(), len(batch))
	}
	if len(batch) == 0 {
		return nil, nil, err
	}
	n := len(batch)
	identify(batch, f.lines.Spans(), t.ID, start)
	err = finish(f.lines, f.charset, batch, long, first, t.At, start)
	t.drained = !t.packed && f.lines.Rest() == 0 // it need not be opened again to see that
	var spans []framing.Span
	var raw []byte
	if len(long) == 0 && f.lines.Kept() { // else it lacks some of them
		spans, raw = slices.Clone(f.lines.Spans()), f.lines.Raw()
	}
	end := &point{t.offset, t.tail, t.lines}
	return batch, func(ctx context.Context, refused error) error {
		// The file may have been cut by now and written anew, which is another one in the table.
		if refused != nil {
			end = begin.behind(bridge.Settled(n, refused), raw, spans, before)
		}
		if err := ack(ctx, refused); err != nil || end == nil {
			return err
		}
		t.acked.Store(end)
		return f.saver.Delivered(ctx)
	}, err
}
