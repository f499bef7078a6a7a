package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// publish pipes n numbered lines into mosquitto_pub at QoS 1. Version 2.0.11 of
// it is thrown out by its own broker when 65,535 lines wait in it, so the lines do not run ahead of
// arrived by that much.
func publish(t *testing.T, broker *bridgetest.Mosquitto, topic string, n int, arrived func() int) *exec.Cmd {
	t.Helper()
	host, port, _ := strings.Cut(broker.Addr, ":")
	cmd := exec.CommandContext(t.Context(), bridgetest.Program(t, "mosquitto_pub"), "-h", host, "-p", port, "-q",
		"1", "-t", topic, "-l")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer stdin.Close()
		for i, line := range slices.Collect(strings.Lines(numberedLines(n))) {
			for i%5000 == 0 && i-arrived() > 30_000 && t.Context().Err() == nil {
				<-time.After(5 * time.Millisecond)
			}
			if _, err := io.WriteString(stdin, line); err != nil {
				return // the process has ended, which the test notices
			}
		}
	}()
	return cmd
}

func mqttToFile(t *testing.T, dir string, broker *bridgetest.Mosquitto) string {
	t.Helper()
	return write(t, dir, "pipelines.yaml", fmt.Sprintf(`
pipelines:
  relay:
    from: {mqtt: {url: "%s", topics: ["in/#"], qos: 1, client_id: relay}}
    to: {file: {path: %s}}
`, broker.URL, filepath.Join(dir, "out.txt")))
}

// 100,000 lines at QoS 1 through a real broker: each once, in order.
func TestMosquittoLinesArriveOnceAndInOrder(t *testing.T) {
	t.Parallel()
	const n = 100_000
	broker, dir := bridgetest.StartMosquitto(t), t.TempDir()
	p := start(t, dir, io.Discard, "run", mqttToFile(t, dir, broker))
	p.opened(2)
	out := filepath.Join(dir, "out.txt")
	pub := publish(t, broker, "in/x", n, func() int { return len(readLines(t, out)) })
	if err := pub.Wait(); err != nil {
		t.Fatalf("mosquitto_pub: %v", err)
	}
	waitForSize(t, out, len(numberedLines(n)))
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != numberedLines(n) {
		t.Errorf("the file differs from what was published: %+v", count(t, readLines(t, out), n))
	}
}

func waitForSize(t *testing.T, path string, size int) {
	t.Helper()
	bridgetest.Reach(t, "bytes are in "+filepath.Base(path), size, func() int {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return int(info.Size())
	})
}

// F01, short form: kill -9 at random progress loses nothing and keeps the order. How
// much comes twice is up to the broker: when a session resumes, mosquitto sends
// all that it has without a look at max_inflight_messages or at acknowledgements.
func TestF01KillNine(t *testing.T) {
	t.Parallel()
	const n, kills = 15_000, 5
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	broker, dir := bridgetest.StartMosquitto(t), t.TempDir()
	config, out := mqttToFile(t, dir, broker), filepath.Join(dir, "out.txt")

	p := start(t, dir, io.Discard, "run", config)
	p.opened(2)
	pub := publish(t, broker, "in/x", n, func() int { return n })
	for k := range kills {
		at := (n/kills)*k + 1 + rng.IntN(n/kills-1)
		bridgetest.Eventually(t, fmt.Sprintf("%d lines are through", at), func() bool { return len(readLines(t, out)) >= at })
		p.kill()
		p = start(t, dir, io.Discard, "run", config)
	}
	if err := pub.Wait(); err != nil {
		t.Fatalf("mosquitto_pub: %v", err)
	}
	bridgetest.Eventually(t, "every line has arrived",
		func() bool { return count(t, whole(readLines(t, out)), n).lost == 0 })
	p.opened(2) // before that it may not know the signal, if nothing was left to deliver
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	c := count(t, readLines(t, out), n)
	t.Logf("%+v", c)
	if c.lost > 0 || c.reordered > 0 {
		t.Errorf("lost or reordered: %+v", c)
	}
}

// whole drops a last line that is still being written.
func whole(lines []string) []string {
	if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "of a numbered lot") {
		return lines[:n-1]
	}
	return lines
}

// F28, short form: SIGTERM under load with a slow sink loses nothing and doubles nothing.
func TestF28SIGTERMDrains(t *testing.T) {
	t.Parallel()
	const n, stops = 20_000, 3
	broker, dir := bridgetest.StartMosquitto(t), t.TempDir()
	config := write(t, dir, "pipelines.yaml", fmt.Sprintf(`
pipelines:
  relay:
    from: {mqtt: {url: "%s", topics: ["in/#"], qos: 1, client_id: relay}}
    to: stdio
`, broker.URL))
	var pub *exec.Cmd
	var got []string
	for k := range stops + 1 {
		slow := new(slowReader)
		p := start(t, dir, slow, "run", config)
		p.opened(2)
		if pub == nil {
			pub = publish(t, broker, "in/x", n, func() int { return n })
		}
		enough := n // the last one takes the rest
		if k < stops {
			enough = min(n, len(got)+n/(stops+2))
		}
		bridgetest.Eventually(t, fmt.Sprintf("%d lines have arrived", enough),
			func() bool { return len(got)+slow.lines() >= enough })
		p.opened(2) // it heeds signals
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitDone {
			t.Errorf("exit code %d", code)
		}
		got = slices.AppendSeq(got, strings.Lines(slow.String()))
	}
	if err := pub.Wait(); err != nil {
		t.Fatalf("mosquitto_pub: %v", err)
	}
	if c := count(t, got, n); c != (tally{}) {
		t.Errorf("lost, doubled or reordered: %+v", c)
	}
}

// slowReader takes its time over each write.
type slowReader struct{ logWatch }

func (s *slowReader) Write(p []byte) (int, error) {
	<-time.After(2 * time.Millisecond)
	return s.logWatch.Write(p)
}

func (s *slowReader) lines() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Count(s.buf.Bytes(), []byte("\n"))
}

// A second signal ends the drain, which goes on for an hour otherwise, with its own exit code.
func TestF28SecondSignalCutsTheDrainShort(t *testing.T) {
	t.Parallel()
	broker, dir := bridgetest.StartMosquitto(t), t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	config := write(t, dir, "pipelines.yaml", fmt.Sprintf(`
drain_timeout: 1h
pipelines:
  relay:
    from: {mqtt: {url: "%s", topics: ["in/#"], qos: 1, client_id: relay}}
    to: stdio
`, broker.URL))
	p := start(t, dir, w, "run", config)
	p.opened(2)
	newProducer(t, broker.URL, "in", 1<<20, new(faulttest.Ledger)).publish(1, 1000, nil)
	if _, err := r.Read(make([]byte, 1)); err != nil { // it is being written, and is more than a pipe holds
		t.Fatal(err)
	}
	p.signal(syscall.SIGTERM)
	bridgetest.Eventually(t, "it drains", func() bool { return p.log.count("delivering what has been read") == 1 })
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	w.Close()
}

// A million lines through standard input and output, and through a file, keep
// every byte.
func TestMillionLinesKeepEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var in strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintln(&in, i)
	}
	want := sha256.Sum256([]byte(in.String()))
	for _, to := range []string{"stdio", "file,path=out.txt"} {
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "xrtcbridge", "run", "--from", "stdio", "--to", to)
		cmd.Dir, cmd.Stdin, cmd.Stdout = dir, strings.NewReader(in.String()), &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("to %s: %v", to, err)
		}
		got := out.Bytes()
		if to != "stdio" {
			var err error
			if got, err = os.ReadFile(filepath.Join(dir, "out.txt")); err != nil {
				t.Fatal(err)
			}
		}
		if sha256.Sum256(got) != want {
			t.Errorf("to %s: %d bytes came out that differ from the %d that went in", to, len(got), in.Len())
		}
	}
}

// A copy that a signal cuts short says so, and does not exit like a complete one.
func TestInterruptedCopyIsNoSuccess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "in.txt", numberedLines(1_000_000))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := start(t, dir, w, "run", "--log-level", "info", "--from", "file,path=in.txt", "--to", "stdio")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 10_000); err != nil { // and the rest is more than a pipe holds
		t.Fatal(err)
	}
	p.signal(syscall.SIGINT)
	bridgetest.Eventually(t, "it heeds the signal",
		func() bool { return p.log.count("delivering what has been read") == 1 })
	rest := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, r); rest <- err }()
	if code := p.exit(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(p.log.String(), "stopped before the end of its input") {
		t.Errorf("no word about the rest:\n%s", p.log.String())
	}
	if err := <-rest; err != nil {
		t.Error(err)
	}
}
