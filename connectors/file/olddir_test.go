package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestT5RotatedIntoAnotherFolder: what was not read of a file is read where rotation has put it in
// a folder beside it, packed or copied, and of what else stands there nothing is.
func TestT5RotatedIntoAnotherFolder(t *testing.T) {
	for _, c := range []struct {
		name, to string // to: where it goes, of which the ending says how
		copied   bool   // and then cut
		header   string
	}{
		{name: "packed by gzip", to: "old/app.log.1.gz"},
		{name: "packed by zstd, by date", to: "old/app.log-20261127.zst"},
		{name: "packed under its name", to: "archive/app.log.gz"},
		{name: "copied", to: "old/app.log.1", copied: true},
		{name: "copied and packed", to: "old/app.log.1.gz", copied: true},
		{name: "with the header of others", to: "old/app.log.1.gz", header: "time,celsius"},
		{name: "with the long header of others", to: "old/app.log.1.gz", header: strings.Repeat("column;", 200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path, to := filepath.Join(dir, "app.log"), filepath.Join(dir, filepath.FromSlash(c.to))
			if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
				t.Fatal(err)
			}
			begin := numbered("line", 0, 10)
			if c.header != "" {
				begin = append([]string{c.header}, begin...)
			}
			for i := range 3 {
				put(t, fmt.Sprint(filepath.Dir(to), "/app.log.", i+7, ".gz"),
					pack(t, "gz", text(append(begin[:len(begin)-10:len(begin)-10], fmt.Sprint("archived ", i))...)))
			}
			put(t, path, text(begin...))
			r := &restarts{t: t, pattern: path}
			r.open()
			expect(t, r.source, begin...)
			r.close()
			appendTo(t, path, text(numbered("line", 10, 30)...))
			what, kind := contents(t, path), strings.TrimPrefix(filepath.Ext(to), ".")
			if kind == "gz" || kind == "zst" {
				what = pack(t, kind, what)
			}
			put(t, to, what)
			if !c.copied {
				remove(t, path)
			}
			put(t, path, "new\n")
			r.open()
			expect(t, r.source, append(numbered("line", 10, 30), "new")...)
			expectNothing(t, r.source)
			if n := r.dropped.Load(); n != 0 {
				t.Errorf("%d lines count as dropped, want none", n)
			}
			r.close()
			r.open()
			expectNothing(t, r.source)
			r.close()
		})
	}
}

// TestT5AwayAndBack: files that were gone, with their folder, are read on in the order in which
// they were written when they are there again, whatever the order of their names.
func TestT5AwayAndBack(t *testing.T) {
	for name, old := range map[string][]string{
		"dates":   {"app.log-20261124", "app.log-20261125", "app.log-20261126", "app.log"},
		"numbers": {"app.log.3", "app.log.2", "app.log.1", "app.log"},
		"both":    {"app.log.2", "app.log-20261125", "app.log.1", "app.log"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "logs")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "app.log")
			r := &restarts{t: t, pattern: path}
			var want, paths []string
			for i, name := range old {
				lines := numbered(name, 0, 3)
				want, paths = append(want, lines...), append(paths, filepath.Join(dir, name))
				put(t, path, text(lines...))
				r.open() // so that it is known
				r.close()
				rename(t, path, paths[i])
			}
			order(t, paths...)
			rename(t, dir, dir+" away")
			r.open()
			expectNothing(t, r.source)
			if n := r.dropped.Load(); n == 0 {
				t.Error("nothing counts as dropped while the files are away")
			}
			rename(t, dir+" away", dir)
			if d := cmp.Diff(want, read(t, r.source, len(want))); d != "" {
				t.Errorf("lines differ (-want +got):\n%s", d)
			}
			expectNothing(t, r.source)
			if n := r.dropped.Load(); n != 0 {
				t.Errorf("%d lines count as dropped, want none", n)
			}
			r.close()
		})
	}
}
