package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/crashpoint"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// crashing builds the command with places where it can be made to die, and returns where it is.
func crashing(t *testing.T) string {
	t.Helper()
	goCommand, err := exec.LookPath("go")
	if err != nil {
		bridgetest.Missing(t, "go")
	}
	path := filepath.Join(t.TempDir(), "xrtcbridge")
	if out, err := exec.CommandContext(t.Context(), goCommand, "build", "-tags", "crashpoints", "-o", path,
		".").CombinedOutput(); err != nil {
		t.Fatalf("build with the tag crashpoints: %v\n%s", err, out)
	}
	return path
}

// crashes is a followed file that goes to JetStream through a process that dies at chosen points.
type crashes struct {
	t               *testing.T
	program, config string
	misordered      bool // acknowledges what it has read at once
	in, state       string
	out             *outlet
	ledger          *faulttest.Ledger
	rng             *rand.Rand
	written, poison int
	last            []byte // line that is not poisoned
}

const (
	lineSize   = 100
	poisonSize = 4096 // more than the stream takes
)

func newCrashes(t *testing.T, program, buffer string) *crashes {
	t.Helper()
	rng := faulttest.Rand(t)
	dir, h, ledger := t.TempDir(), startHub(t), new(faulttest.Ledger)
	c := &crashes{
		t: t, program: program, in: filepath.Join(dir, "in.txt"), state: filepath.Join(dir, "state"),
		ledger: ledger, rng: rng,
	}
	proxy := faulttest.NewProxy(t, h.addr)
	proxy.Set(faulttest.Fault{Latency: time.Millisecond}) // so that something is on its way
	c.out = h.outlet("OUT", ledger, func(s *jetstream.StreamConfig) { s.MaxMsgSize = poisonSize / 2 })
	c.config = write(t, dir, "pipelines.yaml", fmt.Sprintf(`
state: {dir: "%s"}
pipelines:
  relay:
    from: {file: {path: "%s", follow: true}}
    %s
    to: {nats: {url: "nats://%s", stream: OUT, subject: OUT.file}}
    on_error: {then: dead_letter}
    max_batch: 10
`, c.state, c.in, buffer, proxy.Addr()))
	return c
}

// append adds lines to the file, one of them poisoned.
func (c *crashes) append(n int) {
	lines(c.t, c.in, uint64(c.written), n, lineSize, c.ledger)
	c.last = c.line(c.written + n - 1)
	lines(c.t, c.in, uint64(c.written+n), 1, poisonSize, c.ledger)
	c.written += n + 1
	c.poison++
}

// arrived reports whether the last line that is not poisoned is there. Lines keep their order, so
// what is not there by then never will be.
func (c *crashes) arrived() bool {
	c.t.Helper()
	c.out.delivered()
	return bytes.Equal(c.out.newest, c.last)
}

// line returns a line as it is in the file.
func (c *crashes) line(n int) []byte {
	return faulttest.Payload(c.t.Name(), 0, uint64(n), lineKey, lineSize)
}

// start starts the program with more in its environment.
func (c *crashes) start(log *logWatch, env ...string) *exec.Cmd {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.program, "run", c.config)
	cmd.Env, cmd.Stderr = append(cmd.Environ(), env...), log
	if c.misordered {
		cmd.Env = append(cmd.Env, crashpoint.Misordered+"=1")
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	return cmd
}

// die runs the program until it is killed at the n-th time that it reaches a point; once everything
// has arrived, it is told to stop. It reports whether it was killed.
func (c *crashes) die(p crashpoint.Point, n int) bool {
	c.t.Helper()
	var log logWatch
	cmd := c.start(&log, fmt.Sprintf("%s=%s:%d", crashpoint.Variable, p, n))
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	end := time.After(bridgetest.Timeout)
	for told := false; ; {
		select {
		case <-ended:
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			return status.Signaled() && status.Signal() == syscall.SIGKILL
		case <-end:
			_ = cmd.Process.Kill()
			<-ended
			c.t.Fatalf("%s:%d: the process goes on:\n%s", p, n, tail(log.String()))
		case <-time.After(5 * time.Millisecond):
			if !told && c.arrived() {
				told = true
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}
}

// finish runs the program until a line that is written last has arrived.
func (c *crashes) finish() {
	c.t.Helper()
	lines(c.t, c.in, uint64(c.written), 1, lineSize, c.ledger)
	c.last = c.line(c.written)
	c.written++
	var log logWatch
	cmd := c.start(&log)
	bridgetest.Eventually(c.t, "the last line has arrived", c.arrived)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		c.t.Errorf("the last run ended with %v:\n%s", err, tail(log.String()))
	}
	c.buried()
}

// buried notes the dead letters.
func (c *crashes) buried() {
	c.t.Helper()
	text, err := exec.CommandContext(c.t.Context(), c.program, "dead", "list", "relay", "--json", "--state",
		c.state).Output()
	if err != nil {
		c.t.Fatalf("list the dead letters: %v", err)
	}
	for l := range strings.Lines(string(text)) {
		var letter store.Letter
		if err := json.Unmarshal([]byte(l), &letter); err != nil {
			c.t.Fatal(err)
		}
		c.ledger.DeadLettered(letter.Payload)
	}
}

// everywhere kills the program five times at each point, lets it finish, and returns how often it
// died where.
func (c *crashes) everywhere(points []crashpoint.Point) map[crashpoint.Point]int {
	c.t.Helper()
	hits := make(map[crashpoint.Point]int)
	for _, p := range points {
		for range 3 * perPoint {
			c.append(80)
			most := mostReached
			if n, ok := seldom[p]; ok {
				most = n
			}
			if c.die(p, 1+c.rng.IntN(most)) {
				hits[p]++
			}
			if hits[p] == perPoint {
				break
			}
		}
	}
	c.finish()
	return hits
}

const perPoint = 5

// mostReached is how often a point is reached in a run at least, which takes eight batches.
const mostReached = 6

// seldom are the points that are reached less often, and how often. The first checkpoint is that of
// a source that has just begun.
var seldom = map[crashpoint.Point]int{
	crashpoint.LetterWritten: 1, crashpoint.CheckpointSaving: 4, crashpoint.CheckpointSaved: 4,
	crashpoint.Purging: 1, crashpoint.Purged: 1, crashpoint.Draining: 1,
}

// pointsWithout returns the points of a pipeline without a buffer.
func pointsWithout() []crashpoint.Point {
	return slices.DeleteFunc(crashpoint.Points(), func(p crashpoint.Point) bool {
		return slices.Contains([]crashpoint.Point{
			crashpoint.BufferStoring, crashpoint.BufferStored,
			crashpoint.Purging, crashpoint.Purged,
		}, p)
	})
}

// F02: kill -9 at each of the points where it might matter, five times each. Nothing is lost,
// whatever has been done by then.
func TestF02KilledAtPoints(t *testing.T) {
	t.Parallel()
	program := crashing(t)
	for name, points := range map[string][]crashpoint.Point{"buffer: disk": crashpoint.Points(), "": pointsWithout()} {
		t.Run("file → "+name+" → JetStream", func(t *testing.T) {
			t.Parallel()
			c := newCrashes(t, program, name)
			hits := c.everywhere(points)
			for _, p := range points {
				if hits[p] < perPoint {
					t.Errorf("the process died %d times at %s, want %d", hits[p], p, perPoint)
				}
			}
			c.ledger.Check(t, len(points)*perPoint*80)
			if got := c.ledger.Report().DeadLettered; got != c.poison {
				t.Errorf("%d dead letters, want %d", got, c.poison)
			}
		})
	}
	// The same must lose messages when the engine acknowledges before it has delivered: else it would
	// prove nothing. A process that dies before its first delivery has saved a checkpoint by then that
	// says otherwise.
	t.Run("acknowledged too early", func(t *testing.T) {
		t.Parallel()
		c := newCrashes(t, program, "")
		c.misordered = true
		for range perPoint {
			c.append(80)
			if !c.die(crashpoint.Delivering, 1) {
				t.Error("the process did not die")
			}
		}
		c.finish()
		r := c.ledger.Report()
		if r.Lost == 0 || r.Delivered == 0 {
			t.Errorf("nothing was lost, or everything: %s", r)
		}
		t.Logf("as it must be, messages were lost: %s", r)
	})
}
