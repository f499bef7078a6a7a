package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// ledgersIn returns the ledgers in a log in JSON, by pipeline.
func ledgersIn(log string) map[string]map[string]float64 {
	all := make(map[string]map[string]float64)
	for line := range strings.Lines(log) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil || entry["msg"] != "ledger" {
			continue
		}
		l := make(map[string]float64)
		for key, v := range entry {
			if n, ok := v.(float64); ok {
				l[key] = n
			}
		}
		all[fmt.Sprint(entry["pipeline"])] = l
	}
	return all
}

// ledgerOf returns the ledger of a pipeline, which must be there.
func ledgerOf(t testing.TB, log, pipeline string) map[string]float64 {
	t.Helper()
	l := ledgersIn(log)[pipeline]
	if l == nil {
		t.Fatalf("no ledger of %s in\n%s", pipeline, log)
	}
	return l
}

// number returns a count of a ledger.
func number(l map[string]float64, key string) int { return int(l[key]) }

const ticking = `
pipelines:
  ticks:
    from: {generate: {interval: 1ms, payload: "{{ seq }}"}}
    to: {file: {path: out.txt}}
`

// A stop lets go of what a step holds, and of what waits in front of it because it holds so much.
func TestStopOfAStepThatIsFull(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"delay: {for: 1h, max_held: 2}", "throttle: {rate: 1, per: 1h, max_held: 2}"} {
		dir := t.TempDir()
		p := start(t, dir, io.Discard, "run", "--log-format", "json", write(t, dir, "p.yaml", `
pipelines:
  read: {from: {generate: {interval: 1ms}}, to: {file: {path: read.txt}}}
  held: {from: {file: {path: read.txt, follow: true}}, max_batch: 1, steps: [{`+step+`}], to: {file: {path: out.txt}}}
`))
		p.opened(5) // a stop before everything is connected is exit code 1
		bridgetest.Eventually(t, "messages flow", func() bool {
			return len(readLines(t, filepath.Join(dir, "read.txt"))) > 500
		})
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitDone {
			t.Errorf("%s: exit code %d:\n%s", step, code, p.log.tail())
		}
		l := ledgerOf(t, p.log.String(), "held")
		if got := len(readLines(t, filepath.Join(dir, "out.txt"))); number(l, "delivered") != got ||
			number(l, "in_flight") != 0 {
			t.Errorf("%s: %d lines, and the ledger is %v", step, got, l)
		}
	}
}

// Issue 11, row 14: of what was taken from standard input every line is delivered or counted, and a
// copy cut short is no success.
func TestStandardInputIsAccountedFor(t *testing.T) {
	t.Parallel()
	const total = 20_000
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := launch(t, dir, func(cmd *exec.Cmd) { cmd.Stdin = in }, "run", "--log-format", "json", "--log-level", "info",
		"--from", "stdio", "--to", "file,path=out.txt")
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(to, numberedLines(total))
		written <- err
	}()
	out := filepath.Join(dir, "out.txt")
	bridgetest.Eventually(t, "lines flow", func() bool { return len(readLines(t, out)) > 100 })
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(p.log.String(), "stopped before the end of its input") {
		t.Errorf("no word about the rest:\n%s", p.log.tail())
	}
	left := make(chan string, 1) // what nobody has taken
	go func() {
		rest, _ := io.ReadAll(in)
		left <- string(rest)
	}()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	rest := strings.Count(<-left, "\n")
	l := ledgerOf(t, p.log.String(), "inline")
	arrived := len(readLines(t, out))
	if number(l, "delivered") != arrived || number(l, "in_flight") != 0 {
		t.Errorf("%d lines arrived, and the ledger is %v", arrived, l)
	}
	// A line may be torn between the two.
	if all := arrived + number(l, "dropped") + rest; all < total || all > total+1 {
		t.Errorf("%d arrived, %d are counted as dropped, %d were left in the pipe: %d of %d", arrived,
			number(l, "dropped"), rest, all, total)
	}
	t.Logf("%d arrived, %d dropped, %d left", arrived, number(l, "dropped"), rest)
}

// Issue 11, row 12: a stop does not wait for a sink that does not answer when all is safe in the
// buffer.
func TestStopWhileABufferedSinkIsSilent(t *testing.T) {
	t.Parallel()
	const lot = 200
	h, dir, ledger := startHub(t), t.TempDir(), new(faulttest.Ledger)
	proxy := faulttest.NewProxy(t, h.addr)
	out := h.outlet("OUT", ledger)
	in := filepath.Join(dir, "in.txt")
	lines(t, in, 0, lot, lineSize, ledger)
	config := write(t, dir, "pipelines.yaml", fmt.Sprintf(`
drain_timeout: 1h
pipelines:
  relay:
    from: {file: {path: in.txt, follow: true}}
    buffer: disk
    to: {nats: {url: "nats://%s", stream: OUT, subject: OUT.file}}
`, proxy.Addr()))
	p := start(t, dir, io.Discard, "run", "--log-format", "json", config)
	buffered := func(n int) {
		t.Helper()
		bridgetest.Eventually(t, fmt.Sprintf("%d messages are in the buffer", n), func() bool {
			cmd := exec.CommandContext(t.Context(), "xrtcbridge", "buffer", "status", "relay", "--json", "--config", config)
			cmd.Dir = dir
			text, err := cmd.Output()
			return err == nil && strings.Contains(string(text), fmt.Sprintf(`"messages":%d,`, n))
		})
	}
	out.await(lot)
	buffered(0) // what has arrived, but without its confirmation, would be owed all the same
	proxy.Set(faulttest.Fault{BlackHole: true})
	lines(t, in, lot, lot, lineSize, ledger)
	buffered(lot)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d:\n%s", code, p.log.tail())
	}
	l := ledgerOf(t, p.log.String(), "relay")
	if number(l, "received") != 2*lot || number(l, "delivered") != lot || number(l, "buffered") != lot ||
		number(l, "in_flight") != 0 {
		t.Errorf("the ledger is %v", l)
	}
	proxy.Set(faulttest.Fault{})
	p = start(t, dir, io.Discard, "run", config)
	p.opened(4)
	out.await(2 * lot)
	endWell(t, p)
	ledger.Check(t, 2*lot)
}
