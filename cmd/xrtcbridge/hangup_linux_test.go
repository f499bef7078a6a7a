package main

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// Issue 11, row 15: the end of the terminal is a stop like any other; SIGHUP from somebody else is
// a reload also for a process that has one.
func TestHangupOfATerminal(t *testing.T) {
	t.Parallel()
	notIgnored(t, syscall.SIGHUP)
	ours, its := openTerminal(t)
	dir := t.TempDir()
	p := launch(t, dir, func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.SysProcAttr = its, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, "run", "--log-format", "json", write(t, dir, "p.yaml", ticking))
	_ = its.Close()
	out := filepath.Join(dir, "out.txt")
	bridgetest.Eventually(t, "messages flow", func() bool { return len(readLines(t, out)) > 3 })
	p.signal(syscall.SIGHUP)
	bridgetest.Eventually(t, "it is a reload", func() bool { return p.log.count(`"msg":"reloaded"`) == 1 })
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	l := ledgerOf(t, p.log.String(), "ticks")
	if got := len(readLines(t, out)); number(l, "in_flight") != 0 || number(l, "delivered") != got {
		t.Errorf("%d lines, and the ledger is %v", got, l)
	}
}
