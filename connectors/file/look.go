package file

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// look compares what is on the disk with what is followed, and opens what is new.
//
// Files that came and were renamed since the last look are found by their
// names. The order of the steps sees to it that none slips through: siblings of a
// base that is looked at afterwards, and is what it was, are no rotated files of it
// (but copies, or older), and are recorded as known; once a base has changed, and the new file
// is held open, whatever is not known stood there in between.
func (f *follower) look() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	bases := f.bases()
	before := f.names.siblings(bases)
	changed := f.notice(bases, now)
	if f.started {
		f.ignoreOf(before, func(base string) bool { return !changed[base] && now.Sub(f.changed[base]) > settle })
	}

	paths, err := matches(f.settings.Path)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if f.names.packed.MatchString(path) {
			continue
		}
		if t := f.meet(path, path, changed, now); t != nil {
			changed[t.path] = true
			f.append(t)
		}
	}
	if f.started {
		f.meetRotated(changed, now)
	} else {
		f.ignoreOf(f.names.siblings(f.bases()), func(string) bool { return true })
	}
	f.started, f.resuming = true, false
	// A folder that is listed while names change in it does not show all.
	f.records = slices.DeleteFunc(f.records, func(r *record) bool { return time.Since(r.seen) > time.Minute })
	f.closeQuiet()
	f.sweep()
	return paths, nil
}

// bases returns the paths of the files that are followed, or would be.
func (f *follower) bases() []string {
	var bases []string
	for _, p := range f.settings.Path {
		if !strings.ContainsAny(p, `*?[\`) {
			bases = append(bases, p)
		}
	}
	for _, t := range f.files {
		bases = append(bases, t.path)
	}
	for _, r := range f.records {
		if r.rest {
			bases = append(bases, r.path) // a pattern does not name it once it was renamed
		}
	}
	slices.Sort(bases)
	return slices.Compact(bases)
}

// notice sees which paths lead no more to the file that was found there last.
func (f *follower) notice(bases []string, now time.Time) (changed map[string]bool) {
	changed = make(map[string]bool)
	for _, base := range bases {
		changed[base] = true
	}
	for _, t := range f.files {
		info, err := os.Stat(t.path)
		switch {
		case err == nil && os.SameFile(info, t.info):
			t.gone = time.Time{}
			t.end = max(t.end, info.Size())
			changed[t.path] = false
		case t.gone.IsZero():
			t.gone = now
		}
	}
	return changed
}

// meet opens the file at path if it is new. Its topic is where it first stood.
func (f *follower) meet(path, topic string, changed map[string]bool, now time.Time) *tracked {
	found, err := f.find(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone again
	case err != nil && !f.broken[path]:
		f.broken[path] = true
		f.log.Warn("cannot open a file, trying again", "path", path, "err", err)
		return nil
	case err != nil || found == nil:
		return nil
	}
	delete(f.broken, path)
	offset, wanted := f.judge(found, path, topic, changed)
	if !wanted {
		_ = found.file.Close()
		return nil
	}
	if found.record != nil {
		topic = found.record.path
		f.records = slices.DeleteFunc(f.records, func(r *record) bool { return os.SameFile(r.info, found.info) })
	}
	if !f.started && f.settings.From == "end" {
		if end, err := lastWhole(found.file, found.info.Size()); err == nil {
			offset = end
		}
	}
	acked, id := newOffset(offset), ""
	if r := found.record; r != nil && r.acked != nil {
		acked = r.acked
		if r.offset == offset {
			id = r.id
		}
	}
	acked.Store(min(acked.Load(), offset))
	if id == "" {
		id, f.placed = newID(), false
	}
	return &tracked{path: topic, id: id, file: found.file, info: found.info, head: found.head, offset: offset, acked: acked, end: found.info.Size(), grown: now}
}

// judge returns from where a file is to be read, if at all.
func (f *follower) judge(found *finding, path, topic string, changed map[string]bool) (offset int64, wanted bool) {
	if r := found.record; r != nil {
		if path == topic && r.path == path && f.resuming && found.info.Size() < r.offset {
			f.log.Warn("a file was truncated meanwhile, reading it from its start", "path", path)
			return 0, true
		}
		if r.rest || path == topic && (found.info.Size() > r.offset || f.resuming) {
			return r.offset, true
		}
		r.pass(found.info)
		return 0, false
	}
	return 0, !f.copied(found, path, changed)
}

// copied reports whether a file is, or may be, a copy of one that still stands at
// its place, as copytruncate makes them. A copy is recorded and never read.
func (f *follower) copied(found *finding, path string, changed map[string]bool) bool {
	for _, t := range f.files {
		if changed[t.path] || len(t.head) == 0 || !f.names.match(path, t.path) {
			continue
		}
		if len(found.head) < len(t.head) && bytes.HasPrefix(t.head, found.head) {
			return true // it has only just begun: the next look knows more
		}
		if bytes.HasPrefix(found.head, t.head) {
			f.record(found, path, math.MaxInt64)
			return true
		}
	}
	return false
}

func (f *follower) tracks(info fs.FileInfo) bool {
	return slices.ContainsFunc(f.files, func(t *tracked) bool { return os.SameFile(t.info, info) })
}

// settle is how long after a change of a base files may still be on their way to a
// rotated name. A folder that is listed meanwhile does not show all of them.
const settle = time.Second

// meetRotated opens the unknown files that stood at changed bases and were renamed.
func (f *follower) meetRotated(changed map[string]bool, now time.Time) {
	for base, is := range changed {
		if is {
			f.changed[base] = now
		}
	}
	var bases []string
	for base, when := range f.changed {
		if now.Sub(when) <= settle {
			bases = append(bases, base)
		} else {
			delete(f.changed, base)
		}
	}
	// Names may change while they are listed, which hides files. So it is done
	// until nothing changes any more.
	siblings := f.names.siblings(bases)
	for range 10 {
		for _, s := range siblings {
			if t := f.meet(s.path, s.base, changed, now); t != nil {
				t.gone = now
				f.insert(t, now)
			}
		}
		again := f.names.siblings(bases)
		if slices.EqualFunc(siblings, again, sibling.same) {
			return
		}
		siblings = again
	}
}

// append puts a file behind all that it replaces.
func (f *follower) append(t *tracked) {
	for _, old := range f.files {
		if old.path == t.path {
			old.replaced, t.previous = true, old
		}
	}
	f.files = append(f.files, t)
}

// insert puts a renamed file before the one that was written after it, as far
// as the times tell: several rotations within one tick of the file system's clock have no order.
func (f *follower) insert(t *tracked, now time.Time) {
	written := t.info.ModTime()
	i := slices.IndexFunc(f.files, func(u *tracked) bool {
		info, err := u.file.Stat()
		if u.path != t.path || err != nil {
			return false
		}
		found := u.gone.IsZero() && u.grown.Equal(now) // by this look, not renamed: the latest
		order := info.ModTime().Compare(written)
		return order > 0 || order == 0 && found
	})
	if i < 0 {
		f.append(t)
		return
	}
	next := f.files[i]
	t.previous, next.previous, t.replaced = next.previous, t, true
	f.files = slices.Insert(f.files, i, t)
}

// ignoreOf records siblings of some bases as known. Those that match a pattern
// are judged by meet.
func (f *follower) ignoreOf(siblings []sibling, which func(base string) bool) {
	for _, s := range siblings {
		matched := slices.ContainsFunc(f.settings.Path, func(pattern string) bool {
			ok, _ := filepath.Match(pattern, s.path)
			return ok
		})
		if !matched && which(s.base) {
			f.ignore(s.path)
		}
	}
}
