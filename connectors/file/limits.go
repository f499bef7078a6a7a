package file

import (
	"cmp"
	"errors"
	"sync/atomic"
	"syscall"
)

// handles bounds how many files all followers of the process keep open.
type handles struct {
	limit int64
	used  atomic.Int64
}

// newHandles leaves most of what the process may open to others.
func newHandles() *handles { return &handles{limit: int64(min(512, max(4, mayOpen()/4)))} }

// attach gives t an open file. Above the limit another one is closed, and found again by its name.
func (f *follower) attach(t *tracked, o *opened) {
	f.handles.used.Add(1)
	t.opened, t.packed, t.missing, t.drained = o, o.packed, false, false
	t.Inode, t.info = o.inode, o.info
	t.glimpse()
	f.enqueue(t.stream)
	for f.handles.used.Load() > f.handles.limit {
		quiet := f.quietest(t)
		if quiet == nil {
			return
		}
		f.shut(quiet)
	}
}

// quietest returns the open file that is missed least.
func (f *follower) quietest(but *tracked) (quiet *tracked) {
	rank := func(t *tracked) (rank int) {
		if !t.gone.IsZero() {
			rank = 2 // it would not be found again
		}
		if !t.idle() {
			rank++
		}
		return rank
	}
	for _, t := range f.table {
		if t.opened != nil && t != but && (quiet == nil ||
			cmp.Or(cmp.Compare(rank(t), rank(quiet)), t.grown.Compare(quiet.grown)) < 0) {
			quiet = t
		}
	}
	return quiet
}

// reopen opens the file of t again, and reports whether it is there.
func (f *follower) reopen(t *tracked) bool {
	o, err := open(t.At)
	switch {
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		f.warn("", "too many files are open, reading them one after the other; raise the limit (ulimit -n)", "err", err)
		if quiet := f.quietest(t); quiet != nil {
			f.shut(quiet)
		}
		return false
	case err != nil || !o.inode.is(t.Inode):
		if err == nil {
			o.close()
		}
		nudge(f.search)
		return false
	}
	f.attach(t, o)
	return true
}
