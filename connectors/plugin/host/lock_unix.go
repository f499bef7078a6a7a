//go:build unix

package host

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks f until it is closed, or returns an error if another process has it.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// waitLock locks f until it is closed, as soon as nobody else has it.
func waitLock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
