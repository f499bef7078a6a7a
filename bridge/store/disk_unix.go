//go:build linux || darwin || freebsd

package store

import "golang.org/x/sys/unix"

// diskSpace returns how much the disk of dir holds in all, and how much an ordinary user can still write.
func diskSpace(dir string) (total, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Blocks) * int64(s.Bsize), int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // the types differ among systems
}
