package main

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

var writePages = flag.Bool("write", false, "write the pages about connectors and steps instead of comparing them")

// The README.md of each connector's folder, and of bridge/step, says what the code says.
func TestPagesAreCurrent(t *testing.T) {
	var steps []bridge.Connector
	pages := make(map[string][]bridge.Connector)
	for _, name := range builtin().Names() {
		c, _ := builtin().Lookup(name)
		if _, err := os.Stat(filepath.Join(root, "connectors", name)); errors.Is(err, fs.ErrNotExist) {
			steps = append(steps, c)
			continue
		}
		pages["connectors/"+name] = []bridge.Connector{c}
	}
	pages["bridge/step"] = steps
	for folder, all := range pages {
		var want bytes.Buffer
		want.WriteString("<!-- Written by go generate ./cmd/xrtcbridge: change the tags of the settings, " +
			"or the example. -->\n\n")
		if err := writeMarkdown(&want, all); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(root, folder, "README.md")
		if *writePages {
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(got), want.String()); diff != "" {
			t.Errorf("%s/README.md is not current: run go generate ./cmd/xrtcbridge\n%s", folder, diff)
		}
	}
}
