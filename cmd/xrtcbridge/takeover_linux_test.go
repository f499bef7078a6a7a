package main

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// A second bridge on one state folder leaves the socket to the first one, also while that does not
// answer, and has no room for who asks.
func TestSocketOfABridgeThatHangs(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run("its queue is full: "+strconv.FormatBool(full), func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			write(t, dir, "pipelines.yaml", "state: state\npipelines: {a: {from: {generate: {interval: 1s}}, to: discard}}\n")
			first := start(t, dir, nil, "run", "--log-format", "json")
			first.opened(2)
			first.signal(syscall.SIGSTOP)
			var waiting []net.Conn
			for full {
				c, err := net.Dial("unix", filepath.Join(dir, "state", "admin.sock"))
				if errors.Is(err, syscall.EMFILE) {
					bridgetest.Missing(t, "open-files") // more can wait than this process may open: ulimit -n
				}
				if err != nil {
					break
				}
				waiting = append(waiting, c)
			}
			second := start(t, dir, nil, "run", "--log-format", "json")
			second.opened(2)
			if !strings.Contains(second.log.String(), "another bridge answers at ") {
				t.Error("the second says nothing of the first")
			}
			want := map[bool]string{true: "the bridge there is stopped, or ", false: "no answer within 10s: it is stopped, or "}
			if code, _, errs := command(t, dir, "pipeline", "pause", "a"); code != exitFailed ||
				!strings.Contains(errs, want[full]) {
				t.Errorf("status: %d, %s", code, errs)
			}
			if code, _, errs := command(t, dir, "top"); code != exitFailed || strings.Contains(errs, "deadline") ||
				!strings.Contains(errs, strings.ReplaceAll(want[full], "10s", "5s")) {
				t.Errorf("top: %d, %s", code, errs)
			}
			second.signal(syscall.SIGTERM)
			second.exit()
			for _, c := range waiting {
				_ = c.Close()
			}
			first.signal(syscall.SIGCONT)
			here := "in process " + strconv.Itoa(first.cmd.Process.Pid)
			bridgetest.Eventually(t, "the first one answers", func() bool {
				_, out, _ := command(t, dir, "status")
				return strings.Contains(out, here)
			})
			first.signal(syscall.SIGTERM)
			first.exit()
		})
	}
}
