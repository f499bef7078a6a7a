package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// process is a running xrtcbridge.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	log logFile
}

// start starts xrtcbridge in dir, see launch.
func start(t testing.TB, dir string, stdout io.Writer, args ...string) *process {
	t.Helper()
	return launch(t, dir, func(cmd *exec.Cmd) { cmd.Stdout = stdout }, args...)
}

// launch starts xrtcbridge in dir as change wants it. It is killed at the end of the test, if it
// still runs.
func launch(t testing.TB, dir string, change func(*exec.Cmd), args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "xrtcbridge", args...)
	cmd.Dir = dir
	change(cmd)
	return startCommand(t, cmd)
}

func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	// A file and not a pipe: what a process has logged before it answers is there when it has.
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &process{t: t, cmd: cmd, log: logFile(log.Name())}
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			if t.Failed() {
				_ = p.cmd.Process.Signal(syscall.SIGQUIT) // where it stands
				<-time.After(time.Second)
			}
			p.kill()
		}
		if t.Failed() {
			t.Logf("log of process %d:\n%s", p.cmd.Process.Pid, p.log.tail())
		}
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// notIgnored has children not ignore a signal that whoever started the tests may ignore, as nohup
// does: what is caught here is not ignored by them.
func notIgnored(t *testing.T, s os.Signal) {
	t.Helper()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, s)
	t.Cleanup(func() { signal.Stop(caught) })
}

// kill kills the process as an operating system short of memory would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * bridgetest.Timeout):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-done
		p.t.Fatalf("the process goes on")
	}
	return p.cmd.ProcessState.ExitCode()
}

// opened waits until n sources and sinks have been opened.
func (p *process) opened(n int) {
	p.t.Helper()
	bridgetest.Eventually(p.t, fmt.Sprintf("%d connectors are open", n),
		func() bool { return p.log.count(`"msg":"opened"`) >= n })
}

// logFile is the path of what a process logs.
type logFile string

func (l logFile) String() string {
	text, _ := os.ReadFile(string(l))
	return string(text)
}

func (l logFile) count(text string) int { return strings.Count(l.String(), text) }

func (l logFile) tail() string { return tail(l.String()) }

// tail returns the end of a log.
func tail(s string) string { return s[max(0, len(s)-40000):] }

// logWatch collects what a process prints.
type logWatch struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logWatch) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logWatch) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// write writes a file into dir and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readLines returns the lines of a file, none if it is not there yet.
func readLines(t testing.TB, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// numberedLines returns the lines 0 to n-1, each with its number first.
func numberedLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d of a numbered lot\n", i)
	}
	return b.String()
}

// tally is what became of numbered lines.
type tally struct{ lost, duplicated, reordered int }

// count compares lines with the numbers 0 to n-1. Order is judged by first arrivals.
func count(t testing.TB, lines []string, n int) tally {
	t.Helper()
	var c tally
	seen := make([]bool, n)
	last := -1
	for _, l := range lines {
		var i int
		if _, err := fmt.Sscanf(l, "%d of a numbered lot", &i); err != nil || i < 0 || i >= n {
			t.Fatalf("corrupt line %q", l)
		}
		if seen[i] {
			c.duplicated++
			continue
		}
		if i < last {
			c.reordered++
		}
		seen[i], last = true, i
	}
	for _, s := range seen {
		if !s {
			c.lost++
		}
	}
	return c
}
