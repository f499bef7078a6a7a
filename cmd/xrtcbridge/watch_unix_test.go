//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// S52: what takes the place of a file that is watched and need not end, as a pipe or a device, is
// refused, and the next one is read.
func TestS52EndlessFileThatIsWatched(t *testing.T) {
	r := startReloading(t, reloadTop+ticks("a", "a.txt"), "--watch")
	r.flows("a.txt")
	pipe := filepath.Join(r.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pipe, r.file); err != nil {
		t.Fatal(err)
	}
	bridgetest.Eventually(t, "it is refused", func() bool {
		said, _ := r.ask("status", "--json", "--state", filepath.Join(r.dir, "xrtcbridge-state"))
		return strings.Contains(said, "not a regular file")
	})
	other := write(t, r.dir, "new", reloadTop+ticks("a", "b.txt"))
	if err := os.Rename(other, r.file); err != nil {
		t.Fatal(err)
	}
	r.flows("b.txt")
}

// A change that was taken back by a reload which somebody else asked for is one when it comes again.
func TestReloadByWatchingWhatCameBefore(t *testing.T) {
	one, other := reloadTop+ticks("b", "b.txt"), reloadTop+ticks("b", "c.txt")
	notIgnored(t, syscall.SIGHUP)
	r := startReloading(t, one, "--watch", "--log-level", "debug")
	r.flows("b.txt")
	write(t, r.dir, "p.yaml", other)
	r.flows("c.txt")
	write(t, r.dir, "p.yaml", one)
	r.signal(syscall.SIGHUP)
	bridgetest.Eventually(t, "the watcher has seen what the signal did", func() bool {
		const quiet = `"the files are as they were read","reloads":`
		return r.log.count(quiet+"2}")+r.log.count(quiet+"3}") > 0 // it may have asked, too
	})
	write(t, r.dir, "p.yaml", other)
	r.flows("c.txt")
}
