package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// What leads a browser to the page, in a folder that others share or not, only its user can read,
// and it is gone when the browser is in.
func TestDashboardLeavesNoLink(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared: ", shared), func(t *testing.T) {
			dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
			write(t, dir, "pipelines.yaml", fmt.Sprintf(`
state: {dir: %q, shared: %t}
admin: 127.0.0.1:0
pipelines: {a: {from: {generate: {interval: 1s}}, to: discard}}
`, state, shared))
			bin, seen := t.TempDir(), filepath.Join(dir, "seen")
			browser := write(t, bin, "xdg-open",
				fmt.Sprintf("#!/bin/sh\necho \"$1\" > %q.part && mv %q.part %q\n", seen, seen, seen))
			if err := os.Chmod(browser, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			t.Setenv("DISPLAY", ":0")
			t.Setenv("TMPDIR", t.TempDir())
			bridge := start(t, dir, nil, "run", "--log-format", "json")
			bridge.opened(2)
			if err := os.Chmod(state, map[bool]os.FileMode{false: 0o700, true: 0o777}[shared]); err != nil {
				t.Fatal(err)
			}
			c := start(t, dir, nil, "dashboard", "--open")
			bridgetest.Eventually(t, "a browser is opened", func() bool { return len(readLines(t, seen)) == 1 })
			name := strings.TrimPrefix(readLines(t, seen)[0], "file://")
			for path, mode := range map[string]os.FileMode{name: 0o600, filepath.Dir(name): 0o700 | os.ModeDir} {
				if info, err := os.Stat(path); err != nil || info.Mode() != mode {
					t.Errorf("%s is %v, %v", path, info, err)
				}
			}
			if strings.HasPrefix(name, state) == shared {
				t.Errorf("the link is in %s", name)
			}
			_, text, _ := strings.Cut(readLines(t, name)[0], "url=")
			at, code, _ := strings.Cut(strings.TrimSuffix(text, `">`), "#code=")
			answer, err := http.Post(at+"login", "application/json", strings.NewReader(`{"code":"`+code+`"}`))
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v, %v", text, answer, err)
			}
			answer.Body.Close()
			if code := c.exit(); code != exitDone {
				t.Errorf("exit code %d", code)
			}
			if _, err := os.Stat(filepath.Dir(name)); !os.IsNotExist(err) {
				t.Errorf("it is still there: %v", err)
			}
			bridge.signal(os.Interrupt)
			bridge.exit()
		})
	}
}
