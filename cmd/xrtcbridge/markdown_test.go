package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
		current(t, folder, want.String())
	}
	current(t, "examples", examplesPage(t))
}

// current compares the README.md of a folder, or writes it.
func current(t *testing.T, folder, want string) {
	file := filepath.Join(root, folder, "README.md")
	if *writePages {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("%s/README.md is not current: run go generate ./cmd/xrtcbridge\n%s", folder, diff)
	}
}

// examplesPage lists the examples by the title and the first sentence of each.
func examplesPage(t *testing.T) string {
	all, err := os.ReadDir(filepath.Join(root, "examples"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("<!-- Written by go generate ./cmd/xrtcbridge: change the README.md of the example. -->\n\n# Examples\n\n" +
		"`xrtcbridge run` in the folder of one runs it, `xrtcbridge test examples` the tests of all.\n\n" +
		"| example | what it does |\n|---|---|\n")
	for _, example := range all {
		if !example.IsDir() {
			continue
		}
		name := example.Name()
		text, err := os.ReadFile(filepath.Join(root, "examples", name, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		title, rest, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n\n")
		first, _, _ := strings.Cut(strings.Join(strings.Fields(rest), " "), ". ")
		if strings.HasPrefix(first, "|") {
			first = "" // a table
		} else {
			first = ". " + strings.ReplaceAll(strings.TrimSuffix(first, "."), "|", `\|`)
		}
		fmt.Fprintf(&b, "| [%s](%s) | %s%s |\n", name, name, title, first)
	}
	return b.String()
}
