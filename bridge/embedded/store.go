package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// store is the locked folder of JetStream.
type store struct {
	dir       string
	temporary bool
	lock      *os.File // nil for a temporary folder
}

var errLocked = errors.New("locked")

// InUseError says that another process has the store.
type InUseError struct {
	Dir     string
	Process string // its number; empty if it has not told it
	Visitor bool   // it will soon be gone
}

func (e *InUseError) Error() string {
	if e.Visitor {
		return fmt.Sprintf("lock store: process %s is looking into %s: try again", e.Process, e.Dir)
	}
	return fmt.Sprintf("lock store: %s is used by process %s: stop that one, or choose another store", e.Dir, e.Process)
}

const visitorMark = "visitor"

// openStore makes and locks the folder dir, or a temporary one if dir is
// empty. The server itself would let two processes write to one folder.
func openStore(dir string, visitor bool) (*store, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "xrtcbridge-store-")
		if err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
		return &store{dir: dir, temporary: true}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "xrtcbridge.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	if err := lockFile(lock); err != nil {
		defer func() { _ = lock.Close() }()
		if errors.Is(err, errLocked) {
			pid, mark, _ := strings.Cut(owner(lock), " ")
			return nil, &InUseError{Dir: dir, Process: pid, Visitor: mark == visitorMark}
		}
		return nil, fmt.Errorf("lock store %s: %w", dir, err)
	}
	// What is written is for the errors above only, so that failing to write it harms nothing.
	text := strconv.Itoa(os.Getpid())
	if visitor {
		text += " " + visitorMark
	}
	if lock.Truncate(0) == nil {
		_, _ = fmt.Fprintln(lock, text)
	}
	return &store{dir: dir, lock: lock}, nil
}

func owner(lock *os.File) string {
	text := make([]byte, 40)
	n, _ := lock.ReadAt(text, 0)
	return strings.TrimSpace(string(text[:n]))
}

// limit returns how large the store may become: as configured, but never more
// than leaves the reserve free, which is half of what is free on the disk if it is 0. A full disk would harm
// the server until it is started again; a full store only refuses messages.
func (s *store) limit(configured, reserve int64) int64 {
	free, err := freeSpace(s.dir)
	if err != nil {
		return configured
	}
	var used int64
	_ = filepath.WalkDir(s.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // what cannot be seen is not counted
		}
		if info, err := entry.Info(); err == nil {
			used += info.Size()
		}
		return nil
	})
	if reserve == 0 {
		reserve = free / 2
	}
	return max(1, min(configured, used+free-reserve)) // to the server, 0 is no limit
}

func (s *store) close() error {
	if s.temporary {
		return os.RemoveAll(s.dir)
	}
	return s.lock.Close()
}
