package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// folder is a private folder for sockets and copies of programs, with a lock that
// is held as long as its owner lives.
type folder struct {
	path string
	lock *os.File
}

const (
	folderPattern = "xrtcb-"
	lockName      = "lock"
)

// newFolder makes one in the folder for temporary files, and clears away those whose owner died.
func newFolder() (*folder, error) {
	sweep(os.TempDir())
	path, err := os.MkdirTemp("", folderPattern) // short, since the path of a socket has a hundred bytes at most
	if err != nil {
		return nil, fmt.Errorf("make folder for plugins: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = lockFile(lock)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make folder for plugins: %w", err), os.RemoveAll(path))
	}
	return &folder{path, lock}, nil
}

func (f *folder) remove() error {
	return errors.Join(os.RemoveAll(f.path), f.lock.Close())
}

// sweep removes the folders of hosts that are gone, and ends what they may have left running.
func sweep(in string) {
	stale, _ := filepath.Glob(filepath.Join(in, folderPattern+"*"))
	for _, path := range stale {
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // another user's, or one that is being made
		}
		if lockFile(lock) == nil {
			killLeft(path)
			_ = os.RemoveAll(path) // what cannot be removed is tried again next time
		}
		_ = lock.Close()
	}
}
