package file

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// sibling is a file whose name says that it once had the name base.
type sibling struct{ path, base string }

// siblings returns the rotated files of some paths.
func (f *follower) siblings(of func(*stream) bool) (found []sibling) {
	listed := make(map[string]bool)
	for path := range f.streams {
		dir := filepath.Dir(path)
		if listed[dir] {
			continue
		}
		listed[dir] = true
		for _, name := range list(dir) {
			path := filepath.Join(dir, name)
			if f.streams[path] != nil || f.settings.excludes(path) {
				continue
			}
			base := rotatedFrom(path, func(base string) bool { return f.streams[base] != nil })
			if base != "" && of(f.streams[base]) {
				found = append(found, sibling{path, base})
			}
		}
	}
	slices.SortFunc(found, func(a, b sibling) int { return cmp.Compare(a.path, b.path) })
	return found
}

// elsewhere returns the rotated files, in the folders beside them (logrotate's olddir), of paths of
// which a file is missing.
func (f *follower) elsewhere() (found []sibling) {
	asked := make(map[string]bool)
	for _, t := range f.orphans {
		if !t.missing || t.stream == nil || asked[t.Path] {
			continue
		}
		asked[t.Path] = true
		dir := filepath.Dir(t.Path)
		names, _ := fs.Glob(os.DirFS(dir), "*/*")
		for _, name := range names {
			path := filepath.Join(dir, filepath.FromSlash(name))
			beside := filepath.Join(dir, filepath.Base(path))
			if rotatedFrom(beside, func(base string) bool { return base == t.Path }) != "" && !f.settings.excludes(path) {
				found = append(found, sibling{path, t.Path})
			}
		}
	}
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

var (
	number = regexp.MustCompile(`^(\d[\w.:+-]*|old)$`)
	packed = regexp.MustCompile(`\.(gz|zst|xz|bz2|lz4|zip)(\.[^/]*)?$`)
)

// unpacked reports whether a file has the name of a packed one, and is none.
func (s *stranger) unpacked() bool { return !s.packed && packed.MatchString(s.path) }

// rotatedFrom returns the path that a file had before rotation renamed it, and perhaps packed it, if
// there is one: app.log.1.gz and app-20261127.log were app.log. Else it returns "".
func rotatedFrom(path string, is func(base string) bool) string {
	dir, name := filepath.Split(path)
	plain := packed.ReplaceAllString(name, "")
	if base := filepath.Join(dir, plain); plain != name && is(base) {
		return base
	}
	for i, c := range plain {
		if i == 0 || !strings.ContainsRune(".-_", c) {
			continue
		}
		stem, rest := filepath.Join(dir, plain[:i]), plain[i+1:]
		if number.MatchString(rest) && is(stem) {
			return stem
		}
		if j := strings.LastIndexByte(rest, '.'); j > 0 && number.MatchString(rest[:j]) && is(stem+rest[j:]) {
			return stem + rest[j:]
		}
	}
	return ""
}
