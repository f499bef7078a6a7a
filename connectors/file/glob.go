package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// isPattern reports whether a path may name several files.
func isPattern(path string) bool { return strings.ContainsAny(path, `*?[{\`) }

// matches returns the paths that match any of the patterns and no exclude, sorted, each once.
func (s *SourceSettings) matches() (paths []string) {
	for _, p := range s.Path {
		if !isPattern(p) {
			if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
				paths = append(paths, filepath.Clean(p))
			}
			continue
		}
		var options []doublestar.GlobOption
		if strings.Contains(p, "**") {
			options = append(options, doublestar.WithNoFollow()) // links to folders may lead round for ever
		}
		found, _ := doublestar.FilepathGlob(p, options...) // patterns are well-formed
		paths = append(paths, found...)
	}
	paths = slices.DeleteFunc(paths, s.excludes)
	slices.Sort(paths)
	return slices.Compact(paths)
}

func (s *SourceSettings) excludes(path string) bool { return matchesAny(s.Exclude, path) }

// matchesAny reports whether any pattern matches the path. One without a slash is about its last
// element.
func matchesAny(patterns []string, path string) bool {
	for _, p := range patterns {
		name := path
		if !strings.ContainsRune(filepath.ToSlash(p), '/') {
			name = filepath.Base(path)
		}
		if ok, _ := doublestar.PathMatch(filepath.Clean(p), name); ok || p == name {
			return true
		}
	}
	return false
}

// old reports whether ignore_older leaves a file out.
func (s *SourceSettings) old(info fs.FileInfo) bool {
	return s.IgnoreOlder > 0 && time.Since(info.ModTime()) > s.IgnoreOlder
}

// impossible returns why what a path names can never be read.
func (s *SourceSettings) impossible() error {
	for _, p := range s.Path {
		if info, err := os.Stat(p); err == nil {
			if err := regular(p, info); err != nil {
				return err
			}
		}
	}
	return nil
}

// absent says what is missing of a path that leads to no file: itself, or a folder before it.
func absent(pattern string) string {
	dir, _ := doublestar.SplitPattern(filepath.ToSlash(pattern))
	for dir = filepath.FromSlash(dir); ; dir = filepath.Dir(dir) {
		parent := filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil || parent == dir {
			return "no such file in " + dir
		} else if _, err := os.Stat(parent); err == nil {
			return "there is no folder " + dir
		}
	}
}
