package file

import (
	"bytes"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// tracked is a file that is known. An open descriptor keeps it readable whatever happens to its
// name, and keeps its inode from being used again.
type tracked struct {
	record        // as it was saved last
	saved  *point // that the marks of record are of
	acked  atomic.Pointer[point]
	known  bool // front and tail are; else record has their marks
	met    bool // it was looked into
	front  []byte
	tail   []byte // before offset
	offset int64  // behind the last line taken
	lines  int    // taken

	*opened             // nil: closed
	stream  *stream     // nil: nothing to read
	info    fs.FileInfo // as it was seen last

	table    *framing.Table  // with the names of its columns
	skipped  framing.Skipped // behind offset, while another file is read
	at       int64           // up to where it was read
	packed   bool
	complete bool  // it is packed, and whole
	whole    int64 // its packed size then
	leading  bool  // there were only NULs so far
	drained  bool  // read to the end, no unfinished line
	failed   bool  // it cannot be read
	grown    time.Time
	gone     time.Time // since when it does not stand at its path
	scan     int       // the last one that found it
	seen     time.Time // when that was
	missing  bool      // no file is found for it
	cut      bool      // while it was read; a copy was made before that
	lost     int       // lines that were counted so
}

// point is how far a file was delivered.
type point struct {
	offset int64
	tail   []byte
	lines  int
}

// behind returns the point behind the first n messages of raw, which begins at that byte of the
// stream in which they are at spans; nil if that is where it is, or raw is not known.
func (p point) behind(n int, raw []byte, spans []framing.Span, begin int64) *point {
	if n == 0 || raw == nil {
		return nil
	}
	at := spans[n-1].End - begin
	p.lines += n
	p.offset += at
	p.tail = tailOf(p.tail, raw[:at])
	return &p
}

// tailOf returns the last bytes of what was read, which was tail and is raw in addition.
func tailOf(tail, raw []byte) []byte {
	all := make([]byte, 0, window)
	if len(raw) < window {
		all = append(all, tail[max(0, len(tail)-(window-len(raw))):]...)
	}
	return append(all, raw[max(0, len(raw)-window):]...)
}

// newTracked returns what is read from its start.
func newTracked(path string) *tracked {
	t := &tracked{record: record{Path: path, ID: newID()}, known: true, met: true, leading: true}
	t.start(point{})
	return t
}

// start sets from where the file is read.
func (t *tracked) start(p point) {
	t.offset, t.tail, t.lines, t.leading = p.offset, p.tail, p.lines, p.offset == 0
	t.acked.Store(&p)
}

// state returns what to save.
func (t *tracked) state(held int) record {
	if t.opened != nil {
		t.glimpse()
	}
	if p := t.acked.Load(); p != t.saved {
		t.Offset, t.Tail, t.saved = p.offset, markOf(p.tail), p
	}
	if t.known && len(t.front) != t.Front.Size {
		t.Front = markOf(t.front)
	}
	r := t.record
	if t.missing {
		held = t.Pending
	}
	if t.known {
		r.Pending = t.lines - t.acked.Load().lines + held
	}
	r.Left = t.Left && !t.inFlight()
	if r.Size = t.size(); t.Left && t.info != nil {
		r.Size = t.info.Size()
	}
	if t.missing {
		r.Inode = inode{}
	}
	return r
}

// inFlight reports whether lines were taken that are not delivered, and may be given back.
func (t *tracked) inFlight() bool { return t.lines != t.acked.Load().lines }

// size returns how long the file is as far as seen, in unpacked bytes.
func (t *tracked) size() int64 {
	switch {
	case t.complete:
		return t.at
	case t.packed:
		return max(t.at, t.offset+1)
	case t.info != nil:
		return max(t.at, t.info.Size())
	}
	return t.Size
}

// agrees reports whether the file holds what was read of t, and remembers that.
func (t *tracked) agrees(o *opened) bool {
	switch {
	case !o.packed && o.info.Size() < t.offset:
		return false
	case o.packed && t.Left && o.inode.Born != 0 && o.inode == t.Inode && o.info.Size() == t.Size:
		return true // unpacking it again would take long
	case t.known:
		return t.holds(o)
	}
	front, tail := bytesAt(o, 0, t.Front.Size), bytesAt(o, t.offset-int64(t.Tail.Size), t.Tail.Size)
	if markOf(front) != t.Front || markOf(tail) != t.Tail {
		return false
	}
	t.front, t.tail, t.known = front, tail, true
	t.saved = &point{t.offset, tail, 0} // whose marks record has
	t.acked.Store(t.saved)
	return true
}

// holds reports whether what was read of t is in the file, if front and tail are known.
func (t *tracked) holds(o *opened) bool {
	return bytes.Equal(bytesAt(o, 0, len(t.front)), t.front) &&
		bytes.Equal(bytesAt(o, t.offset-int64(len(t.tail)), len(t.tail)), t.tail)
}

// blank reports whether too little is known of its content to recognise it by that: of an unread
// file that is not open, what was seen may be no more than the header of others.
func (t *tracked) blank() bool {
	if t.Done && t.offset == 0 {
		return true
	}
	if t.opened != nil {
		t.glimpse()
		return t.offset == 0 && len(t.front) == 0
	}
	return t.offset == 0 && max(len(t.front), t.Front.Size) < window
}

// glimpse remembers how a file begins of which nothing was read.
func (t *tracked) glimpse() {
	if t.offset == 0 && t.known && len(t.front) < window {
		t.front = bytesAt(t, 0, window)
	}
}

// learn takes in front and tail as they are in the file.
func (t *tracked) learn(o *opened, offset int64) {
	t.front = bytesAt(o, 0, int(min(window, offset)))
	n := min(window, offset)
	t.start(point{offset: offset, tail: bytesAt(o, offset-n, int(n))})
}

// took says that n bytes behind the offset were taken, which end with raw.
func (t *tracked) took(n int64, raw []byte, lines int) {
	whole := int64(len(raw)) == n
	if t.offset == 0 {
		t.front = nil // of what was seen more may be taken back
	}
	if before := t.offset; whole && len(t.front) < window && before <= int64(len(t.front)) &&
		before+n > int64(len(t.front)) {
		t.front = append(t.front[:before:before], raw[:min(n, window-before)]...)
	}
	if !whole {
		t.tail = nil
	}
	t.tail = tailOf(t.tail, raw)
	t.offset += n
	t.lines += lines
}

// packedSize returns how long the file on the disk is if it is packed.
func (t *tracked) packedSize() int64 {
	if info, err := t.stat(); t.packed && err == nil {
		return info.Size()
	}
	return 0
}

// grew reports whether there may be more in a file than when it was left.
func (t *tracked) grew(o *opened) bool {
	switch {
	case !o.packed:
		return o.info.Size() != t.offset
	case t.info != nil:
		return o.info.Size() != t.info.Size()
	}
	return o.info.Size() != t.Size
}

// idle reports whether there is nothing to read, as far as it was seen.
func (t *tracked) idle() bool {
	return t.drained && !t.missing && (t.complete || t.info != nil && t.info.Size() == t.offset)
}

// stat returns how the file is now, or was when it was seen last.
func (t *tracked) stat() (fs.FileInfo, error) {
	if t.opened == nil {
		return t.info, nil
	}
	return t.file.Stat()
}

// begun reports whether its writer has begun to write, so that it has left the file before it.
func (t *tracked) begun() bool {
	if t.missing || !t.gone.IsZero() || t.offset > 0 {
		return true
	}
	info, err := t.stat()
	return err == nil && info != nil && info.Size() > 0
}

// over reports whether nobody will add to the file any more, as far as one can tell.
func (t *tracked) over(now time.Time, grace time.Duration) bool {
	if t.complete {
		return true
	}
	if t.gone.IsZero() || now.Sub(t.gone) < grace || now.Sub(t.grown) < grace {
		return false
	}
	// A file that was renamed and has no successor is still the writer's.
	if files := t.stream.files; files[len(files)-1] != t {
		return true
	}
	if t.opened == nil {
		return false
	}
	info, err := t.file.Stat()
	return err != nil || deleted(info)
}

// forgotten reports whether it does not matter any more that the file was there.
func (t *tracked) forgotten(now time.Time) bool {
	after := remember
	if t.info != nil && deleted(t.info) {
		after = forget
	}
	return t.opened == nil && t.stream == nil && now.Sub(t.seen) > after
}

// part takes t out of its stream.
func (t *tracked) part() {
	t.stream.files = slices.DeleteFunc(t.stream.files, func(u *tracked) bool { return u == t })
	t.stream = nil
}

// changed reports whether the file is another than when it was seen last, as far as that shows.
func (t *tracked) changed(info fs.FileInfo) bool {
	return t.info == nil || t.info.Size() != info.Size() || !t.info.ModTime().Equal(info.ModTime())
}

// modified returns when the file was written last, as far as that is known.
func (t *tracked) modified() time.Time {
	if info, err := t.stat(); err == nil && info != nil {
		return info.ModTime()
	}
	return time.Time{}
}
