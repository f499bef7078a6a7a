//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

// notifySocket is what systemd has at the other end of $NOTIFY_SOCKET.
type notifySocket struct {
	t    *testing.T
	path string

	mu   sync.Mutex // guards told
	told []string   // that nobody has looked at
}

// listen makes the service manager of what this process does and starts from now on.
func listen(t *testing.T, watchdog time.Duration) *notifySocket {
	t.Helper()
	dir, err := os.MkdirTemp("", "") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", fmt.Sprint(watchdog.Microseconds()))
	}
	n := &notifySocket{t: t, path: path}
	go func() { // at once, whatever the test does: who tells waits when some ten are not read
		for buf := make([]byte, 4096); ; {
			size, err := conn.Read(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.told = append(n.told, string(buf[:size]))
			n.mu.Unlock()
		}
	}()
	return n
}

// until returns all assignments that were told up to one that begins with text.
func (n *notifySocket) until(text string) (all []string) {
	n.t.Helper()
	bridgetest.Eventually(n.t, text+" is told", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for len(n.told) > 0 {
			lines := strings.Split(n.told[0], "\n")
			n.told, all = n.told[1:], append(all, lines...)
			if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, text) }) {
				return true
			}
		}
		return false
	})
	return all
}

// left returns what was told before now.
func (n *notifySocket) left() []string {
	n.t.Helper()
	c, err := net.Dial("unixgram", n.path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("NOW")); err != nil {
		n.t.Fatal(err)
	}
	return n.until("NOW")
}

// The unit is up though a broker is down, says so, is alive, and has the time that the drain may
// take.
func TestServiceManager(t *testing.T) {
	n := listen(t, 400*time.Millisecond)
	dir := t.TempDir()
	p := start(t, dir, io.Discard, "run", "--log-format", "json", write(t, dir, "p.yaml", fmt.Sprintf(`
drain_timeout: 3m
pipelines:
  ticks: {from: {generate: {interval: 10ms}}, to: {file: {path: out.txt}}}
  down: {from: {generate: {interval: 10ms}}, to: {mqtt: {url: "mqtt://%s", topic: x}}}
`, bridgetest.FreeAddr(t))))
	all := n.until("READY=1")
	if all[0] != "STATUS=starting" || slices.Contains(all, "STOPPING=1") {
		t.Errorf("got %q", all)
	}
	for want := regexp.MustCompile(
		`^STATUS=2 pipelines: 1 running, 1 starting \(down: mqtt .* is down: .*refused.*\)$`); ; {
		if i := slices.IndexFunc(all, want.MatchString); i >= 0 {
			break
		}
		all = n.until("STATUS=")
	}
	for range 3 {
		n.until("WATCHDOG=1")
	}
	p.signal(syscall.SIGTERM)
	if all := n.until("STOPPING=1"); !slices.Contains(all, "EXTEND_TIMEOUT_USEC=201000000") {
		t.Errorf("got %q", all)
	}
	_ = p.exit()
	if all := n.left(); slices.Contains(all, "STOPPING=1") || slices.Contains(all, "READY=1") {
		t.Errorf("at the end: %q", all)
	}
}

// A process that has done its work before anybody looked was ready nevertheless; one that did not
// start was not.
func TestServiceManagerShortRuns(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		text string
		code int
		want []string
	}{
		{
			"pipelines: {a: {from: {generate: {count: 1}}, to: discard}}", exitDone,
			[]string{"STATUS=starting", "READY=1", "STOPPING=1"},
		},
		{"pipelines: {a: {from: nothing, to: discard}}", exitUsage, []string{}},
		{"embedded: {nats: '" + taken.Addr().String() + "'}", exitFailed, []string{"STATUS=starting", "STOPPING=1"}},
	} {
		n := listen(t, 0)
		dir := t.TempDir()
		p := start(t, dir, io.Discard, "run", write(t, dir, "p.yaml", c.text))
		if code := p.exit(); code != c.code {
			t.Errorf("%s: exit code %d", c.text, code)
		}
		got := slices.DeleteFunc(n.left(), func(l string) bool {
			return l == "NOW" || strings.HasPrefix(l, "EXTEND_TIMEOUT_USEC=") || strings.HasPrefix(l, "STATUS=1 pipeline")
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, diff)
		}
	}
}

// A reload is told with its time, and ends also when it has failed.
func TestServiceManagerReload(t *testing.T) {
	n := listen(t, 0)
	s := startService(t.Context(), slog.New(slog.DiscardHandler), time.Second)
	defer s.close()
	s.watch(1, func() []monitor.Pipeline { return []monitor.Pipeline{{Name: "a", State: monitor.Running}} })
	n.until("READY=1")
	monotonic := regexp.MustCompile(`(?m)^MONOTONIC_USEC=[1-9][0-9]*$`)
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("p.yaml:3:1: unknown key\np.yaml:4:1: and so on"), "STATUS=the last reload has failed: " +
			"p.yaml:3:1: unknown key p.yaml:4:1: and so on; as before: 1 pipeline: 1 running"},
		{nil, "STATUS=1 pipeline: 1 running"},
	} {
		s.reloading()
		if all := n.until("RELOADING=1"); !monotonic.MatchString(strings.Join(all, "\n")) {
			t.Errorf("got %q", all)
		}
		s.reloaded(c.err)
		if all := n.until("READY=1"); !slices.Contains(all, c.want) {
			t.Errorf("got %q, want %s", all, c.want)
		}
	}
}

// The watchdog hears nothing from a process that cannot even look at its pipelines.
func TestServiceManagerWatchdog(t *testing.T) {
	n := listen(t, 20*time.Millisecond)
	s := startService(t.Context(), slog.New(slog.DiscardHandler), time.Second)
	stuck, stick, free := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.watch(0, func() []monitor.Pipeline {
		select {
		case <-stick:
			select {
			case <-stuck:
			default:
				close(stuck)
			}
			<-free
		default:
		}
		return nil
	})
	n.until("WATCHDOG=1")
	close(stick)
	<-stuck
	n.left()
	if all := n.left(); len(all) > 1 {
		t.Errorf("got %q", all)
	}
	close(free)
	n.until("WATCHDOG=1")
	s.close()
}

// Without a service manager nothing is told, and one that cannot be reached is a warning.
func TestNoServiceManager(t *testing.T) {
	for socket, want := range map[string]string{"": "", "/nowhere/at/all": "the service manager cannot be told"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		s := startService(ctx, slog.New(slog.NewTextHandler(&log, nil)), time.Second)
		s.watch(0, func() []monitor.Pipeline { return nil })
		s.reloading()
		s.reloaded(nil)
		cancel()
		s.close()
		if got := log.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%q: the log is %q", socket, got)
		}
	}
}

func TestStatusLine(t *testing.T) {
	pipelines := []monitor.Pipeline{
		{Name: "a", State: monitor.Running},
		{Name: "b", State: monitor.Waiting, Reason: "mqtt b-to is down:\n connection refused"},
		{Name: "c", State: monitor.Running},
		{Name: "d", State: monitor.Finished},
	}
	for _, c := range []struct {
		pipelines []monitor.Pipeline
		want      string
	}{
		{nil, "0 pipelines"},
		{pipelines[:1], "1 pipeline: 1 running"},
		{pipelines[:3], "3 pipelines: 2 running, 1 waiting (b: mqtt b-to is down: connection refused)"},
		{pipelines[2:], "2 pipelines: 1 running, 1 finished"},
		{
			[]monitor.Pipeline{{Name: "a", State: monitor.Failed, Reason: strings.Repeat("ä", 1000)}},
			"1 pipeline: 1 failed (a: " + strings.Repeat("ä", 200) + "…)",
		},
	} {
		if got := statusLine(c.pipelines); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
