//go:build !linux

package host

import "os/exec"

// startTied starts the command that build makes in a group of its own. It ends when its standard input does.
func startTied(build func() *exec.Cmd, _ Limits) (*exec.Cmd, error) {
	cmd := build()
	setGroup(cmd)
	return cmd, cmd.Start()
}
