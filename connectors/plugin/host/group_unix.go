//go:build unix

package host

import (
	"errors"
	"syscall"
)

func (c *child) killGroup() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
	}
}

func isExecFormat(err error) bool { return errors.Is(err, syscall.ENOEXEC) }
