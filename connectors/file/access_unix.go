//go:build unix

package file

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// mayMake asks the system whether this process could make a file in a folder.
func mayMake(dir string) error {
	var info unix.Stat_t
	err := unix.Stat(dir, &info)
	switch {
	case err == nil && info.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = fmt.Errorf("%w", syscall.ENOTDIR)
	case err == nil:
		err = unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: mount it for writing", err)
	}
	return err
}
