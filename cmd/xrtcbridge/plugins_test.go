package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/skeleton"
)

// built returns the program that the build command of an example makes.
func built(t *testing.T, example, program string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "examples", example, program))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		bridgetest.Missing(t, program)
	}
	return path
}

// pids returns the processes of the plugins that the log tells of, the newest of each.
func (p *process) pids() map[string]int {
	pids := make(map[string]int)
	for line := range strings.Lines(p.log.String()) {
		var l struct {
			Msg, Plugin string
			PID         int
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "plugin started" {
			pids[l.Plugin] = l.PID
		}
	}
	return pids
}

// hook is a web server that collects what is posted to it.
type hook struct {
	mu   sync.Mutex // guards rest
	rows []string
}

func (h *hook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows = append(h.rows, string(body))
}

// numbers returns the numbers of the sensor's readings that came, each once, in the order of their
// first coming.
func (h *hook) numbers() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []int
	seen := make(map[int]bool)
	for _, row := range h.rows {
		var message struct{ Payload string }
		var reading struct{ N int }
		if json.Unmarshal([]byte(row), &message) != nil || json.Unmarshal([]byte(message.Payload), &reading) != nil {
			return nil
		}
		if !seen[reading.N] {
			seen[reading.N] = true
			all = append(all, reading.N)
		}
	}
	return all
}

// ticker is a WebSocket server that sends a number every few milliseconds.
func ticker(t *testing.T) string {
	t.Helper()
	var n int
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		every := time.NewTicker(5 * time.Millisecond)
		defer every.Stop()
		for range every.C {
			mu.Lock()
			n++
			text := fmt.Sprintf(`{"n": %d}`, n)
			mu.Unlock()
			if c.WriteMessage(websocket.TextMessage, []byte(text)) != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// One file with a plugin in each language: sensor (Python) → SQLite (Go) → webhook (Node), and
// WebSocket (Node) → CSV (Python). Each of the plugins is killed again and again; nothing that can
// be read again is lost, and nothing is left behind.
func TestF18PluginsInThreeLanguages(t *testing.T) {
	t.Parallel()
	hook := new(hook)
	server := httptest.NewServer(hook)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	file := write(t, dir, "pipelines.yaml", fmt.Sprintf(`
plugins:
  go: {path: %s, limits: {crashes: 100}}
  python: {path: %s, limits: {crashes: 100}}
  node: {path: %s, env: [PATH], limits: {crashes: 100}}
pipelines:
  readings:
    from: {sensor: {name: kitchen, interval: 5ms}}
    to: {sqlite: {path: plant.db}}
  rows:
    from: {sqlite: {path: plant.db, table: messages, interval: 20ms}}
    to: {webhook: {url: %q, parallel: 1}}
  frames:
    from: {websocket: {url: %q}}
    to: {csv: {path: frames.csv, columns: [n]}}
`, built(t, "plugin-go", "xrtcbridge-sqlite"), built(t, "plugin-python", "xrtcbridge-sensor"), built(t, "plugin-node", "xrtcbridge-web"),
		server.URL, ticker(t)))
	p := start(t, dir, io.Discard, "run", "--log-format", "json", file)
	grow := func(what string) {
		t.Helper()
		rows, frames := len(hook.numbers()), len(readLines(t, filepath.Join(dir, "frames.csv")))
		bridgetest.Eventually(t, "messages flow "+what, func() bool {
			return len(hook.numbers()) >= rows+20 && len(readLines(t, filepath.Join(dir, "frames.csv"))) >= frames+20
		})
	}
	grow("at first")
	killed := make(map[string]int)
	for _, name := range []string{"python", "go", "node", "go", "python", "node"} {
		// What was on its way may flow before the one that was killed is back.
		bridgetest.Eventually(t, "plugin "+name+" runs", func() bool { return p.pids()[name] != killed[name] })
		pid := p.pids()[name]
		killed[name] = pid
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill plugin %s, process %d: %v", name, pid, err)
		}
		start := time.Now()
		grow("after a kill of " + name)
		t.Logf("%s: flow was back after at most %s", name, time.Since(start))
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	for name, pid := range p.pids() {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("plugin %s is left behind", name)
		}
	}
	got := hook.numbers()
	for i, n := range got {
		if n != i+1 {
			t.Fatalf("reading %d came where %d should", n, i+1)
		}
	}
	t.Logf("%d readings went through", len(got))
}

// The files beside the examples' plugins load, with these.
func TestExamplesOfPlugins(t *testing.T) {
	t.Parallel()
	for example, program := range map[string]string{
		"plugin-go":     "xrtcbridge-sqlite",
		"plugin-python": "xrtcbridge-sensor", "plugin-node": "xrtcbridge-web",
	} {
		t.Run(example, func(t *testing.T) {
			dir := filepath.Dir(built(t, example, program))
			files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("found %v, %v", files, err)
			}
			for _, f := range files {
				tests := strings.TrimSuffix(f, ".yaml") + "_test.yaml"
				if strings.HasSuffix(f, "_test.yaml") {
					continue
				}
				// A connector is found by the name of its program, so the plugin is named by a
				// file.
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text = bytes.ReplaceAll(text, []byte("./"+program), []byte(filepath.Join(dir, program))) // its copy is elsewhere
				if !bytes.Contains(text, []byte("plugins:")) {
					text = append(text, fmt.Sprintf("\nplugins: {it: %s}\n", filepath.Join(dir, program))...)
				}
				example := write(t, t.TempDir(), "example.yaml", string(text))
				runIn(t, dir, "xrtcbridge", "check", example)
				if test, err := os.ReadFile(tests); err == nil {
					write(t, filepath.Dir(example), "example_test.yaml", string(test))
					runIn(t, dir, "xrtcbridge", "test", example)
				}
			}
		})
	}
}

// What new plugin writes, outside the source of this project, builds with its one command and
// works, in each language: all kinds in one, and each alone.
func TestNewPlugin(t *testing.T) {
	needs := map[string]string{"go": "go", "python": "python3-grpcio", "node": "npm"}
	for _, l := range skeleton.Languages() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			need(t, needs[l.Name])
			dir := t.TempDir()
			out := runIn(t, dir, "xrtcbridge", "new", "plugin", "my-clock", "--lang", l.Name, "--kind", "source,sink",
				"--kind", "step")
			// The folder has what is printed: the commands to go on with.
			if !strings.Contains(out, "cd my-clock && "+l.Build) {
				t.Errorf("it prints %s", out)
			}
			clock := filepath.Join(dir, "my-clock")
			runIn(t, clock, "sh", "-c", l.Build)
			got := runIn(t, dir, "xrtcbridge", "run", "--plugin-dir", "my-clock", "--from",
				"my-clock,count=3,every=1ms", "--step", "my-clock,mark=# ",
				"--step", "filter,when=payload != '# message 2'", "--to", "stdio", "--quiet")
			if got != "# message 1\n# message 3\n" {
				t.Errorf("got %q", got)
			}
			shown := runIn(t, dir, "xrtcbridge", "connectors", "--plugin-dir", "my-clock", "my-clock")
			for _, want := range []string{
				"a duration like 10s  default 1s", "A source delivers at most once",
				"A sink delivers at least once",
			} {
				if !strings.Contains(shown, want) {
					t.Errorf("connectors does not show %q in %s", want, shown)
				}
			}
			example := shown[strings.Index(shown, "pipelines:"):]
			file := write(t, dir, "example.yaml", example)
			log := runIn(t, dir, "sh", "-c", "xrtcbridge run --plugin-dir my-clock --log-format json "+file+" 2>&1")
			if !strings.Contains(log, "got > message 3") {
				t.Errorf("the example of the connector logs %s", log)
			}
			if promise := runIn(t, dir, "xrtcbridge", "check", "--plugin-dir", "my-clock",
				file); strings.Contains(promise, "unknown") {
				t.Errorf("check says %s", promise)
			}
			readme, err := os.ReadFile(filepath.Join(clock, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			tried := 0
			for line := range strings.Lines(string(readme)) {
				if command, ok := strings.CutPrefix(line, "    "); ok && strings.Contains(command, "xrtcbridge ") &&
					!strings.Contains(command, "{path:") {
					runIn(t, clock, "sh", "-c", command)
					tried++
				}
			}
			if tried != 4 {
				t.Errorf("its README has %d commands to try", tried)
			}
			for _, kind := range skeleton.Kinds() {
				name := "one-" + kind
				runIn(t, dir, "xrtcbridge", "new", "plugin", name, "--lang", l.Name, "--kind", kind)
				if l.Name == "node" {
					runIn(t, dir, "cp", "-r", "my-clock/node_modules", name) // which takes a while to get
					runIn(t, filepath.Join(dir, name), "npm", "run", "build")
				} else {
					runIn(t, filepath.Join(dir, name), "sh", "-c", l.Build)
				}
				if out := runIn(t, dir, "xrtcbridge", "plugins", "check", "--env", "PATH",
					filepath.Join(name, "xrtcbridge-"+name)); !strings.Contains(out, "("+kind+"):") {
					t.Errorf("%s: %s", name, out)
				}
			}
		})
	}
}

// need skips the test without something that a language needs, or fails it where that is required.
func need(t *testing.T, what string) {
	t.Helper()
	switch what {
	case "python3-grpcio":
		if exec.CommandContext(t.Context(), "/usr/bin/python3", "-c",
			"import grpc, google.protobuf, cryptography").Run() != nil {
			bridgetest.Missing(t, what)
		}
	case "npm":
		// Its packages come over the network, which is not there for everybody who has it.
		if !slices.Contains(strings.Split(os.Getenv("XRTCBRIDGE_REQUIRE"), ","), what) {
			bridgetest.Missing(t, what+" where XRTCBRIDGE_REQUIRE names it")
		}
	}
	if what != "python3-grpcio" {
		bridgetest.Program(t, what)
	}
}

// runIn runs a command in a folder and returns its standard output.
func runIn(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

// The examples have the helpers as they are, and these the contract.
func TestHelpersAreCopies(t *testing.T) {
	skeletons := filepath.Join(root, "connectors", "plugin", "skeleton")
	for _, c := range [][2]string{
		{"examples/plugin-python/xrtcbridge_plugin.py", "python/xrtcbridge_plugin.py"},
		{"examples/plugin-python/connector_pb2.py", "python/connector_pb2.py"},
		{"examples/plugin-node/xrtcbridge-plugin.mjs", "node/xrtcbridge-plugin.mjs"},
		{"examples/plugin-node/build.mjs", "node/build.mjs"},
		{"examples/plugin-node/connector.proto", "node/connector.proto"},
		{"connectors/plugin/pluginpb/connector.proto", "node/connector.proto"},
	} {
		a, err := os.ReadFile(filepath.Join(root, c[0]))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(skeletons, c[1]))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not connectors/plugin/skeleton/%s: copy the right one", c[0], c[1])
		}
	}
}

// A name must not lead out of the folder, nor be one that there is.
func TestNewPluginRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"Clock"},
		{"mqtt"},
		{".."},
		{"clock", "--lang", "cobol"},
		{"clock", "--kind", "sorce"},
		{"clock", "--module", dir},
		{},
	} {
		cmd := exec.CommandContext(t.Context(), "xrtcbridge", append([]string{"new", "plugin"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != exitUsage {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}
