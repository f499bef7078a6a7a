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
	var err error
	for range 10 { // another host may take it for one whose owner died before it is locked
		path, failed := os.MkdirTemp("", folderPattern) // short, since the path of a socket has a hundred bytes at most
		if failed != nil {
			return nil, fmt.Errorf("make folder for plugins: %w", failed)
		}
		var lock *os.File
		if lock, err = claim(filepath.Join(path, lockName)); err == nil {
			return &folder{path, lock}, nil
		}
		err = errors.Join(err, os.RemoveAll(path))
	}
	return nil, fmt.Errorf("make folder for plugins: %w", err)
}

// claim makes and locks a file, and makes sure that nobody has removed it between the two.
func claim(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = lockFile(lock); err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
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
