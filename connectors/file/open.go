package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// open opens a file for writing, mends it, and remembers it.
func (s *sink) open(name string) (*target, error) {
	if len(s.files) >= maxOpen {
		// Which of so many will be needed next cannot be told.
		if err := cmp.Or(s.finish(), s.closeFiles()); err != nil {
			return nil, err
		}
	}
	t := &target{name: name, path: filepath.Join(s.folder.dir, name)}
	if err := s.attach(t); err != nil {
		return nil, err
	}
	s.files[name] = t
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

// attach opens the file of t.
func (s *sink) attach(t *target) error {
	f, created, err := s.folder.open(t.name)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open: %w", err), f.Close())
	}
	if info.Mode()&fs.ModeNamedPipe != 0 {
		// It would take what nobody reads, and drop that when it is closed.
		return errors.Join(&nameError{fmt.Errorf("%s is a pipe, not a file", t.path)}, f.Close())
	}
	t.file, t.regular, t.size = f, info.Mode().IsRegular(), info.Size()
	// File systems do not tell when a file was made.
	t.born = info.ModTime()
	if created {
		t.born = time.Now()
	}
	if err := s.mend(t); err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", t.path, err), f.Close())
	}
	t.safe = t.size
	return nil
}

// mend sees to it that the file ends with a whole message.
func (s *sink) mend(t *target) error {
	if !t.regular || t.size == 0 {
		return nil
	}
	whole, err := lastWhole(t.file, t.size)
	if err != nil || whole == t.size {
		return err
	}
	if err := s.folder.mend(t.file, t.name, whole, t.size); err != nil {
		return err
	}
	s.log.Warn("moved a torn line aside", "path", t.path, "to", t.path+".torn", "bytes", t.size-whole)
	t.size = whole
	return nil
}

// rotate sets the file aside and goes on with a new one.
func (s *sink) rotate(t *target, now time.Time) error {
	if err := s.finishOne(t); err != nil {
		return err
	}
	// The old file is whole and safe whatever closing says. Some systems do not rename an open one.
	_ = t.file.Close()
	t.failed = true // until there is a new one
	delete(s.files, t.name)
	old, err := s.folder.setAside(t.name, now)
	if err != nil {
		return err
	}
	for keep := s.settings.Rotate.Keep; keep > 0 && len(old) > keep; old = old[1:] {
		if err := s.folder.root.Remove(old[0]); err != nil {
			s.log.Warn("a rotated file stays that should go", "path", t.path, "err", err)
		}
	}
	if err := s.attach(t); err != nil {
		return err
	}
	t.failed = false
	s.files[t.name] = t
	return nil
}

// finishOne writes and makes certain what the current Write has for t.
func (s *sink) finishOne(t *target) error {
	return cmp.Or(t.flush(), t.settle(s.settings.Sync))
}
