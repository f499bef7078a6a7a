package faulttest

import (
	"net"
	"syscall"
	"unsafe"
)

// unsent returns how many bytes that were written the other side's kernel has
// not acknowledged; 0 for a socket that is closed.
func unsent(c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var n int32
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n)
}
