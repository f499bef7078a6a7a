package host_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// ordered returns a batch of messages that tell the step of the probe what to do with them.
func ordered(words ...string) bridge.Batch {
	var b bridge.Batch
	for i, w := range words {
		b = append(b, bridge.Message{
			ID: fmt.Sprint("id", i), Topic: fmt.Sprint(i), Payload: []byte(w),
			Header: map[string]string{"n": fmt.Sprint(i)},
		})
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
var byText = cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a,
	b bridge.Refusal,
) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
})}

// Whatever a step says, the engine hears from a plugin's process what it hears from one of its own,
// mistakes among it, and in every language.
func TestStepSaysTheSame(t *testing.T) {
	t.Run("Go", func(t *testing.T) { saysTheSame(t, named(t, plugintest.Load(t, host.Settings{}), "probe")) })
	for language, load := range helpers {
		t.Run(language, func(t *testing.T) { saysTheSame(t, named(t, load(t, host.Limits{}), "probe")) })
	}
}

// helpers load the probe in the languages that there is a helper for.
var helpers = map[string]func(t *testing.T, limits host.Limits) *host.Plugin{
	"Python": func(t *testing.T, limits host.Limits) *host.Plugin {
		if exec.CommandContext(t.Context(), "/usr/bin/python3", "-c",
			"import grpc, google.protobuf, cryptography").Run() != nil {
			bridgetest.Missing(t, "python3-grpcio")
		}
		helpers, err := filepath.Abs("../skeleton/python")
		if err != nil {
			t.Fatal(err)
		}
		return script(t, "probe.py", t.TempDir(), limits, "HELPERS="+helpers)
	},
	"JavaScript": func(t *testing.T, limits host.Limits) *host.Plugin {
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
		for _, f := range []string{
			modules, filepath.Join(example, "connector.proto"),
			filepath.Join(example, "xrtcbridge-plugin.mjs"),
		} {
			if err := os.Symlink(f, filepath.Join(dir, filepath.Base(f))); err != nil {
				t.Fatal(err)
			}
		}
		return script(t, "probe.mjs", dir, limits, "PATH", "NODE_OPTIONS=--preserve-symlinks --preserve-symlinks-main")
	},
}

// script starts a script of testdata as a plugin, from a folder.
func script(t *testing.T, name, dir string, limits host.Limits, env ...string) *host.Plugin {
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
	p, err := h.Load(t.Context(), "script", host.Settings{Path: path, Env: env, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// F19: a source that waits is told from one that hangs, with the helpers too.
func TestF19HelpersRead(t *testing.T) {
	for language, load := range helpers {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			p := load(t, host.Limits{Call: 8 * time.Second})
			pid, c := p.PID(), named(t, p, "probe")
			open := func(settings string) bridge.Source {
				s := c.Source.Settings()
				err := config.DecodePlain([]byte(settings), s)
				source, openErr := c.Source.Open(t.Context(), s, bridgetest.Env(t, "test-from"))
				if err := errors.Join(err, openErr); err != nil {
					t.Fatal(err)
				}
				return source
			}
			source := open(`{"tick": "10s"}`)
			for i := range 2 {
				b, ack, err := source.Read(t.Context())
				if err != nil || len(b) != 1 || string(b[0].Payload) != strconv.Itoa(i+1) {
					t.Fatalf("read %v, %v, want message %d", b, err, i+1)
				}
				if err := ack(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := source.Close(); err != nil || p.PID() != pid {
				t.Errorf("close: %v; process %d is %d now", err, pid, p.PID())
			}
			_, _, err := open(`{"hang": "true"}`).Read(t.Context())
			if err == nil || !strings.Contains(err.Error(), "a call to read did not return within 5s of being interrupted") {
				t.Errorf("read: %v", err)
			}
			bridgetest.Eventually(t, "the plugin is killed", func() bool { return !exists(pid) })
		})
	}
}

// An instance that is open when nobody waits for it any more is closed: it may hold what the next
// one needs.
func TestHelpersCloseWhatNobodyWaitsFor(t *testing.T) {
	for language, load := range helpers {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			c, dir := named(t, load(t, host.Limits{}), "probe"), t.TempDir()
			gate, closed := filepath.Join(dir, "gate"), filepath.Join(dir, "closed")
			s := c.Source.Settings()
			if err := config.DecodePlain(fmt.Appendf(nil, `{"gate": %q, "closed": %q}`, gate, closed), s); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			opened := make(chan error, 1)
			go func() {
				_, err := c.Source.Open(ctx, s, bridgetest.Env(t, "test-from"))
				opened <- err
			}()
			bridgetest.Eventually(t, "it is being opened", func() bool {
				_, err := os.Stat(gate)
				return err == nil
			})
			cancel()
			if err := <-opened; !errors.Is(err, context.Canceled) {
				t.Fatalf("open: %v", err)
			}
			// What comes behind the news on the wire is answered when the plugin has them.
			if err := c.Source.Check(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(gate); err != nil {
				t.Fatal(err)
			}
			bridgetest.Eventually(t, "it is closed", func() bool {
				_, err := os.Stat(closed)
				return err == nil
			})
		})
	}
}

// What a file says reaches the helpers as plain JSON, completed with their defaults, and what they
// say of it has its place.
func TestHelpersSettings(t *testing.T) {
	for language, load := range helpers {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			here := probe()
			here.Name = "here"
			registry := bridge.NewRegistry(here)
			c := named(t, load(t, host.Limits{}), "probe")
			if err := registry.Add(c); err != nil {
				t.Fatal(err)
			}
			for settings, want := range map[string]string{
				`{words: [bad, "${WORD}"], deep: {secret: "$${x}"}}`: `f.yaml:1:32: words: one is bad: {"deep":{"n":3,"secret":"${x}"},"hang":false,"tick":"1s","words":["bad","ä\""]}`,
				`{hang: yes}`:      `f.yaml:1:38: hang must be true or false, not "yes"; write true`,
				`{tick: 1}`:        `f.yaml:1:38: tick must be a duration like 10s, not "1"; add a unit: `,
				`{deep: {m: 1}}`:   `f.yaml:1:39: unknown key "m"; did you mean n? keys here: n, secret`,
				`{deep: {n: "a"}}`: `f.yaml:1:42: deep.n must be a whole number`,
				`{words: [a]}`:     "",
			} {
				loader := config.Loader{Registry: registry, Getenv: func(string) (string, bool) { return "ä\"", true }}
				_, err := loader.Parse("f.yaml", []byte("pipelines: {p: {from: {probe: "+settings+"}, to: here}}"))
				if got := fmt.Sprint(err); !strings.HasPrefix(got, orNil(want)) {
					t.Errorf("%s: got %s, want %s", settings, got, want)
				}
			}
		})
	}
}

func orNil(text string) string {
	if text == "" {
		return "<nil>"
	}
	return text
}

func saysTheSame(t *testing.T, c bridge.Connector) {
	here, there := openStep(t, probe(), &stepSettings{}), openStep(t, c, c.Step.Settings())
	word := rapid.SampledFrom([]string{
		"pass", "emit", "drop", "refuse", "hold", "add", "release",
		"release-before", "wake",
	})
	good := rapid.SampledFrom([]string{
		"pass", "emit", "emit emit", "pass emit", "pass add", "drop", "refuse", "hold", "hold add", "hold release",
		"hold emit",
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
			for _, o := range []*bridge.Outcome{want, got} { // the order of these says nothing
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
	got := fmt.Sprintf("%v %d %d %s %d", said.Origins, said.Dropped, said.Held, indices(said.Refused), said.Released)
	if want := "[{1 true false} {7 false false}] [2 8] [0 5] [3 4 6] 6"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	const want = "set max_batch of the pipeline lower"
	if _, err := r.Process(t.Context(), step, 8, ordered("grow emit"), false); !bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("one message made of one is too large: %v", err)
	}
}

// F18: a step that holds nothing loses nothing with its process, and another goes on; else what it
// held must come again.
func TestF18StepLosesItsPlugin(t *testing.T) {
	t.Parallel()
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
	if _, err := r.Process(t.Context(), step, 6, ordered("pass"), false); err == nil || bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %s", err, want)
	}
	step, r = openStep(t, named(t, p, "probe"), &stepSettings{}), bridge.StepRunner{}
	if _, err := r.Process(t.Context(), step, 1, ordered("hold", "release drop"), false); err != nil {
		t.Errorf("the next instance: %v", err)
	}
}

// A panic over a message is the failure of one call, which may be tried again, and costs neither
// the process nor another instance in it.
func TestF18PanicOverAMessage(t *testing.T) {
	p := plugintest.Load(t, host.Settings{Limits: host.Limits{Crashes: 1}})
	c := named(t, p, "probe")
	beside, step := openStep(t, c, &stepSettings{}), openStep(t, c, &stepSettings{})
	var r, of bridge.StepRunner
	if _, err := of.Process(t.Context(), beside, 1, ordered("hold"), false); err != nil {
		t.Fatal(err)
	}
	for call := uint64(1); call <= 3; call++ {
		_, err := r.Process(t.Context(), step, call, ordered("panic"), false)
		if err == nil || bridge.IsPermanent(err) || !strings.Contains(err.Error(), "panic: told to") {
			t.Fatalf("call %d: %v", call, err)
		}
	}
	sink, err := c.Sink.Open(t.Context(), &sinkSettings{Fail: "panic"}, bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(t.Context(), ordered("x")); err == nil || bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "panic: the probe panics") {
		t.Errorf("write: %v", err)
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	if _, err := of.Process(t.Context(), beside, 2, ordered("release drop"), false); err != nil {
		t.Errorf("what the instance beside it held is gone: %v", err)
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
		if err != nil || len(said.Messages) != 2 || said.Messages[1].Header["mark"] != "a{{b" ||
			said.Messages[1].ID != "id1" {
			t.Fatalf("got %+v, %v", said, err)
		}
	})
}
