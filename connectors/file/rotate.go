package file

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stamp is what rotation puts behind a name. It sorts by time.
const stamp = ".20060102T150405.000Z"

// due reports whether t is to be set aside before size bytes are added.
func (r Rotate) due(t *target, size int, now time.Time) bool {
	has := t.size + int64(len(t.buf))
	if has == 0 || !t.regular {
		return false
	}
	return r.Size > 0 && has+int64(size) > int64(r.Size) || r.Age > 0 && now.Sub(t.born) >= r.Age
}

// setAside renames a file.
func (d *folder) setAside(name string, now time.Time) error {
	for ; ; now = now.Add(time.Millisecond) {
		aside := name + now.UTC().Format(stamp)
		_, err := d.root.Lstat(aside)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate: %w", err)
		}
		if err := d.root.Rename(name, aside); err != nil {
			return fmt.Errorf("rotate: %w", err)
		}
		return nil
	}
}

// removeOld removes what was set aside of a file, but the newest keep.
func (d *folder) removeOld(name string, keep int) error {
	old, err := d.rotated(name)
	if err != nil {
		return err
	}
	for ; len(old) > keep; old = old[1:] {
		if err := d.root.Remove(old[0]); err != nil {
			return err
		}
	}
	return nil
}

// rotated returns the files that rotation made of name, oldest first.
func (d *folder) rotated(name string) ([]string, error) {
	parent := filepath.Dir(name)
	dir, err := d.root.Open(parent)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	base := filepath.Base(name)
	var old []string
	for _, e := range entries {
		rest, found := strings.CutPrefix(e, base)
		if !found {
			continue
		}
		if _, err := time.Parse(stamp, rest); err == nil {
			old = append(old, filepath.Join(parent, e))
		}
	}
	slices.Sort(old)
	return old, nil
}
