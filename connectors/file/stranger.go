package file

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// hold is how long a file waits that begins as another one does: it may be a copy that is being
// made, to cut the other one then. If its name says so, it waits for holdRotated.
const (
	hold        = 2 * time.Second
	holdRotated = time.Minute
)

// stranger is a file that is not known yet.
type stranger struct {
	sibling
	info    fs.FileInfo
	*opened           // nil: closed
	since   time.Time // when it changed last
	held    bool
	moved   bool // it may be what stood at base before
	apart   bool // it stands in another folder than base, so that it is read only for what is missing
}

func (s *stranger) rotated() bool { return s.path != s.base }

// facts returns what a file that holds what was read of t says about it.
func (s *stranger) facts(t *tracked) facts {
	path := s.path
	if s.apart {
		path = filepath.Join(filepath.Dir(s.base), filepath.Base(path))
	}
	base := rotatedFrom(path, func(base string) bool { return base == t.Path })
	return facts{own: s.inode.is(t.Inode), holds: true, lines: linesBefore(s, t.offset), rotated: base != ""}
}

// resolve says what strangers are: what is known, under another inode; copies; or new files.
func (f *follower) resolve(found []*stranger, now time.Time) {
	var all []*stranger
	for id, s := range f.held {
		delete(f.held, id)
		f.handles.used.Add(-1)
		if info, err := s.file.Stat(); err == nil && info.Size() != s.info.Size() {
			s.info, s.opened.info, s.since = info, info, now
			_ = s.unpack(s.path) // there may have been nothing to tell it by
		}
		all = append(all, s)
	}
	met := make(map[inode]bool)
	found = slices.DeleteFunc(append(all, found...), func(s *stranger) bool { // it may have two names
		id := fileID(s.info, s.path)
		again := met[id]
		met[id] = true
		return again
	})
	// Files before what was renamed, and that as it was written.
	slices.SortStableFunc(found, func(a, b *stranger) int {
		if a.rotated() != b.rotated() {
			return cmp.Compare(len(a.path)-len(a.base), len(b.path)-len(b.base))
		}
		return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), cmp.Compare(a.path, b.path))
	})
	alike, rivals := f.compare(found)
	for _, s := range found {
		if !f.see(s) {
			continue
		}
		if f.table[s.inode.key()] != nil {
			s.close() // it has two names
			continue
		}
		f.decide(s, alike[s], rivals, now)
	}
}

// compare finds the files that hold what was read of others, which are not where they were. There
// may be thousands of both, so that each file is read once, and asked only about those that begin
// as it does.
func (f *follower) compare(found []*stranger) (alike map[*stranger][]*tracked, rivals map[*tracked]int) {
	gone := make(map[mark][]*tracked) // by how they begin
	tails := make(map[*tracked]mark)
	add := func(t *tracked) {
		front, tail := t.Front, t.Tail
		if t.known {
			front, tail = markOf(t.front), markOf(t.tail)
		}
		gone[front], tails[t] = append(gone[front], t), tail
	}
	for _, t := range f.orphans {
		if t.missing {
			add(t)
		}
	}
	for _, t := range f.table {
		if t.scan != f.scan && !t.blank() {
			add(t)
		}
	}
	sizes := make(map[int]bool)
	for front := range gone {
		sizes[front.Size] = true
	}
	alike, rivals = make(map[*stranger][]*tracked), make(map[*tracked]int)
	for _, s := range found {
		if len(gone) == 0 || !f.see(s) {
			continue
		}
		marks := make(map[[2]int64]mark)
		markAt := func(from int64, size int) mark {
			span := [2]int64{from, int64(size)}
			if _, read := marks[span]; !read {
				marks[span] = markOf(bytesAt(s, from, size))
			}
			return marks[span]
		}
		best := 0 // a line in common with one says nothing if it is many with another
		for size := range sizes {
			for _, t := range gone[markAt(0, size)] {
				switch tail := tails[t]; {
				case !s.inode.is(t.Inode) && t.blank(),
					!s.packed && markAt(t.offset-int64(tail.Size), tail.Size) != tail,
					!t.agrees(s.opened):
					continue
				}
				n := s.facts(t).weight()
				if n > best {
					best, alike[s] = n, nil
				}
				if n == best {
					alike[s] = append(alike[s], t)
				}
			}
		}
		for _, t := range alike[s] {
			rivals[t] += min(best, 1)
		}
		if len(alike[s]) == 0 && !s.held && len(found) > int(f.handles.limit/4) {
			s.close() // there may be more than can be open at once
		}
	}
	return alike, rivals
}

// see opens a stranger, unless it is open.
func (f *follower) see(s *stranger) bool {
	if s.opened != nil {
		return true
	}
	o, err := open(s.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.warn(s.path, "cannot read a file", "path", s.path, "err", err)
		}
		return false
	}
	s.opened, s.info = o, o.info
	return true
}

func (s *stranger) close() {
	s.opened.close()
	s.opened = nil
}

// decide says what to do with a file.
func (f *follower) decide(s *stranger, alike []*tracked, rivals map[*tracked]int, now time.Time) {
	if len(alike) > 0 {
		t := alike[0]
		what := s.facts(t)
		what.rivals = len(alike) - 1 + max(0, rivals[t]-1)
		rests := fmt.Sprintf("it begins with the %d bytes with which that began, "+
			"and holds the %d bytes before byte %d", len(t.front), len(t.tail), t.offset)
		if judge(what) == same {
			if !what.own {
				f.log.Info("a file is taken for one that was read before", "path", s.path, "before", t.At, "since", rests)
			}
			f.adopt(t, s, now)
			return
		}
		if s.apart {
			s.close() // an archive may have many of the same header
			return
		}
		f.warn(s.path+t.ID, "a file may be one that was read before, or a new one; reading it from its start", "path",
			s.path, "before", t.At, "files", rivals[t], "since", rests)
		if t.missing && t.stream != nil && what.weight() > 0 {
			t.part() // what was unread in it is read here, or in the other one
			t.missing = false
		}
		f.fresh(s, now)
		return
	}
	if s.apart {
		s.close()
		return
	}
	if st := f.streams[s.base]; st != nil && !st.changed.IsZero() {
		s.moved = true
	}
	patience, named := hold, rotatedFrom(s.path, func(base string) bool { return f.standing[base] != nil }) != ""
	if named && !s.unpacked() {
		patience = holdRotated
	}
	switch wait := now.Sub(s.since) < patience && len(f.held) < int(f.handles.limit/4); {
	case wait && (s.unpacked() || f.started && f.copied(s, named)): // at the very start nothing was read of the other one
		s.held = true
		f.held[s.inode.key()] = s
		f.handles.used.Add(1)
	case s.rotated() && !s.moved:
		f.pass(s, now)
	case s.unpacked():
		f.warn(s.path, "a file is named as a packed one, and is none that can be unpacked; not reading it", "path", s.path)
		f.pass(s, now)
	default:
		f.fresh(s, now)
	}
}

// adopt goes on with what is known of t in a file.
func (f *follower) adopt(t *tracked, s *stranger, now time.Time) {
	if t.lost > 0 {
		f.dropped(-t.lost)
		t.lost, t.Left = 0, false
	}
	if f.table[t.Inode.key()] == t {
		delete(f.table, t.Inode.key())
	}
	t.Inode, t.missing, t.cut, t.met, t.At = s.inode, false, false, true, s.path
	f.table[t.Inode.key()] = t
	t.scan, t.seen, t.gone, f.placed = f.scan, now, now, false
	if s.path == t.Path {
		t.gone, f.standing[s.path] = time.Time{}, t
	}
	if t.stream == nil && !t.Done && (!t.Left || !s.packed && t.grew(s.opened)) {
		f.rejoin(t, s.info)
	}
	if t.stream == nil || t.opened != nil { // what was deleted can still be read
		t.info = s.info
		s.close()
		return
	}
	f.attach(t, s.opened)
}

// fresh reads a new file.
func (f *follower) fresh(s *stranger, now time.Time) {
	t := newTracked(s.base)
	t.At, t.Inode, t.scan, t.seen, t.grown = s.path, s.inode, f.scan, now, now
	if !f.started && f.settings.From == "end" {
		if s.packed {
			f.pass(s, now)
			return
		}
		if end, err := lastWhole(s.file, s.info.Size()); err == nil {
			t.learn(s.opened, end+end%int64(len(f.charset.newline)))
		}
	}
	st := f.stream(s.base)
	if s.rotated() {
		t.gone = now
		// What became of a file of which nothing was read is this one, or is read as well.
		f.orphans = slices.DeleteFunc(f.orphans, func(u *tracked) bool {
			found := u.stream == st && u.blank()
			if found {
				u.part()
			}
			return found
		})
	} else {
		f.standing[s.path] = t
		if st.stood = t; f.started {
			st.changed = now
		}
		for _, u := range st.files {
			if u.gone.IsZero() {
				u.gone = now
			}
		}
	}
	f.join(st, t, s.info.ModTime())
	f.table[t.Inode.key()], f.placed = t, false
	f.attach(t, s.opened)
}

// join puts a file into a stream as it was written: what stands at the path is the newest. Several
// rotations within one tick of the file system's clock have no order.
func (f *follower) join(s *stream, t *tracked, written time.Time) {
	at := len(s.files)
	if f.standing[s.path] != t {
		if i := slices.IndexFunc(s.files, func(u *tracked) bool {
			order := u.modified().Compare(written)
			return order > 0 || order == 0 && u == s.stood || u == f.standing[s.path]
		}); i >= 0 {
			at = i
		}
	}
	t.stream, s.files = s, slices.Insert(s.files, at, t)
}

// pass records a file that is not to be read.
func (f *follower) pass(s *stranger, now time.Time) {
	t := newTracked(s.base)
	t.At, t.Inode, t.Done, t.info, t.packed, t.scan, t.seen = s.path, s.inode, true, s.info, s.packed, f.scan, now
	if s.packed {
		t.front = bytesAt(s, 0, window) // all of it would take long
	} else {
		t.learn(s.opened, s.info.Size())
	}
	f.table[t.Inode.key()], f.placed = t, false
	s.close()
}

// copied reports whether a file is, or may become, a copy of one that stands at its place. If it is
// empty, that hangs on whether it is named as one.
func (f *follower) copied(s *stranger, named bool) bool {
	if s.info.Size() == 0 {
		return named
	}
	front := bytesAt(s, 0, window)
	alike := func(t *tracked) bool {
		n := min(len(front), len(t.front))
		return bytes.Equal(front[:n], t.front[:n])
	}
	for _, t := range f.table {
		if t.scan != f.scan || !t.known || !s.packed && f.standing[t.Path] != t {
			continue
		}
		// Most differ in what was seen of them; only of the others more is looked at, by blank.
		if !alike(t) || t.blank() || !alike(t) {
			continue
		}
		tail := bytesAt(s, t.offset-int64(len(t.tail)), len(t.tail))
		if len(tail) == len(t.tail) && !bytes.Equal(tail, t.tail) {
			continue
		}
		if s.packed || f.begins(t, s) {
			return true
		}
	}
	return false
}

// begins reports whether t begins with what there is of a file.
func (f *follower) begins(t *tracked, s *stranger) bool {
	o := t.opened
	if o == nil {
		if t.offset == 0 {
			return true // as far as is known: there may be thousands to be opened
		}
		var err error
		if o, err = open(t.At); err != nil {
			return false
		}
		defer o.close()
	}
	if !bytes.Equal(bytesAt(o, t.offset-int64(len(t.tail)), len(t.tail)), t.tail) {
		return true // it was cut just now, and is met as that next
	}
	size := s.info.Size()
	from := max(0, size-window)
	return bytes.Equal(bytesAt(s, from, int(size-from)), bytesAt(o, from, int(size-from)))
}
