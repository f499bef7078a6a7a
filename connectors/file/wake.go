package file

import (
	"path/filepath"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/fsnotify/fsnotify"
)

const (
	// A look takes a hundredth of the time at most, as long as no change is reported, but is not put
	// off for longer than seldom; and a third of it when names change all the time.
	share  = 100
	seldom = 5 * time.Second
	busy   = 2
)

// watch looks now and then, and when the system reports a change. Reports only make it
// quicker: they get lost, and some file systems make none.
func (f *follower) watch(notify *fsnotify.Watcher) {
	var events chan fsnotify.Event
	var errs chan error
	if notify != nil {
		defer func() { _ = notify.Close() }()
		events, errs = notify.Events, notify.Errors
	}
	soon, took := false, time.Duration(0)
	next := time.NewTimer(f.settings.Poll)
	defer next.Stop()
	for {
		was := soon
		select {
		case <-f.closing:
			return
		case err := <-errs:
			f.log.Debug("the system lost reports of changes", "err", err)
			soon = true
		case e := <-events:
			soon = soon || e.Op&^(fsnotify.Write|fsnotify.Chmod) != 0 || !f.touch(e.Name)
		case <-f.search:
			soon = true
		case <-next.C:
			began := time.Now()
			f.cover(notify, f.look())
			took, soon = time.Since(began), false
			next.Reset(max(f.settings.Poll, min(share*took, seldom)))
		}
		if soon && !was { // once only: reports may come faster than a timer
			next.Reset(busy * took)
		}
	}
}

// touch has the file at a path read on, and reports whether it is known what that is.
func (f *follower) touch(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.standing[path]; t != nil && t.stream != nil {
		f.enqueue(t.stream)
		nudge(f.wake)
	}
	for _, s := range f.held {
		if s.path == path {
			return false
		}
	}
	return true
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// cover asks for reports about the folders of the files and patterns. What
// cannot be watched is polled only.
func (f *follower) cover(notify *fsnotify.Watcher, paths []string) {
	if notify == nil {
		return
	}
	asked := make(map[string]bool)
	ask := func(dir string) {
		if !asked[dir] {
			asked[dir] = true
			_ = notify.Add(dir)
		}
	}
	for _, p := range f.settings.Path {
		dir, _ := doublestar.SplitPattern(filepath.ToSlash(p))
		ask(filepath.FromSlash(dir))
	}
	for _, p := range paths {
		ask(filepath.Dir(p))
	}
}
