package embedded

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// store is the locked folder of JetStream.
type store struct {
	dir       string     // as it is called
	folder    *owned.Dir // as it is used, so that nobody who has a folder above can exchange it
	temporary bool
	lock      *os.File // nil for a temporary folder
	used      int64    // bytes of JetStream, at the start
}

var errLocked = errors.New("locked")

// InUseError says that another process has the store.
type InUseError struct {
	Dir     string
	Process string // its number; empty if it has not told it
	Visitor bool   // it will soon be gone
	Setting string // that names another store; empty: that of NATS
}

func (e *InUseError) Error() string {
	if e.Visitor {
		return fmt.Sprintf("lock store: process %s is looking into %s: try again", e.Process, e.Dir)
	}
	return fmt.Sprintf("lock store: %s is used by process %s: stop that one, or give this one a folder of its own, as in %s",
		e.Dir, e.Process, cmp.Or(e.Setting, "embedded: {nats: {store: data/other}}"))
}

const visitorMark = "visitor"

// Lock locks f until it is closed. It reports false if another process has locked it.
func Lock(f *os.File) bool { return !errors.Is(lockFile(f), errLocked) }

// openStore makes and locks the folder at the place, or a temporary one if it has no path. The
// server itself would let two processes write to one folder.
func openStore(at owned.Place, visitor bool) (*store, error) {
	s := &store{dir: at.Path}
	var err error
	if at.Path == "" {
		s.temporary = true
		if s.dir, err = os.MkdirTemp("", "xrtcbridge-store-"); err != nil {
			return nil, fmt.Errorf("create store: %w", err)
		}
		if s.folder, err = (owned.Place{Path: s.dir}).Open(); err != nil {
			err = errors.Join(fmt.Errorf("%w; TMPDIR says where temporary files are", err), os.Remove(s.dir))
		}
	} else {
		s.folder, err = at.Make()
	}
	if err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	if !s.temporary {
		err = s.take(visitor)
	}
	if err != nil {
		return nil, errors.Join(err, s.folder.Close())
	}
	return s, nil
}

// take locks the store, and makes sure that all in it is this user's.
func (s *store) take(visitor bool) error {
	lock, err := s.folder.OpenFile("xrtcbridge.lock", true)
	if err != nil {
		return fmt.Errorf("lock store: %w", err)
	}
	if err = lockFile(lock); errors.Is(err, errLocked) {
		pid, mark, _ := strings.Cut(owner(lock), " ")
		err = &InUseError{Dir: s.dir, Process: pid, Visitor: mark == visitorMark}
	} else if err != nil {
		err = fmt.Errorf("lock store %s: %w", s.dir, err)
	} else if s.used, err = s.folder.CheckTree(server.JetStreamStoreDir); err != nil {
		err = fmt.Errorf("open store: %w", err)
	}
	if err != nil {
		_ = lock.Close()
		return err
	}
	// What is written is for the errors above only, so that failing to write it harms nothing.
	text := strconv.Itoa(os.Getpid())
	if visitor {
		text += " " + visitorMark
	}
	if lock.Truncate(0) == nil {
		_, _ = fmt.Fprintln(lock, text)
	}
	s.lock = lock
	return nil
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
	free, err := freeSpace(s.folder.Path())
	if err != nil {
		return configured
	}
	if reserve == 0 {
		reserve = free / 2
	}
	return max(1, min(configured, s.used+free-reserve)) // to the server, 0 is no limit
}

// close frees the store. In the background the server may still delete what was purged, which has
// names that nothing else has, should the path of the folder be that of another one by then.
func (s *store) close() error {
	if s.temporary {
		return errors.Join(os.RemoveAll(s.dir), s.folder.Close())
	}
	return errors.Join(s.lock.Close(), s.folder.Close())
}
