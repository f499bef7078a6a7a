//go:build unix

package file

import (
	"io/fs"
	"syscall"
)

// deleted reports whether no name leads to the file any more.
func deleted(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Nlink == 0
}

// identity returns what stays the same when a file is renamed.
func identity(info fs.FileInfo) (device, inode uint64) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(s.Dev), s.Ino //nolint:unconvert,gosec // the types differ among systems
}
