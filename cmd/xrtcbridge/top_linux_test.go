package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// fickle is a bridge that is not always there.
type fickle struct {
	there atomic.Bool
	did   chan string
}

func (f *fickle) fetch(context.Context) (monitor.Status, error) {
	if !f.there.Load() {
		return monitor.Status{}, errors.New("nobody is there")
	}
	return busy(), nil
}

func (f *fickle) do(_ context.Context, verb, pipeline string) (string, error) {
	f.did <- verb + " " + pipeline
	return "", errors.New("it does not want to")
}

// openScreen makes a terminal of 80×24, and returns a function that waits until it was sent that. It
// asks for all of the screen again and again, since top sends what differs only.
func openScreen(t testing.TB) (keys, its *os.File, shows func(part string) string) {
	t.Helper()
	keys, its = openTerminal(t)
	if err := unix.IoctlSetWinsize(int(its.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	sent := make(chan string)
	go func() {
		defer close(sent)
		for b := make([]byte, 1<<16); ; {
			n, err := keys.Read(b)
			if err != nil {
				return
			}
			select {
			case sent <- string(b[:n]):
			case <-t.Context().Done():
				return
			}
		}
	}()
	all := ""
	return keys, its, func(part string) string {
		t.Helper()
		for late := time.After(bridgetest.Timeout); !strings.Contains(all, part); {
			select {
			case <-time.After(50 * time.Millisecond):
				_, _ = keys.WriteString("\x0c")
			case more, open := <-sent:
				if all += more; !open {
					t.Fatalf("the terminal is closed, and never got %q:\n%q", part, all)
				}
			case <-late:
				t.Fatalf("the terminal does not get %q:\n%q", part, all)
			}
		}
		return all
	}
}

// On a terminal top tries until a bridge is there, goes on when it goes, does what keys say, and
// leaves the terminal as it was.
func TestTopOnATerminal(t *testing.T) {
	colour := regexp.MustCompile(`\x1b\[[0-9;]*3[0-7][;m]`)
	for _, noColor := range []string{"", "1"} {
		t.Run("NO_COLOR="+noColor, func(t *testing.T) {
			t.Setenv("NO_COLOR", noColor)
			t.Setenv("TERM", "xterm-256color")
			keys, its, shows := openScreen(t)
			mode, err := unix.IoctlGetTermios(int(its.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			b := &fickle{did: make(chan string, 1)}
			ended := make(chan error, 1)
			go func() { ended <- std{in: its, data: &terminal{to: its}}.watch(t.Context(), b) }()
			press := func(k string) {
				t.Helper()
				if _, err := keys.WriteString(k); err != nil {
					t.Fatal(err)
				}
			}
			shows("trying again: nobody is there")
			b.there.Store(true)
			shows("starts again in 3s")
			press("\x1b[B") // down
			press("r")
			shows("restart waits?")
			press("y")
			if did := <-b.did; did != "restart waits" {
				t.Errorf("did %s", did)
			}
			shows("it does not want to")
			b.there.Store(false)
			shows("what is below was so")
			press("q")
			if err := <-ended; err != nil {
				t.Error(err)
			}
			all := shows("\x1b[?1049l") // the other screen
			if colour.MatchString(all) == (noColor != "") {
				t.Errorf("colours are used: %v", noColor != "")
			}
			if after, err := unix.IoctlGetTermios(int(its.Fd()), unix.TCGETS); err != nil || *after != *mode {
				t.Errorf("the terminal is left as %+v, and was %+v: %v", after, mode, err)
			}
		})
	}
}

func TestTopSnapshot(t *testing.T) {
	b := &fickle{}
	var out strings.Builder
	s := std{data: &out, out: &out}
	if err := s.watch(t.Context(), b); err == nil || out.Len() > 0 {
		t.Errorf("without a bridge: %v, %q", err, out.String())
	}
	b.there.Store(true)
	if err := s.watch(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "snapshot", out.String())
}

// The real thing: a bridge that comes, is looked at and steered, goes and comes again.
func TestTopOfARunningBridge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "pipelines.yaml", `
pipelines:
  ticks: {from: {generate: {interval: 10ms, payload: tick}}, steps: [{filter: "true"}], to: {file: {path: out}}}
`)
	if got := printedBy(t, dir, false, "top"); !strings.Contains(got, "no bridge answers at") ||
		!strings.Contains(got, "hint: ") {
		t.Errorf("without a bridge and a terminal it prints %q", got)
	}
	keys, its, shows := openScreen(t)
	watching := exec.CommandContext(t.Context(), "xrtcbridge", "top")
	watching.Dir, watching.Env = dir, append(os.Environ(), "TERM=xterm-256color")
	watching.Stdin, watching.Stdout, watching.Stderr = its, its, its
	if err := watching.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watching.Wait() }()
	press := func(k string) {
		t.Helper()
		if _, err := keys.WriteString(k); err != nil {
			t.Fatal(err)
		}
	}
	shows("no bridge answers at")
	bridge := start(t, dir, nil, "run")
	shows("1 running")
	press("\r")
	shows("↓ step filter")
	press("p")
	shows("pause ticks?")
	press("y")
	shows("pause ticks: done")
	shows("paused")
	if got := printedBy(t, dir, false, "top"); !strings.HasPrefix(got, "PIPELINE") ||
		!strings.Contains(got, "ticks     paused") {
		t.Errorf("without a terminal it prints %q", got)
	}
	press("r")
	shows("resume ticks: done")
	bridge.signal(syscall.SIGTERM)
	bridge.exit()
	shows("what is below was so")
	start(t, dir, nil, "run")
	press("\x1b")
	shows("● ready")
	if err := watching.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("a signal ends it with %v", err)
	}
	shows("\x1b[?1049l")
}
