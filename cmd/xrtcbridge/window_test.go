package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// windows is a pipeline with a step that holds: numbers in a file that is followed → what the step
// makes of them in another.
type windows struct {
	t       *testing.T
	dir     string
	config  string
	in      *os.File
	n       int // numbers in the file
	out     string
	p       *process
	numbers func(line []byte) []int // that a line of the other file is about
	killed  int                     // the last plugin that was
}

// startWindows starts a pipeline with the step average of the example in Python. Numbers of a
// window follow one another, so that its mean and count tell which they are.
func startWindows(t *testing.T, perWindow int, every string) *windows {
	t.Helper()
	program := built(t, "plugin-python", "xrtcbridge-sensor")
	plugins := fmt.Sprintf("plugins: {python: {path: %q, limits: {crashes: 100}}}", program)
	return startHolding(t, plugins, fmt.Sprintf("average: {count: %d, every: EVERY}", perWindow), every,
		func(line []byte) (all []int) {
			var window struct {
				Mean  float64
				Count int
			}
			if json.Unmarshal(line, &window) != nil {
				return nil
			}
			first := window.Mean - float64(window.Count-1)/2
			if first != float64(int(first)) || window.Count > perWindow {
				t.Fatalf("%s is not the window of numbers that follow one another", line)
			}
			for k := range window.Count {
				all = append(all, int(first)+k)
			}
			return all
		})
}

// startHolding starts a pipeline with a step.
func startHolding(t *testing.T, plugins, step, every string, numbers func(line []byte) []int) *windows {
	t.Helper()
	dir := t.TempDir()
	w := &windows{t: t, dir: dir, out: filepath.Join(dir, "means.txt"), numbers: numbers}
	in := filepath.Join(dir, "numbers.txt")
	w.config = fmt.Sprintf(`
state: {dir: %q}
%s
pipelines:
  means:
    max_batch: 50
    from: {file: {path: %q, follow: true}}
    steps: [{%s}]
    to: {file: {path: %q}}
`, filepath.Join(dir, "state"), plugins, in, step, w.out)
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
			Msg                               string
			Received, Made, Merged, Delivered int
		}
		if json.Unmarshal([]byte(line), &ledger) == nil && ledger.Msg == "ledger" {
			received = ledger.Received
			if received+ledger.Made != ledger.Merged+ledger.Delivered {
				w.t.Errorf("the ledger does not balance: %s", line)
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
// are.
func (w *windows) arrived() (times []int, made int) {
	w.t.Helper()
	times = make([]int, w.n+1)
	for _, line := range readLines(w.t, w.out) {
		all := w.numbers([]byte(line))
		if all == nil {
			continue // it is being written
		}
		made++
		for _, n := range all {
			if n < 1 || n > w.n {
				w.t.Fatalf("%s has a number that was not written", line)
			}
			times[n]++
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
	t.Parallel()
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
	t.Parallel()
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
			bridgetest.Eventually(w.t, "another plugin runs",
				func() bool { w.killed = w.p.pids()["python"]; return w.killed > 0 && w.killed != before })
			if err := syscall.Kill(w.killed, syscall.SIGKILL); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			rng := faulttest.Rand(t)
			w := startWindows(t, 100, "1h")
			more := func(windows int) {
				_, made := w.arrived()
				first := w.n + 1
				w.write(200 + rng.IntN(500))
				// Those that were on their way may arrive though what made them was killed.
				bridgetest.Eventually(t, "windows arrive, of these numbers, too", func() bool {
					times, now := w.arrived()
					return windows == 0 || now >= made+windows && slices.Max(times[first:]) > 0
				})
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

// holdingSteps are steps that hold, which have windows of a time.
var holdingSteps = map[string]string{
	"Batch":    `batch: {count: 7, period: EVERY, key: "{{ json % 3 }}"}`,
	"Window":   `window: {every: EVERY, value: "{{ json }}", functions: [list], key: "{{ json % 3 }}"}`,
	"Sliding":  `window: {every: EVERY, size: 1m, value: "{{ json }}", functions: [list]}`,
	"Session":  `window: {session: 10ms, max_session: EVERY, value: "{{ json }}", functions: [list], key: "{{ json % 3 }}"}`,
	"ByTime":   `window: {every: 100s, time: "{{ json }}", idle: EVERY, value: "{{ json }}", functions: [list], key: "{{ json % 3 }}"}`,
	"Delay":    `delay: EVERY`,
	"Throttle": `throttle: {rate: 20, per: EVERY, burst: 20, max_held: 200}`,
	"Conflate": `conflate: {period: EVERY, key: "{{ payload }}"}`,
}

// listed returns the numbers in what these steps make.
func listed(line []byte) (all []int) {
	var window struct{ List []int }
	var one int
	switch {
	case json.Unmarshal(line, &all) == nil:
		return all
	case json.Unmarshal(line, &window) == nil:
		return window.List
	case json.Unmarshal(line, &one) == nil:
		return []int{one}
	}
	return nil
}

// F28: a stop lets go of what the steps hold, and the next run begins behind it: all that was read
// has arrived, and each number in one window. Those that overlap have them in several.
func TestF28StepsThatHold(t *testing.T) {
	for name, step := range holdingSteps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, received := startHolding(t, "", step, "60ms", listed), 0
			for run := range 3 {
				if run > 0 {
					w.run("60ms")
				}
				_, before := w.arrived() // before the write, since all may be there soon
				w.write(500)
				bridgetest.Eventually(t, "something arrives", func() bool { _, now := w.arrived(); return now > before })
				w.write(100)
				received += w.stop()
				if n := w.n - w.missing(); n != received {
					t.Fatalf("run %d: %d numbers were received, and %d arrived", run, received, n)
				}
			}
			w.finish()
			times, _ := w.arrived()
			for n, k := range times[1:] {
				if k != 1 && name != "Sliding" {
					t.Fatalf("number %d arrived %d times", n+1, k)
				}
			}
		})
	}
}

// F01: kill -9 loses nothing that the steps hold.
func TestF01StepsThatHold(t *testing.T) {
	for name, step := range holdingSteps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := faulttest.Rand(t)
			w := startHolding(t, "", step, "60ms", listed)
			for range faulttest.Pick(2, 30) {
				_, before := w.arrived()
				w.write(50 + rng.IntN(200))
				bridgetest.Eventually(t, "something arrives", func() bool { _, now := w.arrived(); return now > before })
				w.write(rng.IntN(100))
				w.p.kill()
				w.run("60ms")
			}
			w.stop()
			w.finish()
		})
	}
}
