//go:build !unix

package host

import "os/exec"

func setGroup(*exec.Cmd) {}

func (c *child) killGroup() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Kill() // it may be gone
	}
}

func isExecFormat(error) bool { return false }

func keepFiles() {}
