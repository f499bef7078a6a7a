package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What another user may not read, append to or make is found before run is, and nothing is made.
func TestConnectFindsMissingPermissions(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	inside := func(name string) string { return filepath.Join(p.dir, name) }
	for name, mode := range map[string]os.FileMode{"secret.log": 0o600, "sink.txt": 0o644} {
		if err := os.WriteFile(inside(name), []byte("x\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"closed": 0o700, "open": 0o777} {
		if err := os.Mkdir(inside(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(inside(name), mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	config := `
state: off
pipelines:
  p:
    from: [{file: {path: secret.log}}, {file: {path: "closed/*.log", follow: true}}]
    to: {all: [{file: {path: sink.txt}}, {file: {path: new/x.txt}}, {file: {path: "closed/{{ topic }}.txt"}}, {file: {path: open/x.txt}}]}
`
	if err := os.WriteFile(inside("p.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p.expect(1, []string{
		"p-from (file): failed: open secret.log: permission denied: let the user that the bridge runs as have access to it",
		"p-from-2 (file): failed: open closed: permission denied: let the user",
		"p-to (file): failed: open sink.txt: permission denied: let the user",
		"p-to-2 (file): failed: make a file in .: permission denied: let the user",
		"p-to-3 (file): failed: make a file in closed: permission denied: let the user",
		"p-to-4 (file): ok: may make files in open",
		"5 of 6 places failed",
	}, "check", "--connect", "p.yaml")
	for _, name := range []string{"new", "open/x.txt", "closed/x.txt"} {
		if _, err := os.Lstat(inside(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	if text, err := os.ReadFile(inside("sink.txt")); err != nil || strings.TrimSpace(string(text)) != "x" {
		t.Errorf("sink.txt has %q, %v", text, err)
	}
}
