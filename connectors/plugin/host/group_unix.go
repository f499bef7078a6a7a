//go:build unix

package host

import (
	"errors"
	"os"
	"strconv"
	"syscall"
)

// keepFiles keeps from plugins what this process was started with beside the standard streams: a
// shell, or a service manager, may have left files open for it that are not for them.
func keepFiles() {
	for _, folder := range []string{"/proc/self/fd", "/dev/fd"} {
		open, err := os.ReadDir(folder)
		for _, one := range open {
			if fd, err := strconv.Atoi(one.Name()); err == nil && fd > 2 {
				syscall.CloseOnExec(fd) // which all that is opened here has
			}
		}
		if err == nil {
			return
		}
	}
}

func (c *child) killGroup() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
	}
}

func isExecFormat(err error) bool { return errors.Is(err, syscall.ENOEXEC) }
