package file

import (
	"fmt"
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

// setAside renames a file, and returns all that were set aside, oldest first. The new
// name sorts behind the old ones whatever the clock says, since keep goes by that.
func (d *folder) setAside(name string, now time.Time) ([]string, error) {
	old, err := d.rotated(name)
	if err != nil {
		return nil, fmt.Errorf("rotate: %w", err)
	}
	aside := name + now.UTC().Format(stamp)
	if n := len(old); n > 0 && old[n-1] >= aside {
		last, err := time.Parse(stamp, old[n-1][len(name):])
		if err != nil {
			return nil, fmt.Errorf("rotate: %w", err)
		}
		aside = name + last.Add(time.Millisecond).Format(stamp)
	}
	if err := d.root.Rename(name, aside); err != nil {
		return nil, fmt.Errorf("rotate: %w", err)
	}
	return append(old, aside), nil
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
