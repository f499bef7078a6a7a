package file

import (
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch looks now and then, and when the system reports a change. Reports only make it
// quicker: they get lost, and some file systems make none.
func (f *follower) watch(notify *fsnotify.Watcher) {
	tick := time.NewTicker(f.settings.Poll)
	defer tick.Stop()
	var events chan fsnotify.Event
	var errs chan error
	if notify != nil {
		defer func() { _ = notify.Close() }()
		events, errs = notify.Events, notify.Errors
	}
	for {
		names := true
		select {
		case <-f.closing:
			return
		case <-tick.C:
		case err := <-errs:
			f.log.Debug("the system lost reports of changes", "err", err)
		case e := <-events:
			names = e.Op&^(fsnotify.Write|fsnotify.Chmod) != 0
		}
		if names {
			if paths, err := f.look(); err == nil {
				f.cover(notify, paths)
			}
		}
		f.nudge()
	}
}

// nudge makes Read look.
func (f *follower) nudge() {
	select {
	case f.wake <- struct{}{}:
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
	for _, list := range [][]string{f.settings.Path, paths} {
		for _, p := range list {
			if dir := filepath.Dir(p); !asked[dir] {
				asked[dir] = true
				_ = notify.Add(dir)
			}
		}
	}
}
