package main

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

const root = "../.."

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// blocks returns the fenced blocks of a page in a language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s block: is the pattern still right?", page, language)
	}
	return found
}

func parse(t *testing.T, name, text string) {
	t.Helper()
	registry := bridge.NewRegistry(connectors.Builtin()...)
	l := config.Loader{
		Registry: registry,
		Sections: sectionsOf(allSections()),
		Find: func(name string) error {
			if name != "clock" { // what new plugin writes; TestREADMECommands does that for real
				return nil
			}
			type settings struct {
				Every time.Duration `yaml:"every"`
			}
			return registry.Add(bridge.Connector{Name: name, Source: bridge.NewOpener(settings{},
				func(context.Context, *settings, bridge.Env) (bridge.Source, error) { return nil, io.EOF })})
		},
		// Secrets are set; everything else has to have a default, which is tested thus.
		Getenv: func(name string) (string, bool) {
			if strings.HasSuffix(name, "_PASSWORD") || strings.HasSuffix(name, "_TOKEN") {
				return testKey, true // which fits where a portal's key is wanted
			}
			return "", false
		},
	}
	if _, err := l.Parse(name, []byte(text)); err != nil {
		t.Error(err)
	}
}

// Every YAML document that we show or ship loads.
func TestShownYAMLLoads(t *testing.T) {
	for _, b := range blocks(t, "README.md", "yaml") {
		parse(t, "README.md", b)
	}
	for _, c := range connectors.Builtin() {
		if c.Example == "" {
			t.Errorf("connector %s has no example", c.Name)
		}
		parse(t, c.Name+"/example.yaml", c.Example)
	}
	files := []string{filepath.Join(root, "pipelines.yaml")}
	for _, pattern := range []string{filepath.Join(root, "examples/*/*.yaml"), "testdata/perf/*.yaml"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	placeholder := strings.NewReplacer("@MQTT@", "127.0.0.1:1883", "@MQTT2@", "127.0.0.1:1884", "@NATS@",
		"127.0.0.1:4222", "@INFILE@", "in", "@OUTFILE@", "out")
	for _, f := range files {
		if strings.Contains(f, "plugin-") || strings.Contains(f, "deploy/") || strings.HasSuffix(f, "_test.yaml") {
			continue // see TestExamplesOfPlugins, TestDeployedPipelines and TestExamplesTested
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parse(t, f, placeholder.Replace(string(text)))
	}
}

// Every command that the README shows works as it stands there, in a folder
// that looks like a checkout. The Go toolchain's own are run elsewhere, or are this very run.
func TestREADMECommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	demo, err := os.ReadFile(filepath.Join(root, "pipelines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The demo may be running on this machine: here it gets ports of its own.
	portals := strings.Replace(bridgetest.FreeAddr(t), "127.0.0.1", "localhost", 1)
	ports := strings.NewReplacer("127.0.0.1:21883", bridgetest.FreeAddr(t), "127.0.0.1:24222",
		bridgetest.FreeAddr(t), "localhost:28080", portals)
	write(t, dir, "pipelines.yaml", ports.Replace(string(demo)))
	env := os.Environ()
	withEnv := func(cmd *exec.Cmd) { cmd.Dir, cmd.Env = dir, env }
	for _, block := range blocks(t, "README.md", "sh") {
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "git clone") || strings.HasPrefix(line, "cd ") ||
				strings.HasPrefix(line, "go test") || strings.Contains(line, "go build") {
				continue
			}
			line = strings.ReplaceAll(line, "go run ./cmd/xrtcbridge", "xrtcbridge")
			line = strings.ReplaceAll(line, "./xrtcbridge", "xrtcbridge")
			// which is not around this folder
			line = strings.Replace(line, "new plugin clock ", "new plugin clock --module "+source+" ", 1)
			line = strings.ReplaceAll(line, "localhost:28080", portals)
			// A busy machine takes its time until all is connected.
			line = regexp.MustCompile(`--for [0-9]s`).ReplaceAllString(line, "--for 15s")
			if variables, ok := strings.CutPrefix(line, "export "); ok {
				env = slices.AppendSeq(env, strings.FieldsSeq(variables))
				continue
			}
			if line, ok := strings.CutSuffix(line, "# in another shell"); ok && strings.TrimSpace(line) == "xrtcbridge run" {
				launch(t, dir, withEnv, "run")
				bridgetest.Eventually(t, "the bridge is ready", func() bool {
					cmd := exec.CommandContext(t.Context(), "xrtcbridge", "status")
					withEnv(cmd)
					return cmd.Run() == nil
				})
				continue
			} else if ok {
				launch(t, dir, withEnv, append(strings.Fields(strings.ReplaceAll(line, "'", ""))[1:], "--listen", portals)...)
				bridgetest.Eventually(t, "the server listens", func() bool {
					c, err := net.Dial("tcp", portals)
					if err == nil {
						_ = c.Close()
					}
					return err == nil
				})
				continue
			}
			t.Run(line, func(t *testing.T) {
				if strings.Contains(line, "mosquitto") {
					bridgetest.Program(t, "mosquitto_pub")
				}
				cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
				withEnv(cmd)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}
