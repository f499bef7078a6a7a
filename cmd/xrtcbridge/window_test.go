package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// windows is a pipeline with the step average of the example in Python: numbers in a file that is
// followed → their means in another.
type windows struct {
	t         *testing.T
	dir       string
	config    string
	in        *os.File
	n         int // numbers in the file
	out       string
	p         *process
	perWindow int
	killed    int // the last plugin that was
}

// startWindows starts the pipeline.
func startWindows(t *testing.T, perWindow int, every string) *windows {
	t.Helper()
	program, dir := built(t, "plugin-python", "xrtcbridge-sensor"), t.TempDir()
	w := &windows{t: t, dir: dir, out: filepath.Join(dir, "means.txt"), perWindow: perWindow}
	in := filepath.Join(dir, "numbers.txt")
	w.config = fmt.Sprintf(`
state: {dir: %q}
plugins:
  python: {path: %q, limits: {crashes: 100}}
pipelines:
  means:
    max_batch: 50
    from: {file: {path: %q, follow: true}}
    steps: [{average: {count: %d, every: EVERY}}]
    to: {file: {path: %q}}
`, filepath.Join(dir, "state"), program, in, perWindow, w.out)
	var err error
	if w.in, err = os.Create(in); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.in.Close() })
	w.run(every)
	return w
}

// run starts the process. A window that is not full waits for so long.
func (w *windows) run(every string) {
	w.t.Helper()
	file := write(w.t, w.dir, "pipelines.yaml", strings.ReplaceAll(w.config, "EVERY", every))
	w.p = start(w.t, w.dir, io.Discard, "run", "--log-format", "json", file)
	w.p.opened(3)
}

// stop ends the process as a supervisor does, and returns how many numbers it has read.
func (w *windows) stop() (received int) {
	w.t.Helper()
	w.p.signal(syscall.SIGTERM)
	if code := w.p.exit(); code != exitDone {
		w.t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(w.p.log.String()) {
		var ledger struct {
			Msg              string
			Received, Merged int
		}
		if json.Unmarshal([]byte(line), &ledger) == nil && ledger.Msg == "ledger" {
			received = ledger.Received
			if ledger.Merged != received {
				w.t.Errorf("%d numbers were received, and %d merged", received, ledger.Merged)
			}
		}
	}
	return received
}

// finish lets all that is not in a window yet go.
func (w *windows) finish() {
	w.t.Helper()
	w.run("20ms")
	bridgetest.Eventually(w.t, "each number is in a window", func() bool { return w.missing() == 0 })
	w.stop()
	_, made := w.arrived()
	w.t.Logf("%d numbers in %d windows", w.n, made)
}

// write appends the next n numbers.
func (w *windows) write(n int) {
	w.t.Helper()
	var b strings.Builder
	for range n {
		w.n++
		fmt.Fprintln(&b, w.n)
	}
	if _, err := w.in.WriteString(b.String()); err != nil {
		w.t.Fatal(err)
	}
}

// arrived returns how often each number is in a window that arrived, and how many windows there
// are. Numbers of a window follow one another, so that its mean and count tell which they are.
func (w *windows) arrived() (times []int, made int) {
	w.t.Helper()
	times = make([]int, w.n+1)
	for _, line := range readLines(w.t, w.out) {
		var window struct {
			Mean  float64
			Count int
		}
		if json.Unmarshal([]byte(line), &window) != nil {
			continue // it is being written
		}
		made++
		first := window.Mean - float64(window.Count-1)/2
		if first != float64(int(first)) || first < 1 || int(first)+window.Count-1 > w.n || window.Count > w.perWindow {
			w.t.Fatalf("%s is not the window of numbers that follow one another", line)
		}
		for k := range window.Count {
			times[int(first)+k]++
		}
	}
	return times, made
}

// missing returns how many numbers are in no window.
func (w *windows) missing() (n int) {
	times, _ := w.arrived()
	for _, t := range times[1:] {
		if t == 0 {
			n++
		}
	}
	return n
}

// F28: a stop flushes the window that is not full, and the next run begins behind it: all that was
// read is in a window, and each number in just one.
func TestF28WindowInPython(t *testing.T) {
	w := startWindows(t, 7, "1h")
	received := 0
	for run := range 3 {
		if run > 0 {
			w.run("1h")
		}
		w.write(1000) // which is no multiple of 7
		bridgetest.Eventually(t, "most windows are there", func() bool { return w.missing() < 500 })
		received += w.stop()
		if n := w.n - w.missing(); n != received {
			t.Fatalf("run %d: %d numbers were received, and %d are in windows", run, received, n)
		}
	}
	w.finish()
	times, _ := w.arrived()
	for n, k := range times[1:] {
		if k != 1 {
			t.Fatalf("number %d is in %d windows", n+1, k)
		}
	}
}

// A window that is not full goes when its time has come.
func TestWindowInPythonByTime(t *testing.T) {
	w := startWindows(t, 1000, "50ms")
	for range 3 {
		w.write(10)
		bridgetest.Eventually(t, "the numbers are in windows", func() bool { return w.missing() == 0 })
	}
	w.stop()
}

// F01, F18: kill -9 of the bridge, or of the plugin alone, loses nothing that is held: each number
// is in a window.
func TestF01WindowInPython(t *testing.T) {
	for what, kill := range map[string]func(w *windows){
		"Bridge": func(w *windows) {
			w.p.kill()
			w.run("1h")
		},
		"Plugin": func(w *windows) {
			before := w.killed
			bridgetest.Eventually(w.t, "another plugin runs", func() bool { w.killed = w.p.pids()["python"]; return w.killed > 0 && w.killed != before })
			if err := syscall.Kill(w.killed, syscall.SIGKILL); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			rng := faulttest.Rand(t)
			w := startWindows(t, 100, "1h")
			more := func(windows int) {
				w.write(200 + rng.IntN(500))
				_, made := w.arrived()
				bridgetest.Eventually(t, "windows arrive", func() bool { _, now := w.arrived(); return now >= made+windows })
			}
			for range faulttest.Pick(4, 30) {
				more(rng.IntN(3))
				kill(w)
			}
			more(1) // the stop is of one that is well
			w.stop()
			w.finish()
		})
	}
}
