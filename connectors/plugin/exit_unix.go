//go:build unix

package plugin

import (
	"os"
	"os/signal"
	"syscall"
)

// ignoreSignals leaves stopping to the bridge: a signal to all processes, from a terminal or a
// service manager, must reach it first, so that it can deliver what it has read. SIGHUP is what the
// kernel sends when the bridge is gone.
func ignoreSignals() {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGHUP)
	go func() {
		<-gone
		exit()
	}()
}

// exit ends this process and what it started, if that is in a group of its own, as the bridge sees to.
func exit() {
	if syscall.Getpgrp() == os.Getpid() {
		_ = syscall.Kill(0, syscall.SIGKILL)
	}
	os.Exit(0)
}
