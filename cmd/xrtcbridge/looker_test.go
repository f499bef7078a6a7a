package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// looker is one who looks at a running bridge.
type looker struct {
	name string
	seen func() int64 // a number that grows
	stop func()
}

// startLooker runs a command that looks, on a terminal or into a pipe. Of a pipe is counted what the
// command has written.
func startLooker(t testing.TB, dir string, terminal *os.File, args ...string) looker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xrtcbridge", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TERM=xterm-256color")
	var seen counter
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &seen, &said
	if terminal != nil {
		cmd.Stdin, cmd.Stdout = terminal, terminal
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return looker{strings.Join(args, " "), seen.n.Load, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ends with %v: %s", args, err, said.String())
		}
	}}
}

// counter counts bytes that are written to it.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// dashboardLink returns the link that lets a browser in.
func dashboardLink(t testing.TB, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "xrtcbridge", "dashboard", "p.yaml")
	cmd.Dir = dir
	link, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, link)
	}
	return strings.TrimSpace(string(link))
}
