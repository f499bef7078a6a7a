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
