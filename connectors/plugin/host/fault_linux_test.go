package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// running is a pipeline from a plugin's source to a plugin's sink, which may be the same plugin.
type running struct {
	t    *testing.T
	out  string
	done chan error
	stop context.CancelFunc
	p    *engine.Pipeline
}

// run starts the pipeline. The source gives a message each millisecond, and again what was not
// acknowledged.
func run(t *testing.T, from, to bridge.Connector) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, out: filepath.Join(dir, "out"), done: make(chan error, 1)}
	registry := bridge.NewRegistry()
	from.Name, to.Name = "reading", "writing"
	for _, c := range []bridge.Connector{from, to} {
		if err := registry.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Loader{Registry: registry}.Parse("test.yaml", fmt.Appendf(nil,
		"pipelines: {load: {from: {reading: {journal: %q}}, to: {writing: {path: %q}}}}",
		filepath.Join(dir, "journal"), r.out))
	if err != nil {
		t.Fatal(err)
	}
	r.p = c.Pipelines[0]
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	b := &engine.Bridge{Pipelines: c.Pipelines, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	go func() { r.done <- b.Run(ctx) }()
	return r
}

// numbers returns what has been delivered.
func (r *running) numbers() []int {
	text, _ := os.ReadFile(r.out)
	var all []int
	for line := range bytes.Lines(text) {
		n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err == nil && bytes.HasSuffix(line, []byte("\n")) {
			all = append(all, n)
		}
	}
	return all
}

// grow waits until n more messages have been delivered, others than before.
func (r *running) grow(n int) {
	r.t.Helper()
	newest := func() int { return slices.Max(append(r.numbers(), -1)) }
	have := newest()
	bridgetest.Eventually(r.t, fmt.Sprintf("%d more messages are delivered", n), func() bool { return newest() >= have+n })
}

// finish stops the pipeline and checks that each number came, for the first time in order.
func (r *running) finish(least int) {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("the bridge ended with %v", err)
	}
	next, again := 0, 0
	for _, n := range r.numbers() {
		switch {
		case n == next:
			next++
		case n < next:
			again++
		default:
			r.t.Fatalf("message %d came where %d should", n, next)
		}
	}
	if next < least {
		r.t.Errorf("only %d messages flowed, want %d", next, least)
	}
	r.t.Logf("%d messages, %d of them again", next, again)
}

func kill(t *testing.T, p *host.Plugin, signal syscall.Signal) int {
	t.Helper()
	pid := p.PID()
	if pid == 0 {
		t.Fatal("the plugin does not run")
	}
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestF18PluginKilled(t *testing.T) {
	for _, which := range []string{"source", "sink", "both"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			p := plugintest.Load(t, host.Settings{Limits: host.Limits{Crashes: 100}})
			from, to := named(t, p, "probe"), named(t, p, "probe")
			switch which {
			case "source":
				to = probe()
			case "sink":
				from = probe()
			}
			r := run(t, from, to)
			r.grow(50)
			var slowest time.Duration
			for range 5 {
				kill(t, p, syscall.SIGKILL)
				start := time.Now()
				r.grow(50) // beyond what can be on its way
				slowest = max(slowest, time.Since(start))
			}
			t.Logf("flow was back after at most %s", slowest)
			r.finish(250)
		})
	}
}

// A plugin that ends in whatever way says why; the breaker stops it at last, and names the reason.
func TestF18BreakerOpens(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]string{
		"panic": "the probe panics",
		"exit":  "ended by itself",
	} {
		t.Run(how, func(t *testing.T) {
			p := plugintest.Load(t, host.Settings{Limits: host.Limits{Crashes: 3}})
			c := named(t, p, "probe")
			var err error
			for n := 1; !bridge.IsPermanent(err); n++ {
				var source bridge.Source
				source, err = c.Source.Open(t.Context(), &sourceSettings{Fail: how}, bridgetest.Env(t, "test-from"))
				if err == nil {
					_, _, err = source.Read(t.Context())
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Fatalf("read: %v, want %q", err, want)
					}
					if err := source.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}
				if n > 10 {
					t.Fatal("the breaker does not open")
				}
			}
			if !strings.Contains(err.Error(), "crashed 3 times within a minute and is left alone until that minute is over") ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("the breaker says %v", err)
			}
		})
	}
}

// Who has left the group holds standard error, so that the end is known a second later only. A call
// says it all the same.
func TestF18EndThatIsKnownLate(t *testing.T) {
	t.Parallel()
	stray := filepath.Join(t.TempDir(), "pid")
	p := plugintest.Load(t, host.Settings{Env: []string{"PROBE=stray:" + stray}})
	t.Cleanup(func() {
		if pid, err := strconv.Atoi(read(stray)); err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
			t.Errorf("there was no process in %s: %v", stray, err)
		}
	})
	source, err := named(t, p, "probe").Source.Open(t.Context(), &sourceSettings{Fail: "exit"},
		bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("read: %v, want that the plugin has ended", err)
	}
	if err := source.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// One plugin that crashes all the time costs the other nothing.
func TestF18OthersGoOn(t *testing.T) {
	t.Parallel()
	bad := plugintest.Load(t, host.Settings{Limits: host.Limits{Crashes: 1000}})
	good := plugintest.Load(t, host.Settings{})
	pid := good.PID()
	r := run(t, named(t, good, "probe"), named(t, good, "probe"))
	rate := func() float64 {
		start := time.Now()
		r.grow(500)
		return 500 / time.Since(start).Seconds()
	}
	r.grow(100)
	alone := rate()
	stop := make(chan struct{})
	var crashing sync.WaitGroup
	crashing.Go(func() {
		c := named(t, bad, "probe")
		for {
			select {
			case <-stop:
				return
			default:
			}
			source, err := c.Source.Open(t.Context(), &sourceSettings{Fail: "panic"}, bridgetest.Env(t, "bad-from"))
			if err == nil {
				_, _, _ = source.Read(t.Context())
				_ = source.Close()
			}
		}
	})
	t.Logf("%.0f messages/s beside a plugin that crashes, %.0f without", rate(), alone)
	close(stop)
	crashing.Wait()
	if good.PID() != pid {
		t.Error("the other plugin was started again")
	}
	r.finish(1000)
}

func TestF19StoppedPlugin(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Env: []string{"PROBE=child:" + filepath.Join(t.TempDir(), "pid")}})
	r := run(t, named(t, p, "probe"), probe())
	r.grow(50)
	pid := kill(t, p, syscall.SIGSTOP)
	start := time.Now()
	bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(pid) })
	t.Logf("noticed and killed after %s", time.Since(start))
	r.grow(50)
	r.finish(100)
}

// A bridge that is told to stop does so, though a plugin is stuck.
func TestF19StopBesideStoppedPlugin(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{})
	r := run(t, probe(), named(t, p, "probe"))
	r.grow(50)
	pid := kill(t, p, syscall.SIGSTOP)
	start := time.Now()
	r.stop()
	if err := <-r.done; err != nil && !errors.Is(err, engine.ErrNotDrained) {
		t.Errorf("the bridge ended with %v", err)
	}
	t.Logf("it took %s", time.Since(start))
	bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(pid) })
}

// A call that does not come back in its time costs the plugin its life, and says which.
func TestF19HangingCalls(t *testing.T) {
	limits := host.Limits{Call: 8 * time.Second} // what is well returns in it, on a busy machine too
	for _, c := range []struct {
		name, want string
		hang       func(t *testing.T, c bridge.Connector) error
	}{
		{"open", "a call to open did not return within 8s", func(t *testing.T, c bridge.Connector) error {
			_, err := c.Source.Open(t.Context(), &sourceSettings{Hang: "open"}, bridgetest.Env(t, "test-from"))
			return err
		}},
		{
			"write", "a call to write did not return within 5s of being interrupted",
			func(t *testing.T, c bridge.Connector) error {
				sink, err := c.Sink.Open(t.Context(), &sinkSettings{Hang: "write"}, bridgetest.Env(t, "test-to"))
				if err != nil {
					return err
				}
				_, err = sink.Write(t.Context(), bridge.Batch{message(0, 16, 0)})
				return err
			},
		},
		{"write that heeds its context", "settled 0 of 1 messages within 8s", func(t *testing.T, c bridge.Connector) error {
			sink, err := c.Sink.Open(t.Context(), &sinkSettings{Hang: "heed"}, bridgetest.Env(t, "test-to"))
			if err != nil {
				return err
			}
			_, err = sink.Write(t.Context(), bridge.Batch{message(0, 16, 0)})
			return err
		}},
		{
			"read", "a call to read did not return within 5s of being interrupted",
			func(t *testing.T, c bridge.Connector) error {
				source, err := c.Source.Open(t.Context(), &sourceSettings{Hang: "read"}, bridgetest.Env(t, "test-from"))
				if err != nil {
					return err
				}
				_, _, err = source.Read(t.Context())
				return err
			},
		},
		{"ack", "a call to ack did not return within 8s", func(t *testing.T, c bridge.Connector) error {
			source, err := c.Source.Open(t.Context(), &sourceSettings{Hang: "ack", Flood: true}, bridgetest.Env(t, "test-from"))
			if err != nil {
				return err
			}
			_, ack, err := source.Read(t.Context())
			if err != nil {
				return err
			}
			return ack(t.Context(), nil)
		}},
		{"check", "a call to check did not return within 8s", func(t *testing.T, c bridge.Connector) error {
			return c.Source.Check(t.Context(), &sourceSettings{Size: 14})
		}},
		{
			"read after its context is done", "a call to read did not return within 5s of being interrupted",
			func(t *testing.T, c bridge.Connector) error {
				source, err := c.Source.Open(t.Context(), &sourceSettings{Hang: "read"}, bridgetest.Env(t, "test-from"))
				if err != nil {
					return err
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(10*time.Millisecond, cancel)
				_, _, err = source.Read(ctx)
				return err
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := plugintest.Load(t, host.Settings{Limits: limits})
			err := c.hang(t, named(t, p, "probe"))
			if err == nil || !strings.Contains(err.Error(), c.want) || bridge.IsPermanent(err) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// An Open that does not return costs the plugin its life also when the engine is the first to lose
// patience, and another one is started. One that heeds its context does not.
func TestF19HangingOpen(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Call: time.Minute}})
	c := named(t, p, "probe")
	open := func(hang string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		source, err := c.Source.Open(ctx, &sourceSettings{Hang: hang}, bridgetest.Env(t, "test-from"))
		if err == nil {
			err = source.Close()
		}
		return err
	}
	first := p.PID()
	if err := open("heed"); err == nil || strings.Contains(err.Error(), "was ended") || p.PID() != first {
		t.Errorf("got %v, process %d, want an error of the plugin, and process %d still", err, p.PID(), first)
	}
	err := open("open")
	if err == nil || bridge.IsPermanent(err) || !strings.Contains(err.Error(),
		"was ended: a call to open did not return within ") {
		t.Errorf("got %v, want one that says what has hung", err)
	}
	bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(first) })
	bridgetest.Eventually(t, "another is started", func() bool { return open("") == nil })
}

// A step that hangs costs the plugin its life; another is opened without a word to the engine,
// since nothing was held.
func TestF19HangingProcess(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Call: 8 * time.Second}})
	pid, step := p.PID(), openStep(t, named(t, p, "probe"), &stepSettings{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var runner bridge.StepRunner
		_, err := runner.Process(ctx, step, 1, bridge.Batch{message(0, 16, 0)}, false)
		done <- err
	}()
	bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(pid) })
	cancel()
	if err := <-done; err == nil {
		t.Error("a step that hangs says nothing")
	}
}

// A source that hangs costs the plugin its life, though it has read before, and what was not
// acknowledged comes again.
func TestF19HangingRead(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Call: 8 * time.Second}})
	c := named(t, p, "probe")
	dir := t.TempDir()
	hang := filepath.Join(dir, "hang")
	c.Source = withSettings(c.Source, &sourceSettings{
		Tick: time.Millisecond, Size: 16,
		Journal: filepath.Join(dir, "journal"), HangWhile: hang,
	})
	r := run(t, c, probe())
	r.grow(50)
	pid := p.PID()
	if err := os.WriteFile(hang, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(pid) })
	if err := os.Remove(hang); err != nil {
		t.Fatal(err)
	}
	r.grow(50)
	r.finish(100)
}

// A source that merely waits, for much longer than a call may take, is left alone and loses
// nothing.
func TestF19WaitingRead(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Call: 8 * time.Second}})
	pid := p.PID()
	source, err := named(t, p, "probe").Source.Open(t.Context(),
		&sourceSettings{Size: 4, Tick: 10 * time.Second}, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for i := range 2 {
		b, ack, err := source.Read(t.Context())
		if err != nil || len(b) != 1 || strings.TrimSpace(string(b[0].Payload)) != strconv.Itoa(i) {
			t.Fatalf("read %v, %v, want message %d", b, err, i)
		}
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if p.PID() != pid {
		t.Error("the plugin was started again")
	}
}

// A plugin that is well, and does not answer Interrupt, is ended all the same.
func TestF19HangingInterrupt(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Env: []string{"PROBE=deaf"}, Limits: host.Limits{Call: 8 * time.Second}})
	c := named(t, p, "deaf")
	source, err := c.Source.Open(t.Context(), c.Source.Settings(), bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := source.Read(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "did not return within 5s of being interrupted") {
		t.Errorf("read: %v", err)
	}
	if err := source.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// Close of a source that hangs ends, and so does a Host.
func TestF19HangingClose(t *testing.T) {
	t.Parallel()
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Call: 8 * time.Second}})
	source, err := named(t, p, "probe").Source.Open(t.Context(), &sourceSettings{Hang: "close"},
		bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	pid := p.PID()
	if err := source.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(pid) })
}

func TestF20Misbehaviour(t *testing.T) {
	for how, want := range map[string]string{
		"noise":   `it wrote "hello world " to standard output before the handshake`,
		"flood":   "its first line on standard output has more than 8192 bytes",
		"version": "incompatible API version with plugin. Plugin version: 9, Client versions: [1]",
		"garbage": "connection",
		"silent":  "timeout while waiting for plugin to start",
		"exit":    "it ended without the handshake of a plugin",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := host.New(nil)
			defer h.Close()
			path, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			limits := host.Limits{Start: time.Hour} // what is wrong ends the wait
			if how == "silent" {
				limits.Start = 2 * time.Second
			}
			_, err = h.Load(t.Context(), "bad", host.Settings{Path: path, Env: []string{"PROBE=" + how}, Limits: limits})
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// Who gives up loading a plugin need not wait for it, at whatever point it hangs.
func TestLoadIsGivenUp(t *testing.T) {
	for _, how := range []string{"silent", "frozen"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := host.New(nil)
			defer h.Close()
			path, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			mark := filepath.Join(t.TempDir(), "mark")
			loaded := make(chan error, 1)
			go func() {
				_, err := h.Load(ctx, "bad", host.Settings{
					Path: path, Env: []string{"PROBE=" + how + ":" + mark},
					Limits: host.Limits{Start: time.Hour, Call: time.Hour},
				})
				loaded <- err
			}()
			bridgetest.Eventually(t, "it hangs", func() bool {
				_, err := os.Stat(mark)
				return err == nil
			})
			cancel()
			select {
			case err = <-loaded:
			case <-time.After(bridgetest.Timeout):
				t.Fatal("it is waited for")
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A flood of 100 MB on standard error leaves a bounded log, and the plugin works.
func TestF20LogFlood(t *testing.T) {
	t.Parallel()
	log := new(sharedLog) // the last lines may come after Close
	h := host.New(slog.New(slog.NewTextHandler(log, nil)))
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The flood comes before the handshake, and how long it takes is the machine's affair.
	began := time.Now()
	p, err := h.Load(t.Context(), "noisy", host.Settings{
		Path: path, Env: []string{"PROBE=stderr"}, Limits: host.Limits{Start: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := named(t, p, "probe").Sink.Open(t.Context(), &sinkSettings{Print: "printed \x1b[31m line"},
		bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(t.Context(), bridge.Batch{message(0, 16, 0)}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(sink.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	bridgetest.Eventually(t, "the log tells that lines are missing", func() bool {
		return strings.Contains(log.String(), "the plugin logs too much")
	})
	text := log.String()
	took := time.Since(began)
	most := 1000 + 400*int(took.Seconds()+1) // of 200 a second, and before each the word that some are missing
	if n := strings.Count(text, "\n"); n > most || len(text) > 400*most {
		t.Errorf("the log has %d lines, %d bytes after %v", n, len(text), took)
	}
}

// What a plugin logs has its name and its level, and no line of its own making.
func TestF20LogIsClean(t *testing.T) {
	log := new(sharedLog)
	h := host.New(slog.New(slog.NewTextHandler(log, nil)))
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Load(t.Context(), "talker", host.Settings{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := named(t, p, "probe").Sink.Open(t.Context(), &sinkSettings{Print: "printed \x1b[31m line"},
		bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`level=INFO msg="printed  [31m line" plugin=talker from=stdout`,
		`level=WARN msg="printed  [31m line" plugin=talker forged="level=ERROR msg=\" x\"" instance=test-to`,
	} {
		// What is printed comes on its own way, and when it likes.
		bridgetest.Eventually(t, "the log has "+want, func() bool { return strings.Contains(log.String(), want) })
	}
	if err := errors.Join(sink.Close(), h.Close()); err != nil {
		t.Error(err)
	}
}

// sharedLog is a log that may be read while it is written.
type sharedLog struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A plugin cannot make the host take more than was agreed on.
func TestF20Oversize(t *testing.T) {
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Message: 64 << 10}})
	c := named(t, p, "probe")
	source, err := c.Source.Open(t.Context(), &sourceSettings{Huge: true}, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := source.Read(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "a batch has 257 messages, where 256 are allowed") {
		t.Errorf("read: %v", err)
	}
	_ = source.Close()

	// Nor do the reasons for many refusals make it more.
	source, err = c.Source.Open(t.Context(), &sourceSettings{Wordy: true}, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	var all bridge.Refusals
	if b, _, err := source.Read(t.Context()); len(b) != 256 || !errors.As(err, &all) || len(all) != 256 ||
		!strings.HasPrefix(all[255].Err.Error(), "äää") {
		t.Errorf("read %d messages, %d refused: %.200v", len(b), len(all), err)
	}
	_ = source.Close()

	const want = "a message of 70005 bytes on topic \"probe\" is larger than what fits between the bridge and a " +
		"plugin, 65536 bytes"
	source, err = c.Source.Open(t.Context(), &sourceSettings{Size: 70_000}, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	b, ack, err := source.Read(t.Context())
	refused, _ := err.(bridge.Refusals)
	if len(b) != 1 || b[0].Topic != "probe" || indices(refused) != "[0]" ||
		!strings.Contains(refused[0].Err.Error(), want) {
		t.Errorf("read: %v, %v", b, err)
	} else if err := ack(t.Context(), nil); err != nil {
		t.Error(err)
	}
	_ = source.Close()

	out := filepath.Join(t.TempDir(), "out")
	sink, err := c.Sink.Open(t.Context(), &sinkSettings{Path: out, Odd: "4"}, bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	batch := bridge.Batch{
		message(0, 40_000, 0), message(1, 40_000, 2), message(2, 70_000, 0), message(3, 10, 0), message(4, 10,
			0), message(5, 65_000, 0), message(6, 70_000, 0),
	}
	r, err := sink.Write(t.Context(), batch)
	if err != nil || r.Settled != len(batch) || indices(r.Refused) != "[2 4 6]" ||
		!strings.Contains(r.Refused[0].Err.Error(), want) {
		t.Errorf("wrote %+v: %v", r, err)
	}
	if n := strings.Count(read(out), "\n"); n != 4 {
		t.Errorf("%d messages are delivered, want 4", n)
	}
	_ = sink.Close()
}

// Two batches are under way, and the second, which is larger than what fits, has an end at once:
// the source hears of the first one first, and the sink gets it.
func TestTooLargeIsSettledInOrder(t *testing.T) {
	for _, which := range []string{"source", "sink"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			p := plugintest.Load(t, host.Settings{Limits: host.Limits{Message: 64 << 10}})
			from, to := probe(), probe()
			if which == "source" {
				from = named(t, p, "probe")
			} else {
				to = named(t, p, "probe")
			}
			from.Name, to.Name = "reading", "writing"
			dir := t.TempDir()
			acks, out := filepath.Join(dir, "acks"), filepath.Join(dir, "out")
			c, err := config.Loader{Registry: bridge.NewRegistry(from, to)}.Parse("test.yaml", fmt.Appendf(nil,
				"pipelines: {p: {from: {reading: {acks: %q}}, to: {writing: {path: %q, slow: 300ms}}, max_in_flight: 2, "+
					"on_error: {then: drop}}}", acks, out))
			if err != nil {
				t.Fatal(err)
			}
			b := &engine.Bridge{Pipelines: c.Pipelines, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
			if err := b.Run(t.Context()); err != nil {
				t.Error(err)
			}
			if got := read(acks); got != "1 <nil>\n2 <nil>\n" {
				t.Errorf("acks: %q", got)
			}
			if got := strings.TrimSpace(read(out)); got != "1" {
				t.Errorf("the sink got %q", got)
			}
		})
	}
}

// What a source refuses stays refused when its batch goes in parts; the one ack of it comes with
// the last part, and what comes after it then.
func TestRefusalsOfASource(t *testing.T) {
	c := named(t, plugintest.Load(t, host.Settings{Limits: host.Limits{Message: 64 << 10}}), "probe")
	source, err := c.Source.Open(t.Context(), &sourceSettings{Refuse: true, Size: 20_000}, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var got []string
	for n := 0; n < 10; {
		b, ack, err := source.Read(t.Context())
		refused, ok := err.(bridge.Refusals)
		if err != nil && !ok {
			t.Fatalf("read: %v", err)
		}
		for _, r := range refused {
			got = append(got, fmt.Sprintf("%d %.20s", n+r.Index, r.Err))
		}
		n += len(b)
		if err := ack(t.Context(), nil); (err == nil) != (n < 10) {
			t.Errorf("ack after %d messages: %v", n, err)
		}
	}
	if want := []string{"0 first", "4 fifth", "7 a message of 1048581", "9 last"}; !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
	if _, _, err := source.Read(t.Context()); err != io.EOF {
		t.Errorf("read: %v", err)
	}
}

// indices returns which messages are refused.
func indices(refused bridge.Refusals) string {
	all := []int{}
	for _, r := range refused {
		all = append(all, r.Index)
	}
	return fmt.Sprint(all)
}

// Kinds of errors, partial results and outcomes of messages come through.
func TestErrorsCrossTheWall(t *testing.T) {
	plugintest.Both(t, probe(), func(t *testing.T, c bridge.Connector) {
		for kind, is := range map[string]func(error) bool{
			"eof":       func(err error) bool { return err == io.EOF },
			"permanent": bridge.IsPermanent,
			"canceled":  func(err error) bool { return errors.Is(err, context.Canceled) },
			"other":     func(err error) bool { return err != nil && err.Error() == "out of order" },
		} {
			source, err := c.Source.Open(t.Context(), &sourceSettings{Fail: kind}, bridgetest.Env(t, "test-from"))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := source.Read(t.Context()); !is(err) {
				t.Errorf("read: %s came as %v", kind, err)
			}
			_ = source.Close()
			sink, err := c.Sink.Open(t.Context(), &sinkSettings{Fail: kind, After: 2, Omit: true, Odd: "1"},
				bridgetest.Env(t, "test-to"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := sink.Write(t.Context(), bridge.Batch{
				message(0, 9, 0), message(1, 9, 0), message(2, 9, 0),
				message(3, 9, 0),
			})
			if r.Settled != 3 || !is(err) || indices(r.Refused) != "[1]" || r.Refused[0].Err.Error() != "it is odd" ||
				!slices.Equal(r.Omitted, []int{0}) {
				t.Errorf("write: %s came as %+v, %v", kind, r, err)
			}
			_ = sink.Close()
		}
	})
}

// A Write that is cut short says how far it came, so that nothing comes twice.
func TestInterruptedWriteIsExact(t *testing.T) {
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Call: time.Hour}})
	out := filepath.Join(t.TempDir(), "out")
	sink, err := named(t, p, "probe").Sink.Open(t.Context(), &sinkSettings{Path: out, Slow: 20 * time.Millisecond},
		bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	const all = 10_000 // which take minutes
	var batch bridge.Batch
	for i := range all {
		batch = append(batch, message(i, 8, 0))
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		bridgetest.Eventually(t, "some are written", func() bool { return strings.Count(read(out), "\n") >= 5 })
	}()
	r, err := sink.Write(ctx, batch)
	n := r.Settled
	if lines := strings.Count(read(out), "\n"); n != lines || n < 5 || n == all || !errors.Is(err, context.Canceled) {
		t.Errorf("wrote %d, %v; %d lines are there", n, err, lines)
	}
	_ = sink.Close()
}

// F21: plugins and what they started end with a host that is killed, and what is left of it is
// cleared away.
func TestF21HostKilled(t *testing.T) {
	dir := t.TempDir()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range faulttest.Pick(3, 20) {
		cmd := exec.CommandContext(t.Context(), path)
		cmd.Env = append(os.Environ(), "PROBE=host:"+dir, "TMPDIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var pids []int
		for range 3 {
			var pid int
			if _, err := fmt.Fscan(out, &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		grandchild, _ := strconv.Atoi(read(filepath.Join(dir, "grandchild")))
		if grandchild == 0 || !exists(grandchild) {
			t.Fatal("there is no grandchild")
		}
		if round == 1 { // one that is stopped must end, too
			_ = syscall.Kill(pids[0], syscall.SIGSTOP)
			// The kernel continues a group that is orphaned only if all threads of one in it have
			// stopped.
			bridgetest.Eventually(t, "all its threads have stopped", func() bool {
				threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pids[0]))
				return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
					_, state, _ := strings.Cut(read(path), ") ")
					return !strings.HasPrefix(state, "T")
				})
			})
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		start := time.Now()
		for _, pid := range append(pids, grandchild) {
			bridgetest.Eventually(t, "the processes are gone", func() bool { return !exists(pid) })
		}
		t.Logf("all were gone after %s", time.Since(start))
	}
	t.Setenv("TMPDIR", dir)
	if left, _ := filepath.Glob(filepath.Join(dir, "xrtcb-*")); len(left) == 0 {
		t.Error("a killed host leaves no folder, so there is nothing to try")
	}
	h := host.New(nil)
	if _, err := h.Load(t.Context(), "test", host.Settings{Path: path}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "xrtcb-*")); len(left) != 1 {
		t.Errorf("after the next start there are %v", left)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "xrtcb-*")); len(left) != 0 {
		t.Errorf("after Close there are %v", left)
	}
}

// exists reports whether a process is there and is no zombie.
func exists(pid int) bool {
	stat := read(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(stat, ") ")
	return stat != "" && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// A plugin says of each settings what they guarantee, and what no other instance may use.
func TestPluginDescribesSettings(t *testing.T) {
	here := probe()
	here.Name = "here"
	c := named(t, plugintest.Load(t, host.Settings{}), "probe")
	for text, want := range map[string]string{
		"{a: {from: {probe: {}}, to: here}}":                                                       "at least once, size 16, false",
		"{a: {from: {probe: {size: 7, refuse: true}}, to: here}}":                                  "at least once, size 7, true",
		"{a: {from: {probe: {journal: x}}, to: here}, b: {from: {probe: {journal: x}}, to: here}}": "test.yaml:1:68: x is in use already; it is used at test.yaml:1:24",
		"{a: {from: here, to: {probe: {}}}}":                                                       "unknown, the plugin does not say, false",
	} {
		l, err := config.Loader{Registry: bridge.NewRegistry(here, c)}.Parse("test.yaml", []byte("pipelines: "+text))
		got := fmt.Sprint(err)
		if err == nil {
			d := l.Pipelines[0].From[0].Description
			if l.Pipelines[0].From[0].Type == "here" {
				d = l.Pipelines[0].To.Sink.Description
			}
			got = fmt.Sprintf("%s, %s, %t", d.Guarantee.Level, d.Guarantee.Why, d.Ends)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// S20: a plugin gets what is listed for it, and nothing else.
func TestS20WhatAPluginGets(t *testing.T) {
	t.Setenv("CANARY", "secret")
	t.Setenv("PASSED", "on")
	inherited, err := os.Open("host.go")
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	open, err := syscall.Dup(int(inherited.Fd())) // as what this process was started with, it stays open for others
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(open) }()
	p := plugintest.Load(t, host.Settings{Env: []string{"PASSED", "SET=x", "UNSET"}, Limits: host.Limits{Files: 100}})
	source, err := named(t, p, "probe").Source.Open(t.Context(),
		&sourceSettings{Report: true, Secret: bridge.NewSecret("open sesame")}, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	batch, _, err := source.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = source.Close()
	// S23: a secret of its settings comes by a call, not where others could see it.
	for _, name := range []string{"environ", "cmdline"} {
		if strings.Contains(read(fmt.Sprintf("/proc/%d/%s", p.PID(), name)), "open sesame") {
			t.Errorf("the secret is in %s", name)
		}
	}
	report := string(batch[0].Payload)
	if !strings.Contains(report, "secret open sesame\n") {
		t.Error("the secret did not arrive")
	}
	var env []string
	for line := range strings.Lines(report) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "env "); ok {
			env = append(env, name)
		}
	}
	slices.Sort(env)
	want := []string{
		"PASSED", "PLUGIN_CLIENT_CERT", "PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT", "PLUGIN_PROTOCOL_VERSIONS",
		"PLUGIN_UNIX_SOCKET_DIR",
		"SET", "XRTCBRIDGE_PLUGIN", "XRTCBRIDGE_PLUGIN_LIMIT",
	}
	if !slices.Equal(env, want) {
		t.Errorf("its environment is %v, want %v", env, want)
	}
	for _, line := range []string{
		"stdin 0 EOF", "parent " + strconv.Itoa(os.Getpid()), "group true",
		"NoNewPrivs: 1", "Umask: 0077", "Max open files 100 100 files",
	} {
		if !strings.Contains(report, line+"\n") {
			t.Errorf("the report lacks %q", line)
		}
	}
	if strings.Contains(report, "host.go") {
		t.Error("it inherited a file")
	}
	if t.Failed() {
		t.Log(report)
	}
	// Nobody else has the umask.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o044 == 0 {
		t.Errorf("the umask of this process changed: %v, %v", info.Mode(), err)
	}
}

// S19, S39: a program is started only if others cannot exchange it, and if it has the checksum.
func TestS39Program(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(t.TempDir(), "marker")
	for _, c := range []struct {
		name, want string
		spoil      func(t *testing.T, path string, s *host.Settings)
	}{
		{"good", "", func(_ *testing.T, _ string, _ *host.Settings) {}},
		{"symbolic link", "", func(t *testing.T, path string, s *host.Settings) {
			s.Path = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, s.Path); err != nil {
				t.Fatal(err)
			}
		}},
		{"one byte changed", "does not have the checksum", func(t *testing.T, path string, _ *host.Settings) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte{'x'}, int64(len(program)/2)); err != nil {
				t.Fatal(err)
			}
		}},
		{"missing", "there is no program", func(_ *testing.T, path string, _ *host.Settings) { _ = os.Remove(path) }},
		{"folder", "is not a file", func(_ *testing.T, path string, s *host.Settings) { s.Path = filepath.Dir(path) }},
		{
			"not executable", "is not executable: chmod u+x it",
			func(_ *testing.T, path string, _ *host.Settings) { _ = os.Chmod(path, 0o600) },
		},
		{
			"writable by all", "is writable by everybody",
			func(_ *testing.T, path string, _ *host.Settings) { _ = os.Chmod(path, 0o757) },
		},
		{
			"folder writable by all", "is writable by everybody",
			func(_ *testing.T, path string, _ *host.Settings) { _ = os.Chmod(filepath.Dir(path), 0o777) },
		},
		{
			"folder above writable by all", "is writable by everybody",
			func(_ *testing.T, path string, _ *host.Settings) { _ = os.Chmod(up(path, 2), 0o777) },
		},
		{
			"folder above writable by all, and sticky", "",
			func(_ *testing.T, path string, _ *host.Settings) { _ = os.Chmod(up(path, 2), 0o777|os.ModeSticky) },
		},
		{
			"folder writable by all, and sticky", "is writable by everybody", // others can add what it loads
			func(_ *testing.T, path string, _ *host.Settings) { _ = os.Chmod(up(path, 1), 0o777|os.ModeSticky) },
		},
		{"a link in a folder writable by all", "is writable by everybody", func(t *testing.T, path string, s *host.Settings) {
			s.Path = filepath.Join(t.TempDir(), "open", "link")
			if err := errors.Join(os.Mkdir(up(s.Path, 1), 0o700), os.Symlink(path, s.Path),
				os.Chmod(up(s.Path, 1), 0o777)); err != nil {
				t.Fatal(err)
			}
		}},
		{
			"a folder that is a link in a folder writable by all", "is writable by everybody",
			func(t *testing.T, path string, s *host.Settings) {
				open := filepath.Join(t.TempDir(), "open")
				s.Path = filepath.Join(open, "link", filepath.Base(path))
				if err := errors.Join(os.Mkdir(open, 0o700), os.Symlink(up(path, 1), up(s.Path, 1)),
					os.Chmod(open, 0o777)); err != nil {
					t.Fatal(err)
				}
			},
		},
		{"another user's link", "belongs to user 4711", func(t *testing.T, path string, s *host.Settings) {
			s.Path = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, s.Path); err != nil {
				t.Fatal(err)
			}
			bridgetest.Root(t, "to give a link away")
			if err := os.Lchown(s.Path, 4711, -1); err != nil {
				t.Fatal(err)
			}
		}},
		{
			"writable by a group of others", "is writable by group 4711",
			func(t *testing.T, path string, _ *host.Settings) {
				give(t, path)
				_ = errors.Join(os.Chown(path, os.Geteuid(), 4711), os.Chmod(path, 0o770))
			},
		},
		{
			"another user's", "belongs to user 4711, who could change or exchange what is there",
			func(t *testing.T, path string, _ *host.Settings) { give(t, path) },
		},
		{
			"in another user's folder", "belongs to user 4711",
			func(t *testing.T, path string, _ *host.Settings) { give(t, up(path, 1)) },
		},
		{
			"below another user's folder", "belongs to user 4711",
			func(t *testing.T, path string, _ *host.Settings) { give(t, up(path, 2)) },
		},
		{"in another user's folder, sticky", "belongs to user 4711", func(t *testing.T, path string, _ *host.Settings) {
			give(t, up(path, 1))
			_ = os.Chmod(up(path, 1), 0o777|os.ModeSticky)
		}},
		{"a link into another user's folder", "belongs to user 4711", func(t *testing.T, path string, s *host.Settings) {
			give(t, up(path, 1))
			s.Path = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, s.Path); err != nil {
				t.Fatal(err)
			}
		}},
		{"no program", "neither a program for this machine nor a script", func(_ *testing.T, path string, s *host.Settings) {
			_ = os.WriteFile(path, []byte("\x7fhello"), 0o700)
			s.SHA256 = ""
		}},
		{"no interpreter", "is the interpreter in its first line there?", func(_ *testing.T, path string, s *host.Settings) {
			_ = os.WriteFile(path, []byte("#!/nowhere\n"), 0o700)
			s.SHA256 = ""
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "above", "folder", "program")
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, program, 0o700)); err != nil {
				t.Fatal(err)
			}
			sum, err := host.Sum(path)
			if err != nil {
				t.Fatal(err)
			}
			s := host.Settings{Path: path, SHA256: sum, Env: []string{"PROBE=mark:" + marker}}
			c.spoil(t, path, &s)
			h := host.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
			_, err = h.Load(t.Context(), "test", s)
			if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if started := os.Remove(marker) == nil; started != (c.want == "") {
				t.Errorf("was it executed? %t", started)
			}
		})
	}
}

// up returns the folder so many steps above.
func up(path string, steps int) string {
	for range steps {
		path = filepath.Dir(path)
	}
	return path
}

// give makes a file another user's.
func give(t *testing.T, path string) {
	t.Helper()
	bridgetest.Root(t, "to give a file away")
	if err := os.Chown(path, 4711, -1); err != nil {
		t.Fatal(err)
	}
}

// F20: a program that is swapped again and again is never executed, unless it is the right one.
func TestF20SwapRace(t *testing.T) {
	dir := t.TempDir()
	marker := filepath.Join(dir, "marker")
	good, bad, path := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "program")
	for name, text := range map[string]string{good: "#!/bin/sh\nexit 0\n", bad: "#!/bin/sh\ntouch " + marker + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := host.Sum(good)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			from := good
			if i%2 == 0 {
				from = bad
			}
			_ = os.Remove(path + ".new")
			_ = os.Link(from, path+".new")
			_ = os.Rename(path+".new", path)
			_ = os.Remove(path + ".new") // a rename between names of one file does nothing
		}
	})
	refused := 0
	for range 100 {
		h := host.New(nil)
		if _, err := h.Load(t.Context(), "test", host.Settings{Path: path, SHA256: sum}); err != nil &&
			strings.Contains(err.Error(), "checksum") {
			refused++
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	swapping.Wait()
	if _, err := os.Stat(marker); err == nil {
		t.Error("the wrong program was executed")
	}
	t.Logf("refused %d times", refused)
}

// Names cannot lead out of a folder.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	h := host.New(nil, dir)
	for _, name := range []string{"", "../x", "a/b", "A", "-a", "a b", "a\x00", "ä", strings.Repeat("a", 65), ".."} {
		if _, err := h.Find(name); !errors.Is(err, host.ErrNotFound) {
			t.Errorf("find %q: %v", name, err)
		}
		if _, err := h.Load(t.Context(), name, host.Settings{Path: "/bin/true"}); err == nil {
			t.Errorf("load %q: no error", name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "xrtcbridge-clock"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if s, err := h.Find("clock"); err != nil || filepath.Base(s.Path) != "xrtcbridge-clock" ||
		!slices.Equal(h.Found(), []string{"clock"}) {
		t.Errorf("got %v, %v, %v", s, err, h.Found())
	}
}
