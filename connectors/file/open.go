package file

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// open opens a file for writing, mends it, and remembers it.
func (s *sink) open(name string) (*target, error) {
	if len(s.files) >= maxOpen {
		if err := s.evict(); err != nil {
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

// evict closes the file that has been unused for the longest time.
func (s *sink) evict() error {
	var oldest *target
	for _, t := range s.files {
		if oldest == nil || t.used < oldest.used {
			oldest = t
		}
	}
	if err := s.finishOne(oldest); err != nil {
		return err
	}
	delete(s.files, oldest.name)
	return oldest.file.Close()
}

// rotate sets the file aside and goes on with a new one.
func (s *sink) rotate(t *target, now time.Time) error {
	if err := s.finishOne(t); err != nil {
		return err
	}
	if err := s.folder.setAside(t.name, now); err != nil {
		return err
	}
	if keep := s.settings.Rotate.Keep; keep > 0 {
		if err := s.folder.removeOld(t.name, keep); err != nil {
			s.log.Warn("rotated files stay that should go", "path", t.path, "err", err)
		}
	}
	// The old file is whole and safe whatever closing says, and no longer ours.
	_ = t.file.Close()
	if err := s.attach(t); err != nil {
		t.failed = true
		return err
	}
	return nil
}

// finishOne writes and makes certain what the current Write has for t.
func (s *sink) finishOne(t *target) error {
	return cmp.Or(t.flush(), t.settle(s.settings.Sync))
}
