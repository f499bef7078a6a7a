package host_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// ordered returns a batch of messages that tell the step of the probe what to do with them.
func ordered(words ...string) bridge.Batch {
	var b bridge.Batch
	for i, w := range words {
		b = append(b, bridge.Message{ID: fmt.Sprint("id", i), Topic: fmt.Sprint(i), Payload: []byte(w), Header: map[string]string{"n": fmt.Sprint(i)}})
	}
	return b
}

func openStep(t *testing.T, c bridge.Connector, settings any) bridge.Step {
	t.Helper()
	step, err := c.Step.Open(t.Context(), settings, bridgetest.Env(t, "test-step"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := step.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return step
}

// byText compares refusals by what they say.
var byText = cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b bridge.Refusal) bool { return fmt.Sprint(a) == fmt.Sprint(b) })}

// Whatever a step says, the engine hears from a plugin's process what it hears from one of its own,
// mistakes among it, and in every language.
func TestStepSaysTheSame(t *testing.T) {
	t.Run("Go", func(t *testing.T) { saysTheSame(t, named(t, plugintest.Load(t, host.Settings{}), "probe")) })
	t.Run("Python", func(t *testing.T) {
		if exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import grpc, google.protobuf, cryptography").Run() != nil {
			bridgetest.Missing(t, "python3-grpcio")
		}
		helpers, err := filepath.Abs("../skeleton/python")
		if err != nil {
			t.Fatal(err)
		}
		saysTheSame(t, script(t, "probe.py", t.TempDir(), "HELPERS="+helpers))
	})
	t.Run("JavaScript", func(t *testing.T) {
		bridgetest.Program(t, "node")
		example, err := filepath.Abs("../../../examples/plugin-node")
		if err != nil {
			t.Fatal(err)
		}
		modules := filepath.Join(example, "node_modules")
		if _, err := os.Stat(modules); err != nil {
			bridgetest.Missing(t, "node_modules")
		}
		dir := t.TempDir()
		for _, f := range []string{modules, filepath.Join(example, "connector.proto"), filepath.Join(example, "xrtcbridge-plugin.mjs")} {
			if err := os.Symlink(f, filepath.Join(dir, filepath.Base(f))); err != nil {
				t.Fatal(err)
			}
		}
		saysTheSame(t, script(t, "probe.mjs", dir, "PATH", "NODE_OPTIONS=--preserve-symlinks --preserve-symlinks-main"))
	})
}

// script starts a script of testdata as a plugin, from a folder, and returns its connector.
func script(t *testing.T, name, dir string, env ...string) bridge.Connector {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(read(filepath.Join("testdata", name))), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	h := host.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	p, err := h.Load(t.Context(), "script", host.Settings{Path: path, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return named(t, p, "probe")
}

func saysTheSame(t *testing.T, c bridge.Connector) {
	here, there := openStep(t, probe(), &stepSettings{}), openStep(t, c, c.Step.Settings())
	word := rapid.SampledFrom([]string{"pass", "emit", "drop", "refuse", "hold", "add", "release", "release-before", "wake"})
	good := rapid.SampledFrom([]string{
		"pass", "emit", "emit emit", "pass emit", "pass add", "drop", "refuse", "hold", "hold add", "hold release", "hold emit",
		"release hold", "release-before hold wake", "drop wake",
	})
	call := uint64(0)
	rapid.Check(t, func(r *rapid.T) {
		var a, b bridge.StepRunner
		for range 3 {
			call++
			words := rapid.SliceOfN(good, 0, 6).Draw(r, "words")
			if rapid.IntRange(0, 9).Draw(r, "luck") == 0 {
				words = append(words, strings.Join(rapid.SliceOfN(word, 0, 3).Draw(r, "any"), " "))
			}
			last := len(words) == 0
			want, wantErr := a.Process(t.Context(), here, call, ordered(words...), last)
			got, err := b.Process(t.Context(), there, call, ordered(words...), last)
			if wantErr != nil {
				if err == nil || !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "the step is broken") {
					r.Fatalf("%q: %v, want %v", words, err, wantErr)
				}
				return
			}
			if err != nil {
				r.Fatalf("%q: %v", words, err)
			}
			for _, o := range []*bridge.Outcome{want, got} { // the order of these says nothing, and ids are the engine's
				for i := range o.Emitted {
					o.Emitted[i].ID = ""
				}
				slices.Sort(o.Dropped)
				slices.Sort(o.Held)
				if o.Woken { // in milliseconds on the wire
					o.Wake = (o.Wake + time.Millisecond - 1).Truncate(time.Millisecond)
				}
			}
			if diff := cmp.Diff(want, got, byText); diff != "" {
				r.Fatalf("%q (-in process +plugin)\n%s", words, diff)
			}
		}
	})
}

func TestStepOfManyParts(t *testing.T) {
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Message: 64 << 10}})
	step := openStep(t, named(t, p, "probe"), &stepSettings{})
	large := func(word string) string { return word + strings.Repeat(" ", 30_000) }
	words := []string{
		large("hold"), large("pass"), large("release drop"), strings.Repeat(" ", 70_000), large("refuse"), large("hold"),
		"grow", large("emit"), "drop",
	}
	var r bridge.StepRunner
	said, err := r.Process(t.Context(), step, 7, ordered(words...), false)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%d %d %d %d %s %d", said.Origins, said.Passed, said.Dropped, said.Held, indices(said.Refused), said.Released)
	if want := "[1 7] [1] [2 8] [0 5] [3 4 6] 6"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	const want = "set max_batch of the pipeline lower"
	if _, err := r.Process(t.Context(), step, 8, ordered("grow emit"), false); !bridge.IsPermanent(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("one message made of one is too large: %v", err)
	}
}

// F18: a step that holds nothing loses nothing with its process, and another goes on; else what it
// held must come again.
func TestF18StepLosesItsPlugin(t *testing.T) {
	p := plugintest.Load(t, host.Settings{})
	crash := filepath.Join(t.TempDir(), "crash")
	die := func() {
		if err := os.WriteFile(crash, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	step := openStep(t, named(t, p, "probe"), &stepSettings{Crash: crash})
	var r bridge.StepRunner
	die()
	for call, words := range [][]string{{"pass", "emit"}, {"hold"}, {"release drop"}, {"hold release"}} {
		if call != 2 { // then something is held
			die()
		}
		said, err := r.Process(t.Context(), step, uint64(call+1), ordered(words...), false)
		if err != nil || len(said.Origins)+len(said.Dropped)+len(said.Held) != len(words) {
			t.Fatalf("%q: %v, %v", words, said, err)
		}
	}
	if _, err := r.Process(t.Context(), step, 5, ordered("hold"), false); err != nil {
		t.Fatal(err)
	}
	die()
	const want = "what the step held comes again"
	if _, err := r.Process(t.Context(), step, 6, ordered("pass"), false); err == nil || bridge.IsPermanent(err) || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %s", err, want)
	}
	step, r = openStep(t, named(t, p, "probe"), &stepSettings{}), bridge.StepRunner{}
	if _, err := r.Process(t.Context(), step, 1, ordered("hold", "release drop"), false); err != nil {
		t.Errorf("the next instance: %v", err)
	}
}

// A step in a plugin is told of the end, and closed.
func TestStepEnds(t *testing.T) {
	plugintest.Both(t, probe(), func(t *testing.T, c bridge.Connector) {
		log := filepath.Join(t.TempDir(), "log")
		step := openStep(t, c, &stepSettings{Log: log})
		var r bridge.StepRunner
		if _, err := r.Process(t.Context(), step, 1, ordered("hold"), false); err != nil {
			t.Fatal(err)
		}
		said, err := r.Process(t.Context(), step, 2, nil, true)
		if err != nil || len(said.Messages) != 1 || string(said.Messages[0].Payload) != "last" || said.Released != 2 {
			t.Errorf("%+v, %v", said, err)
		}
		if err := step.Close(); err != nil || read(log) != "closed" {
			t.Errorf("close: %v, the log has %q", err, read(log))
		}
	})
}

// A mark in a header crosses, with settings that are a template.
func TestStepWithTemplate(t *testing.T) {
	plugintest.Both(t, probe(), func(t *testing.T, c bridge.Connector) {
		step := openStep(t, c, &stepSettings{Mark: bridge.Text("a{{b")})
		var r bridge.StepRunner
		said, err := r.Process(context.Background(), step, 1, ordered("x", "y"), false)
		if err != nil || len(said.Messages) != 2 || said.Messages[1].Header["mark"] != "a{{b" || said.Messages[1].ID != "id1" {
			t.Fatalf("got %+v, %v", said, err)
		}
	})
}
