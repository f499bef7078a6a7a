package file

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// sibling is a file whose name says that it once had the name base.
type sibling struct {
	base, path string
	info       fs.FileInfo // nil if it was gone again
}

func (s sibling) same(other sibling) bool {
	return s.path == other.path && s.info != nil && other.info != nil && os.SameFile(s.info, other.info)
}

func (s sibling) modified() time.Time {
	if s.info == nil {
		return time.Time{}
	}
	return s.info.ModTime()
}

// names knows the names of rotated files.
type names struct {
	rotated *regexp.Regexp // what stands behind the base
	packed  *regexp.Regexp // of files that hold no lines, and were read before they were packed
}

func newNames() names {
	return names{
		rotated: regexp.MustCompile(`^[.-](\d[\w.:+-]*|old)$`),
		packed:  regexp.MustCompile(`\.(gz|zst|xz|bz2|lz4|zip)(\.[^/]*)?$`),
	}
}

func (n names) match(name, base string) bool {
	rest, found := strings.CutPrefix(name, base)
	return found && n.rotated.MatchString(rest) && !n.packed.MatchString(rest)
}

// siblings returns the rotated files of bases, those that were written last at the end.
func (n names) siblings(bases []string) []sibling {
	var found []sibling
	listed := make(map[string][]string)
	for _, base := range bases {
		dir, name := filepath.Split(base)
		dir = filepath.Clean(dir)
		entries, done := listed[dir]
		if !done {
			entries = list(dir)
			listed[dir] = entries
		}
		for _, e := range entries {
			if !n.match(e, name) {
				continue
			}
			path := filepath.Join(dir, e)
			info, err := os.Lstat(path)
			if err != nil {
				info = nil
			}
			if err != nil || info.Mode().IsRegular() {
				found = append(found, sibling{base, path, info})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b sibling) int { return cmp.Or(a.modified().Compare(b.modified()), cmp.Compare(a.path, b.path)) })
	return found
}

func list(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	entries, _ := d.Readdirnames(-1)
	return entries
}
