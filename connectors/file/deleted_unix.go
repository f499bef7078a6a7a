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
