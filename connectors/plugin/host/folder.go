package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
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

// lockMark begins a lock that a host made and holds or held, so that no other folder is cleared
// away.
const lockMark = "xrtcbridge plugins, process "

// longestFolder is how long the path of one may be, for that of a socket of a plugin within it.
const longestFolder = len(syscall.RawSockaddrUnix{}.Path) - len("/plugin-dir4294967295/plugin4294967295") - 1

// newFolder makes one in the folder for temporary files, and clears away those whose owner died.
func newFolder() (*folder, error) {
	path, err := os.MkdirTemp("", folderPattern)
	if err != nil {
		return nil, fmt.Errorf("make folder for plugins: %w", err)
	}
	f := &folder{path: path}
	if err = owned.Folder(path); err != nil { // whoever exchanges it has its own programs started
		err = fmt.Errorf("%w; TMPDIR says where temporary files are", err)
	} else if len(path) > longestFolder {
		err = fmt.Errorf("%s is too long for the sockets of plugins, its most are %d bytes: set TMPDIR to a shorter path",
			path, longestFolder)
	} else if f.lock, err = claim(filepath.Join(path, lockName)); err == nil {
		sweep(os.TempDir())
		return f, nil
	}
	return nil, fmt.Errorf("make folder for plugins: %w", errors.Join(err, os.RemoveAll(path)))
}

// claim makes and locks a file. That it has the mark comes last.
func claim(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = waitLock(lock); err == nil { // who sweeps may have it for a moment
		_, err = fmt.Fprintf(lock, "%s%d\n", lockMark, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (f *folder) remove() error {
	return errors.Join(os.RemoveAll(f.path), f.lock.Close())
}

// sweep removes the folders of this user's hosts that are gone, and ends what they may have left
// running.
func sweep(in string) {
	stale, _ := filepath.Glob(filepath.Join(in, folderPattern+"*"))
	for _, path := range stale {
		sweepFolder(path)
	}
}

// sweepFolder leaves what it cannot remove to the next one.
func sweepFolder(path string) {
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return // a link may lead to any folder of the user
	}
	f, err := (owned.Place{Path: path}).Open()
	if err != nil {
		return // another user's
	}
	defer func() { _ = f.Close() }()
	lock, err := f.OpenFile(lockName, false)
	if err != nil {
		return // not a host's, or one that is being made
	}
	defer func() { _ = lock.Close() }()
	mark := make([]byte, len(lockMark))
	if lockFile(lock) != nil {
		return
	}
	if _, err := io.ReadFull(lock, mark); err != nil || string(mark) != lockMark {
		return
	}
	killLeft(path)
	_ = os.RemoveAll(path)
}
