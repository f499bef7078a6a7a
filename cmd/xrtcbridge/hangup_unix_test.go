//go:build unix

package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// SIGHUP reloads, and does nothing where it is ignored. That of a terminal that ends is a stop, see
// TestHangupOfATerminal.
func TestHangup(t *testing.T) {
	t.Parallel()
	t.Run("reloads", func(t *testing.T) {
		notIgnored(t, syscall.SIGHUP)
		dir := t.TempDir()
		p := start(t, dir, io.Discard, "run", "--log-format", "json", write(t, dir, "p.yaml", ticking))
		bridgetest.Eventually(t, "messages flow", func() bool { return len(readLines(t, filepath.Join(dir, "out.txt"))) > 3 })
		write(t, dir, "p.yaml", strings.Replace(ticking, "out.txt", "other.txt", 1))
		p.signal(syscall.SIGHUP)
		bridgetest.Eventually(t, "messages flow there",
			func() bool { return len(readLines(t, filepath.Join(dir, "other.txt"))) > 3 })
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitDone {
			t.Errorf("exit code %d", code)
		}
		l := ledgerOf(t, p.log.String(), "ticks")
		got := len(readLines(t, filepath.Join(dir, "out.txt"))) + len(readLines(t, filepath.Join(dir, "other.txt")))
		if number(l, "in_flight") != 0 || number(l, "delivered") != got {
			t.Errorf("%d lines, and the ledger is %v", got, l)
		}
	})
	t.Run("under nohup", func(t *testing.T) {
		nohup, err := exec.LookPath("nohup")
		if err != nil {
			bridgetest.Missing(t, "nohup")
		}
		dir := t.TempDir()
		p := launch(t, dir, func(cmd *exec.Cmd) { cmd.Path, cmd.Args = nohup, append([]string{nohup}, cmd.Args...) },
			"run", "--log-format", "json", write(t, dir, "p.yaml", ticking))
		out := filepath.Join(dir, "out.txt")
		bridgetest.Eventually(t, "messages flow", func() bool { return len(readLines(t, out)) > 3 })
		p.signal(syscall.SIGHUP)
		before := len(readLines(t, out))
		bridgetest.Eventually(t, "messages go on", func() bool { return len(readLines(t, out)) > before+50 })
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitDone {
			t.Errorf("exit code %d:\n%s", code, p.log.tail())
		}
	})
}
