//go:build unix

package stdio

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// await waits until from has something to read, or has ended, and reports whether it could tell: a
// read does not block then.
func await(from io.Reader) bool {
	f, ok := from.(*os.File)
	if !ok {
		return false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	poll := func(fd uintptr, timeout int) bool {
		n := 0
		for failed = unix.EINTR; failed == unix.EINTR; {
			n, failed = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
		}
		return n != 0
	}
	// If the runtime can wait for it, whoever closes it need not wait until something comes.
	if err = raw.Read(func(fd uintptr) bool { return poll(fd, 0) }); err != nil {
		err = raw.Control(func(fd uintptr) { poll(fd, -1) })
	}
	return err == nil && failed == nil
}
