package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// documents returns the YAML documents of a file.
func documents(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var one map[string]any
		if err := d.Decode(&one); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, one)
	}
}

// What users copy to install the bridge can be read, and the pipelines in it have no mistake.
func TestDeployedPipelines(t *testing.T) {
	deploy := filepath.Join(root, "examples", "deploy")
	files := 0
	err := filepath.WalkDir(deploy, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".yaml" {
			files++
			documents(t, path)
		}
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
	dir := t.TempDir()
	checked := []string{}
	for _, name := range []string{"systemd", "compose"} {
		path, err := filepath.Abs(filepath.Join(deploy, name, "pipelines.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		checked = append(checked, path)
	}
	for _, object := range documents(t, filepath.Join(deploy, "kubernetes", "xrtcbridge.yaml")) {
		if object["apiVersion"] == nil || object["kind"] == nil || object["metadata"] == nil {
			t.Errorf("not an object of Kubernetes: %v", object)
		}
		if data, ok := object["data"].(map[string]any); ok {
			checked = append(checked, write(t, dir, "kubernetes.yaml", data["pipelines.yaml"].(string)))
		}
	}
	if len(checked) != 3 {
		t.Errorf("found %v", checked)
	}
	for _, path := range checked {
		runIn(t, dir, "xrtcbridge", "check", "--no-env", path)
	}
}

// The units have no mistake, and say what systemd before 253 makes of them.
func TestDeployedUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		bridgetest.Missing(t, "systemd-analyze")
	}
	text, err := os.ReadFile(filepath.Join(root, "examples/deploy/systemd/xrtcbridge.service"))
	if err != nil {
		t.Fatal(err)
	}
	binary, err := exec.LookPath("xrtcbridge")
	if err != nil {
		t.Fatal(err)
	}
	unit := write(t, t.TempDir(), "xrtcbridge.service", strings.Replace(string(text), "/usr/bin/xrtcbridge", binary, 1))
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "xrtcbridge.service") && !strings.Contains(line, "ignoring: notify-reload") {
			t.Error(line)
		}
	}
}

// What packages and archives are made of is there, or is made by package.sh.
func TestPackageContents(t *testing.T) {
	for _, file := range []string{"examples/deploy/nfpm.yaml", ".goreleaser.yaml"} {
		var paths []string
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				for key, value := range v {
					text, is := value.(string)
					if is && slices.Contains([]string{"src", "glob", "main", "postinstall", "preremove", "postremove"}, key) {
						paths = append(paths, strings.TrimPrefix(text, "./"))
					}
					walk(value)
				}
			case []any:
				for _, value := range v {
					walk(value)
				}
			}
		}
		for _, d := range documents(t, filepath.Join(root, file)) {
			walk(d)
		}
		if len(paths) < 5 {
			t.Errorf("%s names %q", file, paths)
		}
		for _, path := range paths {
			if strings.HasPrefix(path, "out/package") {
				continue
			}
			info, err := os.Stat(filepath.Join(root, path))
			if err != nil {
				t.Errorf("%s: %v", file, err)
			} else if strings.Contains(path, "/package/") && info.Mode()&0o111 == 0 {
				t.Errorf("%s is no program", path)
			}
		}
	}
}
