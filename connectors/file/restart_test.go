package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// restarts is a follower that is closed and opened again with the same checkpoint.
type restarts struct {
	t          *testing.T
	pattern    string
	change     func(*file.SourceSettings)
	checkpoint bridge.MemoryCheckpoint
	source     bridge.Source
	dropped    dropCounter
	log        warnings
}

func (r *restarts) open() {
	r.t.Helper()
	s := file.Connector().Source.Settings().(*file.SourceSettings)
	s.Path, s.Follow = []string{r.pattern}, true
	if r.change != nil {
		r.change(s)
	}
	env := r.dropped.env(r.t, "restarts-from")
	env.Checkpoint, env.Logger = &r.checkpoint, slog.New(slog.NewTextHandler(io.MultiWriter(&r.log, r.t.Output()), nil))
	source, err := file.Connector().Source.Open(r.t.Context(), s, env)
	if err != nil {
		r.t.Fatal(err)
	}
	r.source = source
	r.t.Cleanup(func() { _ = source.Close() })
}

func (r *restarts) close() {
	r.t.Helper()
	if err := r.source.Close(); err != nil {
		r.t.Error(err)
	}
}

// TestF17RestartGoesOn does to the file, while nobody follows it, all that can be done to one.
func TestF17RestartGoesOn(t *testing.T) {
	long := strings.Repeat("x", 2000) + "\n" // longer than the front that tells files apart
	for _, c := range []struct {
		name, pattern string
		before        string // what was there, and read but for its last line if unread is set
		unread        bool
		change        func(t *testing.T, path string)
		want          []string
	}{
		{name: "nothing", before: "1\n2\n"},
		{
			name: "grown", before: "1\n2\n", change: func(t *testing.T, path string) { appendTo(t, path, "3\n") },
			want: []string{"3"},
		},
		{
			name: "half a line finished", before: "1\n2",
			change: func(t *testing.T, path string) { appendTo(t, path, "2\n3\n") }, want: []string{"22", "3"},
		},
		{name: "unacknowledged", before: "1\n2\n", unread: true, want: []string{"2"}},
		{name: "renamed", before: "1\n2\n", unread: true, change: func(t *testing.T, path string) {
			appendTo(t, path, "3\n")
			rename(t, path, path+".1")
			put(t, path, "4\n")
		}, want: []string{"2", "3", "4"}},
		{name: "renamed three times", before: "1\n2\n", unread: true, change: func(t *testing.T, path string) {
			rename(t, path, path+".3")
			put(t, path+".2", "3\n")
			put(t, path+".1", "4\n")
			put(t, path, "5\n")
			order(t, path+".3", path+".2", path+".1", path)
		}, want: []string{"2", "3", "4", "5"}},
		{name: "renamed and gone", before: "1\n2\n", change: func(t *testing.T, path string) {
			remove(t, path)
			put(t, path+".2", "3\n")
			put(t, path+".1", "4\n")
			put(t, path, "5\n")
			order(t, path+".2", path+".1", path)
		}, want: []string{"3", "4", "5"}},
		{name: "made anew", before: "1\n2\n", change: func(t *testing.T, path string) {
			remove(t, path)
			put(t, path, "3\n4\n5\n6\n")
		}, want: []string{"3", "4", "5", "6"}},
		{name: "made anew with the same front", before: "time,celsius\n", change: func(t *testing.T, path string) {
			rename(t, path, path+".old.bak")
			put(t, path, "time,celsius\n7,21\n")
		}, want: []string{"time,celsius", "7,21"}},
		{name: "cut", before: "1\n2\n", change: func(t *testing.T, path string) { put(t, path, "3\n") }, want: []string{"3"}},
		{name: "cut after a copy", before: long + "2\n", unread: true, change: func(t *testing.T, path string) {
			appendTo(t, path, "3\n")
			put(t, path+".1", contents(t, path))
			put(t, path, "4\n")
			order(t, path+".1", path)
		}, want: []string{"2", "3", "4"}},
		{name: "deleted", before: "1\n2\n", change: func(t *testing.T, path string) { remove(t, path) }},
		{name: "packed", before: "1\n", change: func(t *testing.T, path string) {
			rename(t, path, path+".1.gz")
			put(t, path, "2\n")
		}, want: []string{"2"}},
		{name: "pattern", pattern: "*.log", before: "1\n", change: func(t *testing.T, path string) {
			appendTo(t, path, "2\n")
			put(t, filepath.Dir(path)+"/b.log", "3\n")
		}, want: []string{"2", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "app.log")
			put(t, path+".7", "old\n")
			put(t, path, c.before)
			if err := os.Chtimes(path+".7", time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			pattern := path
			if c.pattern != "" {
				pattern = filepath.Join(dir, c.pattern)
			}
			r := &restarts{t: t, pattern: pattern}
			r.open()
			lines := strings.Count(c.before, "\n")
			if c.unread {
				lines--
				r.close()
				r.change = func(s *file.SourceSettings) {} // one line at a time
				r.openWith(1)
			}
			expect(t, r.source, strings.Split(c.before, "\n")[:lines]...)
			r.close()
			if c.change != nil {
				c.change(t, path)
			}
			r.open()
			got := read(t, r.source, len(c.want))
			if c.pattern != "" {
				slices.Sort(got) // several files have no order
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Fatal(d)
			}
			expectNothing(t, r.source)
			appendTo(t, path, "later\n")
			expect(t, r.source, "later")

			// And nothing comes again at the next start.
			r.close()
			r.open()
			expectNothing(t, r.source)
		})
	}
}

func (r *restarts) openWith(maxBatch int) {
	r.t.Helper()
	s := file.Connector().Source.Settings().(*file.SourceSettings)
	s.Path, s.Follow = []string{r.pattern}, true
	env := r.dropped.env(r.t, "restarts-from")
	env.Checkpoint, env.MaxBatch = &r.checkpoint, maxBatch
	source, err := file.Connector().Source.Open(r.t.Context(), s, env)
	if err != nil {
		r.t.Fatal(err)
	}
	r.source = source
	r.t.Cleanup(func() { _ = source.Close() })
}

// What is settled at the front of a batch that is given back does not come again, whatever the
// lines look like.
func TestFrontOfABatchIsSettled(t *testing.T) {
	utf16 := func(text string) string {
		var b strings.Builder
		for _, c := range text {
			b.WriteByte(byte(c))
			b.WriteByte(byte(c >> 8))
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		text, encoding string
		again          []string
	}{
		"plain":            {text: "a\nb\nc\nd\ne\n", again: []string{"c", "d", "e"}},
		"carriage returns": {text: "a\r\n\r\nc\r\nd\n\n", again: []string{"c", "d", ""}},
		"utf-16": {
			text: utf16("a\n\u0a0a\u0a61\nc\nd\ne\n"), encoding: "utf-16le", again: []string{"c", "d", "e"},
		},
		"longer than what is compared": {
			text: "a\n" + strings.Repeat("b", 3000) + "\nc\nd\ne\n", again: []string{"c", "d", "e"},
		},
		"one too long": { // it all comes again: twice beats never
			text: "a\n" + strings.Repeat("b", 9000) + "\nc\nd\n", again: []string{"a", strings.Repeat("b", 1024), "c", "d"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			put(t, path, c.text)
			r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) {
				s.MaxLine = 5000
				if c.encoding != "" {
					s.Encoding = c.encoding
				}
			}}
			r.open()
			_, ack, err := r.source.Read(t.Context())
			if _, refused := err.(bridge.Refusals); err != nil && !refused {
				t.Fatal(err)
			}
			if err := ack(t.Context(), bridge.GiveBack(2, errors.New("refused by the test"))); err != nil {
				t.Fatal(err)
			}
			r.close()
			r.open()
			batch, ack, err := r.source.Read(t.Context())
			if _, refused := err.(bridge.Refusals); err != nil && !refused {
				t.Fatal(err)
			}
			var got []string
			for _, m := range batch {
				got = append(got, string(m.Payload))
			}
			if !slices.Equal(got, c.again) {
				t.Errorf("%q came again, want %q", got, c.again)
			}
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			r.close()
			r.open()
			expectNothing(t, r.source)
		})
	}
}

// order gives the files times of change a second apart, since the clock of the file system is
// coarse.
func order(t *testing.T, paths ...string) {
	t.Helper()
	for i, path := range paths {
		when := time.Now().Add(sec(i))
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func TestF17RestartFromEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	put(t, path, "old\n")
	r := &restarts{t: t, pattern: path, change: func(s *file.SourceSettings) { s.From = "end" }}
	r.open()
	expectNothing(t, r.source)
	r.close()
	appendTo(t, path, "written meanwhile\n")
	r.open()
	expect(t, r.source, "written meanwhile")
	r.close()
	rename(t, path, path+".1")
	put(t, path, "in a new file\n")
	r.open()
	expect(t, r.source, "in a new file")
}

func TestF16CheckpointOfAFollowerIsDamaged(t *testing.T) {
	r := &restarts{t: t, pattern: filepath.Join(t.TempDir(), "app.log")}
	if err := r.checkpoint.Save(t.Context(), []byte("{]")); err != nil {
		t.Fatal(err)
	}
	s := file.Connector().Source.Settings().(*file.SourceSettings)
	s.Path, s.Follow = []string{r.pattern}, true
	env := bridgetest.Env(t, "from")
	env.Checkpoint = &r.checkpoint
	if _, err := file.Connector().Source.Open(t.Context(), s, env); !bridge.IsPermanent(err) {
		t.Error(err)
	}
}

// TestF17RestartsUnderRotation has a writer that rotates at random while the follower is closed,
// cut off without a word, and opened again: no line is lost, and only what was not acknowledged
// comes again.
func TestF17RestartsUnderRotation(t *testing.T) {
	rng := faulttest.Rand(t)
	path := filepath.Join(t.TempDir(), "app.log")
	r := &restarts{t: t, pattern: path}
	line, rotations := 0, 0
	write := func(n int) {
		var text strings.Builder
		for range n {
			fmt.Fprintf(&text, "line %d\n", line)
			line++
		}
		appendTo(t, path, text.String())
	}
	var got []string
	put(t, path, "")
	for range 60 {
		r.open()
		for n := rng.IntN(50); n > 0; n-- {
			write(1)
		}
		got = append(got, read(t, r.source, line-len(got))...)
		r.close()
		for range rng.IntN(3) {
			write(1 + rng.IntN(20))
			rotations++
			for i := 8; i > 0; i-- {
				if err := os.Rename(fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1)); err != nil &&
					!errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
			rename(t, path, path+".1")
			tick(t, path+".1", rotations)
			put(t, path, "")
		}
		write(rng.IntN(20))
	}
	r.open()
	got = append(got, read(t, r.source, line-len(got))...)
	expectNothing(t, r.source)
	var want []string
	for i := range line {
		want = append(want, fmt.Sprintf("line %d", i))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// tick gives each rotated file a time of its own: the clock of the file system is coarse.
func tick(t *testing.T, path string, n int) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	when := info.ModTime().Add(-sec(1000 - n))
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix([]byte(contents(t, path)), []byte("line")) {
		t.Log("an empty file was rotated")
	}
}

func sec(n int) time.Duration { return time.Duration(n) * time.Second }
