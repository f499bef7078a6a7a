package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/monitor"
)

func TestDifference(t *testing.T) {
	of := func(guarantee string, parts config.Fingerprints) *planned {
		return &planned{parts: parts, promise: promise{Guarantee: guarantee, Order: "in order"}}
	}
	now := map[string]*planned{
		"same":  of("once", config.Fingerprints{"from": "1", "connections.x": "2"}),
		"moved": of("at least once", config.Fingerprints{"from": "1", "to": "1"}),
		"used":  of("at least once", config.Fingerprints{"from": "1", "plugins.x": "1"}),
		"gone":  of("at least once", config.Fingerprints{"from": "1"}),
	}
	next := map[string]*planned{
		"same":  of("once", config.Fingerprints{"from": "1", "connections.x": "2"}),
		"moved": of("at most once", config.Fingerprints{"from": "1", "to": "2", "buffer": "3"}),
		"used":  of("at least once", config.Fingerprints{"from": "1", "plugins.x": "2"}),
		"new":   of("at least once", config.Fingerprints{"from": "1"}),
	}
	want := difference{
		Starts: []change{{Pipeline: "new", Promises: []string{"at least once, in order"}}},
		Stops:  []change{{Pipeline: "gone"}},
		Restarts: []change{
			{
				Pipeline: "moved", Because: []string{"buffer", "to"},
				Promises: []string{"at least once, in order -> at most once, in order"},
			},
			{Pipeline: "used", Because: []string{"plugins.x"}},
		},
		Untouched: []string{"same"},
	}
	if diff := cmp.Diff(want, compare(now, next)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if d := compare(now, now); !d.empty() || len(d.Untouched) != len(now) {
		t.Errorf("the same twice differs: %+v", d)
	}
}

// reloading is a bridge whose file is written anew.
type reloading struct {
	*process
	dir, file string
}

func startReloading(t *testing.T, text string, flags ...string) *reloading {
	t.Helper()
	dir := t.TempDir()
	r := &reloading{dir: dir, file: write(t, dir, "p.yaml", text)}
	r.process = start(t, dir, io.Discard, append([]string{"run", "--log-format", "json", r.file}, flags...)...)
	r.answers()
	return r
}

// answers waits until the bridge answers.
func (r *reloading) answers() {
	r.t.Helper()
	bridgetest.Eventually(r.t, "the bridge answers",
		func() bool { _, code := r.ask("status", r.file); return code != exitNobody })
}

// ask runs a command, and returns what it says and its exit code.
func (r *reloading) ask(args ...string) (said string, code int) {
	r.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(r.t.Context()), "xrtcbridge", args...)
	cmd.Dir = r.dir
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// reload makes the bridge run that text, and returns what reload says, which must end with the code.
func (r *reloading) reload(text string, code int, flags ...string) string {
	r.t.Helper()
	write(r.t, r.dir, "p.yaml", text)
	said, got := r.ask(append([]string{"reload", r.file}, flags...)...)
	if got != code {
		r.t.Errorf("reload ends with %d, want %d:\n%s", got, code, said)
	}
	return said
}

func (r *reloading) status() (s monitor.Status) {
	r.t.Helper()
	said, _ := r.ask("status", "--json", r.file)
	if err := json.Unmarshal([]byte(said), &s); err != nil {
		r.t.Fatalf("%v:\n%s", err, said)
	}
	return s
}

// opens returns how often an end of the pipeline was opened.
func (r *reloading) opens(pipeline string) int {
	n := 0
	for line := range strings.Lines(r.log.String()) {
		var l struct{ Msg, Pipeline string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "opened" && l.Pipeline == pipeline {
			n++
		}
	}
	return n
}

func (r *reloading) flows(file string) {
	r.t.Helper()
	path := filepath.Join(r.dir, file)
	before := len(readLines(r.t, path))
	bridgetest.Eventually(r.t, "messages flow to "+file, func() bool { return len(readLines(r.t, path)) > before+3 })
}

func ticks(name, to string) string {
	return fmt.Sprintf("  %s: {from: {generate: {interval: 1ms}}, to: {file: {path: %s}}}\n", name, to)
}

const reloadTop = "pipelines:\n"

func TestReload(t *testing.T) {
	base := reloadTop + ticks("kept", "kept.txt") + ticks("b", "b.txt")
	r := startReloading(t, base)
	r.flows("kept.txt")
	r.flows("b.txt")

	dry := r.reload(reloadTop+ticks("kept", "kept.txt")+ticks("b", "c.txt")+ticks("d", "d.txt"), exitDone, "--dry-run")
	for _, want := range []string{
		"would start d\n", "would restart b: to changed\n", "1 pipeline untouched\n", "\ndry run: nothing was changed\n",
	} {
		if !strings.Contains(dry, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, dry)
		}
	}
	if n := r.status().Config.Reloads; n != 0 || r.opens("b") != 2 || r.opens("d") != 0 {
		t.Errorf("a dry run did something: %d reloads", n)
	}
	done := strings.NewReplacer("would start", "started", "would restart", "restarted",
		"dry run: nothing was changed", "reloaded").Replace(dry)
	if said, code := r.ask("reload", r.file); code != exitDone || said != done {
		t.Errorf("the reload says another thing than the dry run: %d\n%s", code, said)
	}
	r.flows("c.txt")
	r.flows("d.txt")

	good := reloadTop + ticks("kept", "kept.txt") + ticks("b", "c.txt")
	if said := r.reload(good, exitDone); !strings.Contains(said, "stopped d\n") {
		t.Errorf("it does not say that d has stopped:\n%s", said)
	}
	if said := r.reload("# the same\n"+good, exitDone); said != "2 pipelines untouched\nreloaded\n" {
		t.Errorf("nothing changes, and reload says:\n%s", said)
	}
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "pipelines: [", "p.yaml:1"},
		{"a mistake", good + ticks("bad", "x.txt, mod: 1"), "p.yaml:4"},
		{"a section", "fail_fast: true\n" + good, "a change of fail_fast needs a restart"},
		{"a section and its difference", "fail_fast: true\n" + good + ticks("f", "f.txt"), "would start f\n"},
		{"one that cannot start", good + "  e: {from: {file: {path: nowhere}}, to: discard}\n", "no file matches"},
		{"a change that cannot start", reloadTop + ticks("kept", "kept.txt") + ticks("b", "kept.txt/x"), "kept.txt"},
		{"nothing to run", "pipelines: {}\n", "p.yaml:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := r.status().Config.Reloads
			rejected := r.log.count("reload failed")
			if said := r.reload(c.text, exitFailed); !strings.Contains(said, c.want) ||
				!strings.Contains(said, "reload failed, all goes on as before\n") {
				t.Errorf("it does not say %q, and how it ended:\n%s", c.want, said)
			}
			s := r.status()
			if s.Config.Rejected == nil || c.want != "would start f\n" &&
				!strings.Contains(s.Config.Rejected.Error, c.want) || s.Config.Reloads != before {
				t.Errorf("the status says %+v", s.Config)
			}
			if r.log.count("reload failed") != rejected+1 {
				t.Error("the log does not say it")
			}
			r.flows("c.txt")
			r.flows("kept.txt")
			var names []string
			for _, p := range s.Pipelines {
				names = append(names, p.Name)
			}
			if diff := cmp.Diff([]string{"kept", "b"}, names); diff != "" {
				t.Errorf("pipelines (-want +got):\n%s", diff)
			}
		})
	}
	r.reload(good, exitDone)
	if s := r.status(); s.Config.Rejected != nil {
		t.Errorf("a reload that went through leaves %+v", s.Config.Rejected)
	}
	if n := r.opens("kept"); n != 2 {
		t.Errorf("the ends of a pipeline that was never touched were opened %d times", n)
	}
	r.signal(syscall.SIGTERM)
	if code := r.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	for name, files := range map[string][]string{"kept": {"kept.txt"}, "b": {"b.txt", "c.txt"}, "d": {"d.txt"}} {
		got := 0
		for _, f := range files {
			got += len(readLines(t, filepath.Join(r.dir, f)))
		}
		if l := ledgerOf(t, r.log.String(), name); number(l, "delivered") != got || number(l, "in_flight") != 0 {
			t.Errorf("%s: %d lines, and the ledger is %v", name, got, l)
		}
	}
}

// What was connected before must be connected again, sources included, which are opened last and
// which no probe tries if a plugin has them: else the old pipeline comes back. A new pipeline that
// fails for good refuses the reload, too, and one whose broker is down does neither that nor make it
// wait.
func TestReloadOfASourceThatFails(t *testing.T) {
	program, err := exec.LookPath("xrtcbridge-count")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XRTCBRIDGE_PLUGINS", filepath.Dir(program))
	base := reloadTop + ticks("kept", "kept.txt")
	r := startReloading(t, base+ticks("b", "b.txt"))
	r.flows("b.txt")
	const fails = "count: {to: 1, word: fail}"
	b := func(from string) string { return "  b: {from: {" + from + "}, to: {file: {path: b.txt}}}\n" }
	for name, text := range map[string]string{
		"changed": base + b(fails),
		"one of two": base + "  b: {from: [{generate: {interval: 1ms}}, {" + fails +
			"}], to: {file: {path: b.txt}}}\n",
		"new": base + ticks("b", "b.txt") + "  c: {from: {" + fails + "}, to: discard}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if said := r.reload(text, exitFailed); !strings.Contains(said, "no such word") {
				t.Errorf("it does not say why:\n%s", said)
			}
			r.flows("b.txt")
			r.flows("kept.txt")
			if n := len(r.status().Pipelines); n != 2 {
				t.Errorf("there are %d pipelines", n)
			}
		})
	}
	began := time.Now()
	r.reload(base+ticks("b", "b.txt")+"  c: {from: {mqtt: {url: \"mqtt://127.0.0.1:1\", topics: [a]}}, to: discard}\n", exitDone)
	if took := time.Since(began); took >= startPatience { // as one takes that waits for it, and no other
		t.Errorf("a new pipeline whose broker is down makes the reload take %v", took)
	}
	r.reload(base+ticks("b", "c.txt"), exitDone)
	r.flows("c.txt")
	if n := r.opens("kept"); n != 2 {
		t.Errorf("the ends of a pipeline that was never touched were opened %d times", n)
	}
}

// A bridge that names no file runs the same one after a reload, and still knows which.
func TestReloadOfTheDefaultFile(t *testing.T) {
	dir := t.TempDir()
	r := &reloading{dir: dir, file: write(t, dir, defaultFile, reloadTop+ticks("b", "b.txt"))}
	r.process = start(t, dir, io.Discard, "run", "--log-format", "json")
	r.flows("b.txt")
	write(t, dir, defaultFile, reloadTop+ticks("b", "c.txt"))
	if said, code := r.ask("reload"); code != exitDone {
		t.Fatal(said)
	}
	r.flows("c.txt")
	if files := r.status().Config.Files; len(files) != 1 || filepath.Base(files[0]) != defaultFile {
		t.Errorf("it runs %q", files)
	}
	other := start(t, dir, io.Discard, "run", "--log-format", "json")
	bridgetest.Eventually(t, "another one hears that this one runs",
		func() bool { return other.log.count("another xrtcbridge runs this file") == 1 })
}

// A pipeline that is paused stays so, as it is now, and is resumed as that.
func TestReloadOfAPausedPipeline(t *testing.T) {
	t.Parallel()
	r := startReloading(t, reloadTop+ticks("kept", "kept.txt")+ticks("b", "b.txt"))
	r.flows("b.txt")
	if said, code := r.ask("pipeline", "pause", "b", r.file); code != exitDone {
		t.Fatal(said)
	}
	r.reload(reloadTop+ticks("kept", "kept.txt")+ticks("b", "c.txt"), exitDone)
	for _, p := range r.status().Pipelines {
		if p.Name == "b" && p.State != monitor.Paused {
			t.Errorf("it is %s", p.State)
		}
	}
	if said, code := r.ask("pipeline", "resume", "b", "-c", r.file); code != exitDone {
		t.Fatal(said)
	}
	r.flows("c.txt")
}

// One that is paused while a reload tries what has changed stays so, too.
func TestPauseDuringAReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in.txt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := (&config.Loader{Registry: builtin()}).Inline("file,follow=true,path="+file, "discard")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{bridge: new(engine.Bridge), seen: monitor.New(), log: slog.New(slog.DiscardHandler)}
	p := &planned{Pipeline: c.Pipelines[0]}
	r.bridge.Pipelines = append(r.bridge.Pipelines, r.launch(p))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.bridge.Run(ctx) }()
	phase := func() (phase engine.Phase) {
		for _, s := range r.bridge.Situations() {
			phase = s.Phase
		}
		return phase
	}
	bridgetest.Eventually(t, "it runs", func() bool { return phase() == engine.Running })
	if err := r.bridge.Pause(t.Context(), p.Name); err != nil {
		t.Log(err) // its input has no end
	}
	defer r.bridge.Hold()() // as a reload does
	all := []*planned{p}
	if _, err := r.exchange(t.Context(), all, all, func(string) monitor.State { return monitor.Running }); err != nil {
		t.Error(err)
	}
	if got := phase(); got != engine.Paused {
		t.Errorf("it is %s", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A pipeline that was new in a reload which failed, and did not let go then, is gone when it does.
func TestWhatDidNotLetGoIsTakenOut(t *testing.T) {
	c, err := (&config.Loader{Registry: builtin()}).Inline("generate,count=1", "discard")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{
		bridge: new(engine.Bridge), seen: monitor.New(), log: slog.New(slog.DiscardHandler), turn: make(chan struct{}, 1),
	}
	p := &planned{Pipeline: c.Pipelines[0]}
	r.bridge.Pipelines = append(r.bridge.Pipelines, r.launch(p))
	release := r.bridge.Hold() // as one holds that looks at its files
	done := make(chan error)
	go func() { done <- r.bridge.Run(t.Context()) }()
	bridgetest.Eventually(t, "it ends", func() bool { return r.situation()[p.Name].State == monitor.Finished })
	ended := make(chan error, 1)
	ended <- nil
	r.revive(p.Name, ended)
	if got := r.situation(); len(got) > 0 {
		t.Errorf("there is %v", got)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A file that is written anew, or exchanged as editors do, is reloaded by itself.
func TestReloadByWatching(t *testing.T) {
	t.Parallel()
	r := startReloading(t, reloadTop+ticks("kept", "kept.txt")+ticks("b", "b.txt"), "--watch")
	r.flows("b.txt")
	write(t, r.dir, "p.yaml", reloadTop+ticks("kept", "kept.txt")+ticks("b", "c.txt"))
	r.flows("c.txt")
	other := write(t, r.dir, "new", reloadTop+ticks("kept", "kept.txt")+ticks("b", "d.txt"))
	if err := os.Rename(other, r.file); err != nil {
		t.Fatal(err)
	}
	r.flows("d.txt")
	r.reload(reloadTop+ticks("kept", "kept.txt")+ticks("b", "e.txt"), exitDone, "--dry-run")
	r.flows("e.txt") // a dry run has read the file, and has not done what it says
	if n := r.opens("kept"); n != 2 {
		t.Errorf("the ends of a pipeline that was never touched were opened %d times", n)
	}
}

// over writes text over the beginning of a file, at once, so that nobody finds a part of it.
func over(t *testing.T, dir, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// What was read for a file counts as the file does: secrets, credentials, certificates and schemas,
// also where another one comes in as Kubernetes exchanges them, and those that the file names since a
// moment ago, or that are missing.
func TestReloadByWatchingOthers(t *testing.T) {
	dir, outside, out := t.TempDir(), t.TempDir(), t.TempDir() // nothing else changes in a folder that is watched
	volume := func(version, text string) {                     // as a kubelet does
		t.Helper()
		in := filepath.Join(outside, ".."+version)
		if err := os.MkdirAll(filepath.Join(in, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(in, "deep"), "word", text)
		next, at := filepath.Join(outside, "..data_tmp"), filepath.Join(outside, "..data")
		was, _ := os.Readlink(at)
		if err := os.Symlink(filepath.Base(in), next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, at); err != nil {
			t.Fatal(err)
		}
		if was != "" {
			if err := os.RemoveAll(filepath.Join(outside, was)); err != nil {
				t.Fatal(err)
			}
		}
	}
	volume("1", "v1")
	if err := os.Symlink(filepath.Join("..data", "deep"), filepath.Join(outside, "deep")); err != nil {
		t.Fatal(err)
	}
	credentials := filepath.Join(outside, "credentials")
	for _, name := range []string{credentials, filepath.Join(dir, "secrets"), filepath.Join(dir, "schemas")} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	write(t, credentials, "word", "c1")
	write(t, dir, "secrets/word", "s1")
	write(t, dir, "schemas/any.json", `{"title": "1"}`)
	pipeline := func(more string) string {
		return reloadTop + ticks("kept", filepath.Join(out, "kept.txt")) +
			`  b: {from: {generate: {interval: 1ms, payload: '"` + more + `"'}}, steps: [{schema: schemas/any.json}], ` +
			"to: {file: {path: " + filepath.Join(out, "b.txt") + "}}}\n"
	}
	const words = `${file:secrets/word} ${cred:word}`
	link := " ${file:" + filepath.Join(outside, "deep", "word") + "}"
	r := &reloading{dir: dir, file: write(t, dir, "p.yaml", pipeline(words))}
	r.process = start(t, dir, io.Discard, "run", "--watch", "--log-format", "json", "--log-level", "debug", r.file)
	says := func(want string) {
		t.Helper()
		bridgetest.Eventually(t, "it says "+want, func() bool {
			all := readLines(t, filepath.Join(out, "b.txt"))
			return len(all) > 0 && all[len(all)-1] == `"`+want+`"`
		})
	}
	quiet := func(reloads int) { // the watcher has seen that nothing changes behind the last reload
		t.Helper()
		bridgetest.Eventually(t, fmt.Sprintf("all is quiet after %d reloads", reloads), func() bool {
			return r.log.count(fmt.Sprintf(`"the files are as they were read","reloads":%d}`, reloads)) > 0
		})
	}
	says("s1 c1")
	quiet(0)
	over(t, dir, "secrets/word", "s2")
	says("s2 c1")
	quiet(1)
	over(t, credentials, "word", "c2")
	says("s2 c2")
	quiet(2)
	over(t, dir, "schemas/any.json", `{"title": "2"}`)
	quiet(3)
	over(t, dir, "p.yaml", pipeline(words+link))
	says("s2 c2 v1")
	quiet(4)
	volume("2", "v2")
	says("s2 c2 v2")
	quiet(5)
	volume("3", "v3")
	says("s2 c2 v3")
	quiet(6)
	over(t, dir, "p.yaml", pipeline(words+link+" ${file:more/word}"))
	quiet(7) // it fails
	if err := os.Mkdir(filepath.Join(dir, "more"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(write(t, out, "more", "m1"), filepath.Join(dir, "more", "word")); err != nil {
		t.Fatal(err)
	}
	says("s2 c2 v3 m1")
	quiet(8)
	if n, wrong := r.log.count(`"msg":"reloaded"`), r.log.count("reload failed"); n != 7 || wrong != 1 {
		t.Errorf("there were %d reloads, and %d that failed, want 7 and 1", n, wrong)
	}
	if n := r.opens("kept"); n != 2 {
		t.Errorf("the ends of a pipeline that was never touched were opened %d times", n)
	}
	r.signal(syscall.SIGTERM)
	if code := r.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// A listener reads its certificate again by itself, so that a new one stands in the way of no
// reload. What says where it listens does.
func TestRenewedCertificateNeedsNoRestart(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		write(t, dir, name, "1")
	}
	read := func(port string) loaded {
		t.Helper()
		listener := "{listen: 127.0.0.1:" + port + ", tls: {cert: cert.pem, key: key.pem}}"
		file := write(t, dir, "p.yaml", "admin: "+listener+"\nembedded: {mqtt: "+listener+", nats: "+listener+
			", xrtc: {listen: 127.0.0.1:"+port+", tls: {cert: cert.pem, key: key.pem}, accounts: {AC0987654321012345: "+
			strings.Repeat("k", 32)+"}}}\n"+reloadTop+ticks("a", "a.txt"))
		k := new(pluginFolders).catalog(slog.New(slog.DiscardHandler))
		defer k.close()
		c, err := k.load(t.Context(), []string{file})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := read("18321")
	write(t, dir, "cert.pem", "2")
	write(t, dir, "key.pem", "2")
	if keys := needRestart(before, read("18321")); len(keys) > 0 {
		t.Errorf("a new certificate needs a restart: %v", keys)
	}
	if diff := cmp.Diff([]string{"admin", "embedded"}, needRestart(before, read("18322"))); diff != "" {
		t.Errorf("another port (-want +got):\n%s", diff)
	}
}
