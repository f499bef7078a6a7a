package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// settle is how long after a change of a path files may still be on their way to a rotated
	// name. A folder that is listed meanwhile does not show all of them.
	settle = time.Second

	// remember is how long it is known of a file that it was there, which may come back as a disk
	// does that was away; forget is the same for one that was deleted.
	remember = time.Hour
	forget   = time.Minute
)

// look compares what is on the disk with what is known. The order of the steps sees to it that no
// file slips through: siblings of a path that is looked at afterwards, and leads where it led, are
// no rotated files of it (but copies, or older), and are recorded as known; once a path has
// changed, and the new file is held open, whatever is not known stood there in between.
func (f *follower) look() (paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.scan++
	f.standing = make(map[string]*tracked)
	for _, p := range f.settings.Path {
		if !isPattern(p) && !f.settings.excludes(p) {
			f.stream(filepath.Clean(p))
		}
	}
	before := f.siblings(func(*stream) bool { return true })
	paths = f.settings.matches()
	var found []*stranger
	for _, p := range paths {
		found = f.visit(found, sibling{path: p, base: p}, now)
	}
	f.depart(now)
	for _, s := range before {
		found = f.visit(found, s, now)
	}
	f.trace(now)
	for _, s := range f.elsewhere() {
		n := len(found)
		if found = f.visit(found, s, now); n < len(found) {
			found[n].apart = true
		}
	}
	f.resolve(found, now)
	// Names may change while they are listed, which hides files. So it is done until nothing
	// changes any more.
	for range 10 {
		again := f.siblings(func(s *stream) bool { return f.scan == 1 || !s.changed.IsZero() })
		if slices.Equal(again, before) {
			break
		}
		before, found = again, nil
		for _, s := range again {
			found = f.visit(found, s, now)
		}
		f.resolve(found, now)
	}
	f.tidy(now)
	f.started = true
	nudge(f.wake)
	return paths
}

// stream returns the stream of a path, a new one if there is none.
func (f *follower) stream(path string) *stream {
	s := f.streams[path]
	if s == nil {
		s = &stream{path: path}
		if f.started && (f.scan > 1 || matchesAny(f.followed, path)) {
			s.changed = time.Now() // files may have stood there since the last look
		}
		f.streams[path] = s
	}
	return s
}

// visit sees what is at a path: a file that is known, or else a stranger.
func (f *follower) visit(found []*stranger, at sibling, now time.Time) []*stranger {
	info, err := os.Stat(at.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir():
		return found
	case err != nil:
		f.warn(at.path, "cannot open a file, trying again", "path", at.path, "err", err)
		return found
	}
	id := fileID(info, at.path)
	t := f.table[id]
	if t != nil && t.Done && packed.MatchString(at.path) && t.changed(info) {
		delete(f.table, id) // it is still being packed
		t = nil
	}
	switch {
	case t != nil && (t.opened != nil || t.met && !t.changed(info)):
	case t != nil && f.meet(t, at.path):
	case f.held[id] != nil, f.settings.old(info) && (f.started || f.settings.From != "end"):
		return found
	default:
		return append(found, &stranger{sibling: at, info: info, since: now})
	}
	f.found(t, at.path, info, now)
	return found
}

// found notes where a file is.
func (f *follower) found(t *tracked, path string, info fs.FileInfo, now time.Time) {
	if t.scan != f.scan || path == t.Path {
		t.At = path
	}
	if t.stream != nil && t.changed(info) {
		f.enqueue(t.stream)
	}
	t.scan, t.seen = f.scan, now
	if path == t.Path {
		f.standing[path] = t
	}
	if t.opened != nil && !t.packed && t.changed(info) {
		if !t.holds(t.opened) {
			return // it was cut, and how much stood in it before is still asked for
		}
		t.glimpse()
	}
	t.info = info
}

// meet looks into a file that has the number of t, which is closed, and reports whether it is that.
func (f *follower) meet(t *tracked, path string) bool {
	o, err := open(path)
	if err != nil {
		f.warn(path, "cannot open a file, trying again", "path", path, "err", err)
		return true // as long as nothing else is known
	}
	own := o.inode.is(t.Inode)
	verdict := judge(facts{own: own, holds: own && t.agrees(o)})
	if verdict != same {
		if verdict == rewritten && !t.Done {
			t.met = true
			f.log.Warn("a file was cut or written anew meanwhile, reading it from its start", "path", path)
		}
		o.close()
		f.orphan(t)
		return false
	}
	t.Inode, t.met = o.inode, true
	if t.Left && !t.Done && t.grew(o) {
		if path == t.Path {
			f.standing[path] = t
		}
		f.rejoin(t, o.info)
	}
	if t.stream == nil {
		o.close()
		return true
	}
	f.attach(t, o)
	return true
}

// rejoin has a file read that was given up, and has grown.
func (f *follower) rejoin(t *tracked, info fs.FileInfo) {
	s := f.stream(t.Path)
	t.Left, t.complete = false, false
	f.join(s, t, info.ModTime())
	f.enqueue(s)
}

// orphan says that the file of t is not where it was.
func (f *follower) orphan(t *tracked) {
	if f.table[t.Inode.key()] == t {
		delete(f.table, t.Inode.key())
	}
	f.shut(t)
	t.missing = true
	f.orphans = append(f.orphans, t)
}

// depart sees which paths lead no more to the file that was found there last.
func (f *follower) depart(now time.Time) {
	for _, s := range f.streams {
		at := f.standing[s.path]
		if s.stood != at {
			s.stood, s.changed = at, now
		}
		for _, t := range s.files {
			if t == at {
				t.gone = time.Time{}
			} else if t.gone.IsZero() {
				t.gone = now
			}
			if !t.idle() || !t.gone.IsZero() {
				f.enqueue(s)
			}
		}
	}
}

// trace looks for closed files that are not where they were: under another name in their folder, or
// in a folder there (logrotate's olddir).
func (f *follower) trace(now time.Time) {
	listed := make(map[string]map[inode]string)
	for _, t := range f.table {
		if t.opened != nil || t.stream == nil || t.scan == f.scan {
			continue
		}
		dir := filepath.Dir(t.At)
		if listed[dir] == nil {
			listed[dir] = inodesIn(dir)
		}
		path := listed[dir][t.Inode.key()]
		info, err := os.Stat(path)
		if err != nil {
			f.orphan(t)
		} else if f.meet(t, path) {
			f.found(t, path, info, now)
		}
	}
}

// inodesIn returns where the files in a folder, and in the folders there, stand.
func inodesIn(dir string) map[inode]string {
	at := make(map[inode]string)
	for _, pattern := range []string{"*/*", "*"} { // a name in the folder itself counts if there are two
		names, _ := fs.Glob(os.DirFS(dir), pattern)
		for _, name := range names {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
				at[fileID(info, path)] = path
			}
		}
	}
	return at
}

// tidy gives up what was not found, and forgets what has been gone for long.
func (f *follower) tidy(now time.Time) {
	waits := make(map[string]bool)
	for _, s := range f.held {
		waits[s.base] = true
	}
	f.orphans = slices.DeleteFunc(f.orphans, func(t *tracked) bool {
		if !t.missing {
			return true
		}
		if t.stream != nil && (t.cut || !waits[t.Path]) {
			f.lose(t)
		}
		return t.forgotten(now)
	})
	for id, t := range f.table {
		if t.forgotten(now) {
			delete(f.table, id)
		}
	}
	for path, s := range f.streams {
		if now.Sub(s.changed) > settle {
			s.changed = time.Time{}
		}
		if len(s.files) == 0 && s.stood == nil && s.changed.IsZero() && !s.queued {
			delete(f.streams, path)
		}
	}
}

// lose reports what was not read of a file that is gone for good, as far as one can tell: of what
// came while nobody looked nothing is known. Should it be found after all, that is taken back.
func (f *follower) lose(t *tracked) {
	unread := max(0, t.size()-t.offset)
	if unread > 0 {
		t.lost = max(1, t.Pending)
		f.dropped(t.lost)
	}
	if unread > 0 || !t.met {
		f.log.Warn("a file is gone, with what was unread in it and what was added since it was seen last",
			"path", t.Path, "read", t.offset, "unread", unread, "lines", t.lost)
	}
	t.Left, t.Pending = true, 0 // for the next start, which is not to count it again
	t.part()
	f.enqueue(f.stream(t.Path))
}
