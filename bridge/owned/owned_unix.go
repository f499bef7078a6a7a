//go:build unix

package owned

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// noWait does not wait for the other end of a pipe, and noFollow refuses links, too.
const (
	noWait   = syscall.O_NONBLOCK
	noFollow = syscall.O_NOFOLLOW | noWait
)

// owners says that files have owners here.
const owners = true

// stranger returns whose something is, and whether that is not this user.
func stranger(info fs.FileInfo) (user uint32, other bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Uid, int(s.Uid) != os.Geteuid()
}

// writers returns the group that can write there, unless nobody else is in it, and whether
// everybody can.
func writers(info fs.FileInfo) (group string, all bool) {
	mode := info.Mode()
	s, ok := info.Sys().(*syscall.Stat_t)
	if ok && mode&0o020 != 0 && s.Gid != 0 && (int(s.Gid) != os.Geteuid() || int(s.Gid) != os.Getegid()) {
		group = strconv.FormatUint(uint64(s.Gid), 10)
		if g, err := user.LookupGroupId(group); err == nil {
			group += " (" + g.Name + ")"
		}
	}
	return group, mode&0o002 != 0
}

// usable returns an error if this process may not read and write what is at path.
func usable(path string, folder bool) error {
	const execute, write, read = 1, 2, 4
	if folder {
		return syscall.Access(path, read|write|execute)
	}
	return syscall.Access(path, read|write)
}

// privateSocket sets the mode that bind gives to the file of a socket. Linux heeds it; others do
// not, or refuse.
func privateSocket(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}

// lock reports false if somebody else has locked f. unlock gives the lock back.
func lock(f *os.File) bool {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EWOULDBLOCK)
}

func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
