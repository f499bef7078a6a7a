package host

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startTied starts the command that build makes in a group of its own, such that the kernel sends
// it SIGHUP when this process ends. That signal comes when the *thread* that started it ends, so
// the calling goroutine, which waits for the process, keeps its thread for good. The thread also
// gives the child what cannot be asked for otherwise: a umask, and that it gains no rights by
// running other programs.
//
// SIGHUP and not SIGKILL, since it lets the plugin take along what it has started itself; a plugin that is stopped
// gets it too, because the kernel continues a stopped group that is orphaned.
func startTied(build func() *exec.Cmd, limits Limits) (*exec.Cmd, error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_FS); err == nil {
		unix.Umask(0o077)
	}
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) // kernels since 3.5 have it
	// A copy that was just written may still be open in a process that another thread forked at that moment.
	for wait := time.Millisecond; ; wait *= 2 {
		cmd := build()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGHUP}
		err := cmd.Start()
		if errors.Is(err, unix.ETXTBSY) && wait < time.Second {
			<-time.After(wait)
			continue
		}
		if err == nil {
			setLimits(cmd.Process.Pid, limits)
		}
		return cmd, err
	}
}

// setLimits bounds the process, which has hardly begun.
func setLimits(pid int, l Limits) {
	set := func(resource int, n uint64) {
		if n > 0 {
			// It may have ended already, or have a lower limit.
			_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil)
		}
	}
	set(unix.RLIMIT_NOFILE, uint64(l.Files))
	set(unix.RLIMIT_DATA, uint64(l.Memory))
}
