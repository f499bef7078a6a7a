package file_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// pack returns text packed by gzip or zstd.
func pack(t testing.TB, kind, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == "zst" {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// packFile does what gzip and zstd --rm do.
func packFile(t testing.TB, kind, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path+"."+kind, pack(t, kind, contents(t, path)))
	if err := os.Chtimes(path+"."+kind, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	remove(t, path)
}

func numbered(name string, from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("%s %d", name, i))
	}
	return lines
}

func text(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

// expectAll reads as many lines as want has, in any order.
func expectAll(t testing.TB, s bridge.Source, want ...string) {
	t.Helper()
	got := read(t, s, len(want))
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("lines differ (-want +got):\n%s", d)
	}
}

// TestT5SameHeaderOverARestart: yesterday's file is deleted while the bridge is down, and today's
// has the same long header, whether the inode is used again or not.
func TestT5SameHeaderOverARestart(t *testing.T) {
	header := strings.Repeat("column;", 200)
	for _, read := range []int{0, 1, 100} { // lines of yesterday behind the header
		for _, reuse := range []bool{false, true} {
			dir := t.TempDir()
			r := &restarts{t: t, pattern: filepath.Join(dir, "*.csv")}
			old := append([]string{header}, numbered("yesterday", 0, read)...)
			put(t, filepath.Join(dir, "1.csv"), text(old...))
			r.open()
			expect(t, r.source, old...)
			r.close()
			today := append([]string{header}, numbered("today", 0, 300)...)
			if !reuse {
				put(t, filepath.Join(dir, "2.csv"), text(today...))
			}
			remove(t, filepath.Join(dir, "1.csv"))
			if reuse {
				put(t, filepath.Join(dir, "2.csv"), text(today...))
			}
			r.open()
			expect(t, r.source, today...)
			expectNothing(t, r.source)
			r.close()
		}
	}
}

// TestT5SameHeaderOfAnother: a file that begins as one that is followed is no copy of it, whatever
// its name is like.
func TestT5SameHeaderOfAnother(t *testing.T) {
	for _, name := range []string{"pump-2", "pump.100", "valve"} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "pump"), "time,celsius\n")
		s := follow(t, filepath.Join(dir, "*"))
		expect(t, s, "time,celsius")
		rows := append([]string{"time,celsius"}, numbered("row", 0, 9)...)
		put(t, filepath.Join(dir, name), text(rows...))
		expect(t, s, rows...)
		appendTo(t, filepath.Join(dir, "pump"), "later\n")
		expect(t, s, "later")
		expectNothing(t, s)
		_ = s.Close()
	}
}

// TestT5CopyOfWhatIsCutThen is left out, and what was not read of the original is read in it.
func TestT5CopyOfWhatIsCutThen(t *testing.T) {
	for _, pattern := range []string{"pump", "pump*"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "pump")
		put(t, path, "header\n1\n")
		r := &restarts{t: t, pattern: filepath.Join(dir, pattern)}
		r.open()
		expect(t, r.source, "header", "1")
		r.close()
		appendTo(t, path, "2\n3\n")
		put(t, path+"-2", contents(t, path))
		put(t, path, "header\n4\n")
		r.open()
		expectAll(t, r.source, "2", "3", "header", "4")
		expectNothing(t, r.source)
		r.close()
	}
}

// TestT5PackedWhileDown: what was not read of a file is read in the packed one that became of it.
func TestT5PackedWhileDown(t *testing.T) {
	for _, kind := range []string{"gz", "zst"} {
		for _, read := range []int{0, 1, 30} {
			path := filepath.Join(t.TempDir(), "app.log")
			put(t, path, text(numbered("line", 0, read)...)[min(1, read)^1:])
			r := &restarts{t: t, pattern: path}
			r.open()
			expect(t, r.source, numbered("line", 0, read)...)
			r.close()
			appendTo(t, path, text(numbered("line", read, read+20)...))
			rename(t, path, path+".1")
			packFile(t, kind, path+".1")
			put(t, path, "new\n")
			r.open()
			expect(t, r.source, append(numbered("line", read, read+20), "new")...)
			expectNothing(t, r.source)
			r.close()
			r.open()
			expectNothing(t, r.source)
			r.close()
		}
	}
}

// TestT5PackedWhileFollowed: a file that was read is packed, and nothing comes again.
func TestT5PackedWhileFollowed(t *testing.T) {
	for _, pattern := range []string{"app.log", "app.log*"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "app.log")
		put(t, path, "1\n2\n")
		s := follow(t, filepath.Join(dir, pattern))
		expect(t, s, "1", "2")
		for i := range 3 {
			rename(t, path, path+".1")
			put(t, path, fmt.Sprintln("new", i))
			expect(t, s, fmt.Sprint("new ", i))
			packFile(t, "gz", path+".1")
			rename(t, path+".1.gz", fmt.Sprint(path, ".", i+2, ".gz"))
			expectNothing(t, s)
		}
		_ = s.Close()
	}
}

// TestT5GoneForGood: what is known to be lost is counted.
func TestT5GoneForGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, text(numbered("line", 0, 30)...))
	r := &restarts{t: t, pattern: path}
	r.openWith(10)
	_, _, ack := r.take(10)
	settle(t, []bridge.Ack{ack})
	r.close()
	remove(t, path)
	put(t, path, "new\n")
	r.open()
	expect(t, r.source, "new")
	if n := r.dropped.Load(); n != 20 {
		t.Errorf("%d lines count as dropped, want 20", n)
	}
	r.close()
}

// TestT5NULsAfterACut: a writer without O_APPEND goes on at its old offset.
func TestT5NULsAfterACut(t *testing.T) {
	for _, size := range []int{20, 3 << 19} {
		for _, down := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "app.log")
			line := strings.Repeat("x", 19)
			w, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			write := func(s string) {
				if _, err := w.WriteString(s); err != nil {
					t.Fatal(err)
				}
			}
			write(strings.Repeat(line+"\n", size/20))
			r := &restarts{t: t, pattern: path}
			r.open()
			read(t, r.source, size/20)
			if down {
				r.close()
			}
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			write("after\n")
			if down {
				r.open()
			}
			expect(t, r.source, "after")
			write("more\n")
			expect(t, r.source, "more")
			r.close()
			write("last\n")
			r.open()
			expect(t, r.source, "last")
			r.close()
			_ = w.Close()
		}
	}
}

// TestE3LongLinesTruncated delivers the front of lines that are too long, of whole characters.
func TestE3LongLinesTruncated(t *testing.T) {
	for _, follow := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "in.log")
		put(t, path, "short\n"+strings.Repeat("ä", 3<<19)+"\nlast\n")
		s, err := openSource(t, func(s *file.SourceSettings) {
			s.Path, s.Follow, s.LongLines, s.MaxLine = []string{path}, follow, "truncate", 1001
		})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, "short", strings.Repeat("ä", 500), "last")
	}
	path := filepath.Join(t.TempDir(), "in.txt")
	put(t, path, strings.Repeat("\x80\x20", 600)+"\n\x00") // U+2080
	s, err := openSource(t, func(s *file.SourceSettings) {
		s.Path, s.LongLines, s.MaxLine, s.Encoding = []string{path}, "truncate", 1001, "utf-16le"
	})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, s, strings.Repeat("₀", 500))
}

// TestE10WhatHasNoLines: what cannot be followed says what it is, and what to use.
func TestE10WhatHasNoLines(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:         "is a folder: write a pattern for the files in it, such as " + dir + "/*",
		"/dev/null": "is a device, not a file; the connector stdio reads pipes, terminals and devices",
	} {
		for _, follow := range []bool{false, true} {
			_, err := openSource(t, func(s *file.SourceSettings) { s.Path, s.Follow = []string{path}, follow })
			if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("Open %s = %v, want a permanent error with %q", path, err, want)
			}
		}
	}
}

func TestAnyDepth(t *testing.T) {
	for _, follow := range []bool{false, true} {
		dir := t.TempDir()
		for i, name := range []string{"a.log", "x/b.log", "x/y/z/c.log", "x/y/archive/d.log", "x/e.txt", "x/y/old.log"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, name), fmt.Sprintln(i))
		}
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "x/y/old.log"), past, past); err != nil {
			t.Fatal(err)
		}
		s, err := openSource(t, func(s *file.SourceSettings) {
			s.Path, s.Follow, s.IgnoreOlder = []string{filepath.Join(dir, "**/*.log")}, follow, time.Minute
			s.Exclude = []string{"**/archive/**", "e.*"}
		})
		if err != nil {
			t.Fatal(err)
		}
		expectAll(t, s, "0", "1", "2")
		if follow {
			put(t, filepath.Join(dir, "x/y/old.log"), "new\n")
			put(t, filepath.Join(dir, "x/y/archive/d.log"), "new\n")
			if err := os.MkdirAll(filepath.Join(dir, "later", "still"), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "later", "still", "f.log"), "6\n")
			expectAll(t, s, "new", "6")
			expectNothing(t, s)
		}
	}
}

// TestPackedFilesAreUnpacked by what they begin with, whatever their names are.
func TestPackedFilesAreUnpacked(t *testing.T) {
	for _, follow := range []bool{false, true} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "1.gz"), pack(t, "gz", "1\n2\n")+pack(t, "gz", "3\n"))
		put(t, filepath.Join(dir, "2"), pack(t, "zst", "4\n5 without end"))
		s, err := openSource(t, func(s *file.SourceSettings) { s.Path, s.Follow = []string{filepath.Join(dir, "*")}, follow })
		if err != nil {
			t.Fatal(err)
		}
		expectAll(t, s, "1", "2", "3", "4", "5 without end")
	}
	path := filepath.Join(t.TempDir(), "in.xz")
	put(t, path, "\xfd7zXZ\x00 and so on")
	s, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{path} })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Read(t.Context()); !bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "is packed by xz, and only gzip and zstd") {
		t.Errorf("Read = %v", err)
	}
}

// TestEncodings: lines are text without byte order mark and carriage return, whatever the file has.
func TestEncodings(t *testing.T) {
	utf16 := func(s string, big bool) string {
		var b []byte
		for _, r := range s {
			if big {
				b = append(b, byte(r>>8), byte(r))
			} else {
				b = append(b, byte(r), byte(r>>8))
			}
		}
		return string(b)
	}
	want := []string{"ä", "", "Ċ\u0a0a\u0a00", strings.Repeat("ü", 3000), "last"}
	for _, c := range []struct{ encoding, text string }{
		{"", "\xef\xbb\xbf" + text(want...)},
		{"", strings.Join(want, "\r\n") + "\r\n"},
		{"utf-8", text(want...)},
		{"utf-16le", utf16("\ufeff"+strings.Join(want, "\r\n")+"\r\n", false)},
		{"utf-16", utf16(text(want...), false)},
		{"utf-16be", utf16("\ufeff"+text(want...), true)},
	} {
		for _, follow := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "in.txt")
			put(t, path, c.text)
			s, err := openSource(t, func(s *file.SourceSettings) {
				s.Path, s.Follow, s.Encoding = []string{path}, follow, c.encoding
			})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, s, want...)
		}
	}
	path := filepath.Join(t.TempDir(), "in.txt")
	put(t, path, "gr\xfc\xdfe\n")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.Encoding = "windows-1252" }}
	r.open()
	expect(t, r.source, "grüße")
	r.close()
	appendTo(t, path, "\x80\n")
	r.open()
	expect(t, r.source, "€")
	r.close()
}

// TestFlushAfter: a last line without a newline comes after a while, and its newline is no line.
func TestFlushAfter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.log")
	put(t, path, "1\nhalf")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.FlushAfter = 50 * time.Millisecond }}
	r.open()
	expect(t, r.source, "1", "half")
	appendTo(t, path, "\n2\nan")
	expect(t, r.source, "2", "an")
	appendTo(t, path, "other\n")
	expect(t, r.source, "other")
	appendTo(t, path, "half again")
	_, _, ack := r.take(1)
	settle(t, []bridge.Ack{ack})
	r.close()
	appendTo(t, path, "\nlast\n")
	r.open()
	expect(t, r.source, "last")
	r.close()
}

// TestFlushAfterCRLF: nor is the carriage return before it, whenever that comes.
func TestFlushAfterCRLF(t *testing.T) {
	for encoding, in := range map[string]*strings.Replacer{
		"":         strings.NewReplacer(),
		"utf-16le": strings.NewReplacer("1", "1\x00", "2", "2\x00", "\r", "\r\x00", "\n", "\n\x00"),
		"utf-16be": strings.NewReplacer("1", "\x001", "2", "\x002", "\r", "\x00\r", "\n", "\x00\n"),
	} {
		for _, parts := range [][]string{{"1", "\r\n2\r\n"}, {"1", "\r", "\n2\r\n"}, {"1\r", "\n2\r\n"}, {"1", "\n2\n"}} {
			t.Run(fmt.Sprintf("%s %q", encoding, parts), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "in.log")
				put(t, path, in.Replace(parts[0]))
				r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) {
					s.FlushAfter, s.Encoding = 50*time.Millisecond, encoding
				}}
				r.open()
				expect(t, r.source, "1")
				for _, part := range parts[1 : len(parts)-1] {
					appendTo(t, path, in.Replace(part))
					expectNothing(t, r.source)
				}
				appendTo(t, path, in.Replace(parts[len(parts)-1]))
				expect(t, r.source, "2")
				r.close()
				appendTo(t, path, in.Replace("1\r\n"))
				r.open()
				expect(t, r.source, "1")
				r.close()
			})
		}
	}
}

// dropCounter counts what a source says it dropped.
type dropCounter struct{ atomic.Int64 }

func (d *dropCounter) env(t testing.TB, instance string) bridge.Env {
	env := bridgetest.Env(t, instance)
	env.Dropped = func(n int) { d.Add(int64(n)) }
	return env
}

// TestT5LossIsCountedOnce, however often the bridge starts then.
func TestT5LossIsCountedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "1\n2\n3\n")
	r := &restarts{t: t, pattern: path}
	r.openWith(1)
	expect(t, r.source, "1")
	r.close()
	remove(t, path)
	for range 3 {
		r.open()
		expectNothing(t, r.source)
		r.close()
	}
	if n := r.dropped.Load(); n != 2 {
		t.Errorf("%d lines count as dropped, want 2", n)
	}
}

// TestFromEndOfEncodedText begins at a whole character.
func TestFromEndOfEncodedText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.txt")
	put(t, path, "o\x00l\x00d\x00\n\x00h\x00")
	put(t, path+".gz", pack(t, "gz", "old\n"))
	s := follow(t, path+"*", func(s *file.SourceSettings) { s.From, s.Encoding = "end", "utf-16le" })
	expectNothing(t, s)
	appendTo(t, path, "i\x00\n\x00")
	expect(t, s, "hi")
}

// TestT5TwoCandidates: where two packed files may be the one that was read, both are read from
// their start, and nothing counts as lost.
func TestT5TwoCandidates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, text(numbered("line", 0, 10)...))
	r := &restarts{t: t, pattern: path}
	r.open()
	expect(t, r.source, numbered("line", 0, 10)...)
	r.close()
	appendTo(t, path, text(numbered("line", 10, 20)...))
	rename(t, path, path+".1")
	put(t, path+".2.gz", pack(t, "gz", contents(t, path+".1")))
	packFile(t, "gz", path+".1")
	put(t, path, "new\n")
	r.open()
	twice := slices.Concat(numbered("line", 0, 20), numbered("line", 0, 20))
	expectAll(t, r.source, append(twice, "new")...)
	expectNothing(t, r.source)
	if n := r.dropped.Load(); n != 0 {
		t.Errorf("%d lines count as dropped", n)
	}
	r.close()
}

// TestAnyDepthEnds in a tree with links that lead round; links to files are followed.
func TestAnyDepthEnds(t *testing.T) {
	for _, follow := range []bool{false, true} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "a"), "1\n")
		for name, to := range map[string]string{"a.log": "a", "x": ".", "y": ".", "z": "."} {
			if err := os.Symlink(filepath.Join(dir, to), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		s, err := openSource(t, func(s *file.SourceSettings) {
			s.Path,
				s.Follow = []string{filepath.Join(dir, "**/*.log")}, follow
		})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, "1")
	}
}

// TestT5NULsThatAreWrittenTo: a writer has made room for its lines.
func TestT5NULsThatAreWrittenTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, strings.Repeat("\x00", 64<<10))
	s := follow(t, path)
	expectNothing(t, s)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := fmt.Fprintln(w, "line", i); err != nil {
			t.Fatal(err)
		}
		expect(t, s, fmt.Sprint("line ", i))
	}
	_ = w.Close()
}

// TestT5PackedFileGrows: more is packed behind what was read, as gzip -c >> does.
func TestT5PackedFileGrows(t *testing.T) {
	for _, kind := range []string{"gz", "zst"} {
		for _, down := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "in."+kind)
			put(t, path, pack(t, kind, "0\n"))
			r := &restarts{t: t, pattern: path}
			r.open()
			expect(t, r.source, "0")
			for i := range 3 {
				if down {
					r.close()
				}
				appendTo(t, path, pack(t, kind, fmt.Sprintln(i+1)))
				if down {
					r.open()
				}
				expect(t, r.source, fmt.Sprint(i+1))
				if i == 1 {
					expectNothing(t, r.source)
				}
			}
			r.close()
		}
	}
}

// TestFromEndOfOldFiles: what ignore_older leaves out at the start was there, too.
func TestFromEndOfOldFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.log")
	put(t, path, "old\n")
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	s := follow(t, path, func(s *file.SourceSettings) { s.From, s.IgnoreOlder = "end", time.Minute })
	appendTo(t, path, "new\n")
	expect(t, s, "new")
}

// TestT5PackedWithTheHeaderOfAnother: all that the two have in common is a line.
func TestT5PackedWithTheHeaderOfAnother(t *testing.T) {
	dir := t.TempDir()
	r := &restarts{t: t, pattern: filepath.Join(dir, "*")}
	put(t, filepath.Join(dir, "monday"), "time,celsius\n")
	r.open()
	expect(t, r.source, "time,celsius")
	r.close()
	remove(t, filepath.Join(dir, "monday"))
	put(t, filepath.Join(dir, "tuesday.gz"), pack(t, "gz", "time,celsius\n7,21\n"))
	r.open()
	expect(t, r.source, "time,celsius", "7,21")
	r.close()
}

// TestManyFilesOfTheSameHeader are not all held open as what may be copies.
func TestManyFilesOfTheSameHeader(t *testing.T) {
	const files = 700
	dir := t.TempDir()
	header := strings.Repeat("column;", 200)
	fill := func(name string) {
		for i := range files {
			put(t, filepath.Join(dir, fmt.Sprint(name, i)), text(header, name))
		}
	}
	fill("a")
	before := descriptors(t)
	s := follow(t, filepath.Join(dir, "*"))
	for i, name := range []string{"a", "b"} {
		if i > 0 {
			fill(name)
		}
		for n := 0; n < 2*files; {
			n += len(read(t, s, 1))
			if open := descriptors(t) - before; open > 700 {
				t.Fatalf("%d descriptors are open", open)
			}
		}
	}
}

// TestT5HeaderInCommonWithAnother: a packed file has a line in common with one that is gone, and
// all with the one that it was.
func TestT5HeaderInCommonWithAnother(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	r := &restarts{t: t, pattern: filepath.Join(dir, "*.log")}
	put(t, a, "header\n1\n2\n")
	put(t, b, "header\n")
	r.open()
	expectAll(t, r.source, "header", "header", "1", "2")
	r.close()
	appendTo(t, a, "3\n")
	rename(t, a, a+".1")
	packFile(t, "gz", a+".1")
	remove(t, b)
	put(t, a, "header\n4\n")
	r.open()
	expectAll(t, r.source, "3", "4", "header")
	expectNothing(t, r.source)
	r.close()
}
