//go:build unix

package file_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// tree is all that lies in a folder, with sizes, modes and times of change.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, infoErr := os.Lstat(path)
		if infoErr == nil {
			all = append(all, fmt.Sprint(path, info.Size(), info.Mode(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Files and folders that are there are opened, those that are missing are not made, and nothing
// changes.
func TestProbeOpensAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("whole.log"), "a\nb\n")
	put(t, at("torn.log"), "a\nb")
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	source := func(follow bool, path ...string) bridge.Prober {
		s := file.Connector().Source.Settings().(*file.SourceSettings)
		s.Path, s.Follow = path, follow
		return s
	}
	sink := func(path bridge.Template) bridge.Prober {
		s := file.Connector().Sink.Settings().(*file.SinkSettings)
		s.Path = path
		s.Rotate.Size = 1
		return s
	}
	before := tree(t, dir)
	for _, test := range []struct {
		name         string
		of           bridge.Prober
		tried, fails string
	}{
		{"file", source(false, at("whole.log")), "opened to read: 1", ""},
		{"pattern", source(false, at("*.log")), "opened to read: 2", ""},
		{"none", source(false, at("no.txt")), "", "no file matches"},
		{"none yet", source(true, at("no.txt")), "not: no file matches", ""},
		{"no folder", source(true, at("no/*.txt")), "", "there is no folder " + at("no") + ": make it, or correct the path"},
		{
			"one of two folders", source(false, at("whole.log"), at("no/*.txt")),
			"not: " + at("no/*.txt") + ": there is no folder", "",
		},
		{"pipe", source(false, at("pipe")), "", "is a pipe, not a file"},
		{"folder", source(false, dir), "", "is a folder"},
		{"sink", sink(bridge.Text(at("torn.log"))), "opened " + at("torn.log") + " to append", ""},
		{"new file", sink(bridge.Text(at("new.log"))), "may make files in " + dir, ""},
		{"new folder", sink(bridge.Text(at("a/b/new.log"))), "not: folder " + at("a/b") + " is not there: run makes it", ""},
		{"template", sink(byTopic(dir + "/")), "may make files in " + dir, ""},
		{"in a file", sink(bridge.Text(at("whole.log/x/y"))), "", "not a directory"},
		{"a folder", sink(bridge.Text(dir)), "", "is a directory"},
		{"into a pipe", sink(bridge.Text(at("pipe"))), "", "is a pipe, not a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := test.of.Probe(t.Context(), bridgetest.Env(t, "test"))
			said := strings.Join(p.Tried, "\n") + "\nnot: " + strings.Join(p.NotTried, "\nnot: ")
			if (err != nil) != (test.fails != "") || !strings.Contains(fmt.Sprint(err), test.fails) ||
				!strings.Contains(said, test.tried) {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("something has changed: %s", diff)
	}
}
