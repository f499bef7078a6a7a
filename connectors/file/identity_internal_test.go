package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// counted is a content that counts how often it is read.
type counted struct {
	*bytes.Reader
	reads *int
}

func (c counted) ReadAt(b []byte, off int64) (int, error) {
	*c.reads++
	return c.Reader.ReadAt(b, off)
}

// TestT5ManyReplacedFiles: to find out which of many files are those of before, each is read a few
// times, and not once for each of the others. That holds for files of the same long header, too.
func TestT5ManyReplacedFiles(t *testing.T) {
	const files = 300
	for _, header := range []string{"", strings.Repeat("column;", 200) + "\n"} {
		text := func(i int) []byte { return fmt.Appendf(nil, "%sline of %03d\nanother of %03d\n", header, i, i) }
		path := filepath.Join(t.TempDir(), "any")
		if err := os.WriteFile(path, text(0), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		f, reads := &follower{}, 0
		var found []*stranger
		for i := range files {
			old := newTracked(fmt.Sprint("old", i))
			old.known, old.missing = false, true // as after a restart
			was := bytes.NewReader(text(i))
			old.Front, old.Offset, old.offset = markOf(bytesAt(was, 0, window)), was.Size(), was.Size()
			from := max(0, was.Size()-window)
			old.Tail = markOf(bytesAt(was, from, window))
			f.orphans = append(f.orphans, old)
			found = append(found, &stranger{
				sibling: sibling{fmt.Sprint("new", i), fmt.Sprint("new", i)}, info: info, held: true,
				opened: &opened{info: info, body: counted{bytes.NewReader(text(i + files/2)), &reads}},
			})
		}
		alike, _ := f.compare(found)
		for i, s := range found {
			if got := alike[s]; i < files/2 && (len(got) != 1 || got[0] != f.orphans[i+files/2]) ||
				i >= files/2 && len(got) > 0 {
				t.Fatalf("file %d is alike to %d others", i, len(got))
			}
		}
		if reads > 10*files {
			t.Errorf("%d files were read %d times", files, reads)
		}
	}
}

// TestT5Judge is the table of what a file on the disk is to a record.
func TestT5Judge(t *testing.T) {
	for _, c := range []struct {
		name string
		facts
		want verdict
	}{
		{"grown, renamed, or as it was", facts{own: true, holds: true}, same},
		{"the same with rivals", facts{own: true, holds: true, rivals: 3}, same},
		{"cut, written anew, or the inode is used again", facts{own: true}, rewritten},
		{"another file", facts{}, fresh},
		{"another file under a rotated name", facts{rotated: true, lines: 2}, fresh},
		{"a copy, or moved to another disk", facts{holds: true, lines: 2}, same},
		{"packed", facts{holds: true, rotated: true, lines: 2}, same},
		{"packed after one line, or none", facts{holds: true, rotated: true}, same},
		{"a new file with the header of the old one", facts{holds: true, lines: 1}, unsure},
		{"two copies", facts{holds: true, lines: 2, rivals: 1}, unsure},
		{"two packed copies", facts{holds: true, rotated: true, lines: 2, rivals: 1}, unsure},
	} {
		if got := judge(c.facts); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestT5Inodes(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b inode
		want bool
	}{
		{"the same", inode{1, 2, 3}, inode{1, 2, 3}, true},
		{"used again", inode{1, 2, 3}, inode{1, 2, 4}, false},
		{"another number", inode{1, 2, 3}, inode{1, 3, 3}, false},
		{"no birth known", inode{1, 2, 0}, inode{1, 2, 4}, true},
		{"another device", inode{1, 2, 0}, inode{2, 2, 0}, false},
		{"the device has another number since the machine started", inode{1, 2, 3}, inode{2, 2, 3}, true},
		{"nothing known", inode{}, inode{}, false},
	} {
		if got := c.a.is(c.b); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

func TestRotatedFrom(t *testing.T) {
	is := func(base string) bool { return base == "/d/app.log" || base == "/d/eth0" }
	for path, want := range map[string]string{
		"/d/app.log.1": "/d/app.log", "/d/app.log.2.gz": "/d/app.log", "/d/app.log-20261127": "/d/app.log",
		"/d/app.log.gz":       "/d/app.log",
		"/d/app-20261127.log": "/d/app.log", "/d/app.1.log.zst": "/d/app.log", "/d/app.log.old": "/d/app.log",
		"/d/app.log.1.gz.tmp":             "/d/app.log",
		"/d/app.log.20261127T120000.000Z": "/d/app.log", "/d/app.log.2026-11-27": "/d/app.log", "/d/eth0.100": "/d/eth0",
		"/d/app.log.torn": "", "/d/app.log.old.bak": "", "/d/web.log.1": "", "/d/app.log": "", "/e/app.log.1": "",
		"/d/eth01": "",
	} {
		if got := rotatedFrom(path, is); got != want {
			t.Errorf("%s was %q, want %q", path, got, want)
		}
	}
}
