package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// open opens a file for writing, mends it, and remembers it. It is for m, unless that is nil.
func (s *sink) open(name string, m *bridge.Message) (*target, error) {
	if len(s.files) >= s.most {
		// Which of so many will be needed next cannot be told.
		if err := cmp.Or(s.finish(), s.closeFiles()); err != nil {
			return nil, err
		}
	}
	t := &target{name: name, path: filepath.Join(s.folder.dir, name)}
	created, err := s.attach(t)
	if err != nil {
		return nil, err
	}
	s.files[name] = t
	if created && m != nil && s.settings.Rotate.Keep > 0 {
		old, err := s.dated(m, name)
		if err != nil {
			s.log.Warn("cannot look for older files", "path", t.path, "err", err)
		}
		s.prune(old)
	}
	return t, nil
}

func (s *sink) closeFiles() error {
	var errs []error
	for _, t := range s.files {
		errs = append(errs, t.file.Close())
	}
	clear(s.files)
	return errors.Join(errs...)
}

// attach opens the file of t, and reports whether it is new.
func (s *sink) attach(t *target) (created bool, err error) {
	f, created, err := s.folder.open(t.name)
	if err != nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil {
		return false, errors.Join(fmt.Errorf("open: %w", err), f.Close())
	}
	if err := owned.Reached(t.path, info); err != nil {
		if _, others := errors.AsType[*owned.OthersError](err); others {
			err = &nameError{err}
		}
		return false, errors.Join(fmt.Errorf("open: %w", err), f.Close())
	}
	if kind := blocking(f, info); kind != "" {
		// It would take what nobody reads, and drop that when it is closed, or take nothing for
		// ever.
		return false, errors.Join(&nameError{fmt.Errorf("%s is a %s, not a file; "+
			"the connector stdio writes there: xrtcbridge run … > %s", t.path, kind, t.path)}, f.Close())
	}
	t.file, t.regular, t.size, t.born = f, info.Mode().IsRegular(), info.Size(), time.Now()
	if !created {
		t.born = info.ModTime() // some file systems do not tell when a file was made
		if made := born(f); made != 0 && time.Unix(0, made).Before(t.born) {
			t.born = time.Unix(0, made)
		}
	}
	if err := s.mend(t); err != nil {
		return false, errors.Join(fmt.Errorf("open %s: %w", t.path, err), f.Close())
	}
	t.safe = t.size
	return created, nil
}

// blocking returns what a file is if writing to it may take for ever.
func blocking(f *os.File, info fs.FileInfo) string {
	switch {
	case info.Mode()&fs.ModeNamedPipe != 0:
		return "pipe"
	case info.Mode()&fs.ModeCharDevice != 0 && term.IsTerminal(int(f.Fd())):
		return "terminal"
	}
	return ""
}

// rotate sets the file aside and goes on with a new one.
func (s *sink) rotate(t *target, now time.Time) error {
	if err := s.finishOne(t); err != nil {
		return err
	}
	info, infoErr := t.file.Stat()
	// The old file is whole and safe whatever closing says. Some systems do not rename an open one.
	_ = t.file.Close()
	t.failed = true // until there is a new one
	delete(s.files, t.name)
	old, err := s.folder.setAside(t.name, now)
	if err != nil {
		return err
	}
	s.prune(old)
	if _, err := s.attach(t); err != nil {
		return err
	}
	if infoErr == nil {
		s.resemble(t, info)
	}
	t.failed = false
	s.files[t.name] = t
	return nil
}

// resemble gives a new file mode and owner of the one that stood there before.
func (s *sink) resemble(t *target, before fs.FileInfo) {
	err := t.file.Chmod(before.Mode().Perm())
	now, statErr := t.file.Stat()
	if uid, gid, known := owner(before); known && statErr == nil {
		if u, g, _ := owner(now); u != uid || g != gid {
			err = cmp.Or(err, t.file.Chown(uid, gid))
		}
	}
	if err != nil {
		s.log.Warn("a new file has not the mode and owner that the old one had", "path", t.path, "err", err)
	}
}

// finishOne writes and makes certain what the current Write has for t.
func (s *sink) finishOne(t *target) error {
	return cmp.Or(t.flush(), t.settle(s.settings.Sync))
}
