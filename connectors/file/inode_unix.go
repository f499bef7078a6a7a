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

// fileID returns device and inode.
func fileID(info fs.FileInfo, _ string) inode {
	s := info.Sys().(*syscall.Stat_t)
	return inode{Device: uint64(s.Dev), Number: s.Ino} //nolint:unconvert,gosec // the types differ among systems
}

// mayOpen returns how many files the process may have open.
func mayOpen() int {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 1 << 10
	}
	return int(min(r.Cur, 1<<20)) //nolint:gosec // it is bounded
}

// owner returns to whom a file belongs.
func owner(info fs.FileInfo) (uid, gid int, known bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(s.Uid), int(s.Gid), true
}
