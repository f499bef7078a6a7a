package file_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

func TestSourceOfWholeFile(t *testing.T) {
	want := bridgetest.Numbered(100)
	path := filepath.Join(t.TempDir(), "in")
	var text strings.Builder
	for _, m := range want {
		text.Write(append(m.Payload, '\n'))
	}
	put(t, path, text.String())
	env := bridgetest.Env(t, "test-from")
	var done, total int64
	env.Progress = func(d, all int64) { done, total = d, all }
	settings := file.Connector().Source.Settings().(*file.SourceSettings)
	settings.Path = []string{path}
	s, err := file.Connector().Source.Open(t.Context(), settings, env)
	if err != nil {
		t.Fatal(err)
	}
	if done != 0 || total != int64(text.Len()) {
		t.Errorf("Progress at first = %d of %d, want 0 of %d", done, total, text.Len())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if batch, _, err := s.Read(ctx); len(batch) > 0 || err != context.Canceled {
		t.Errorf("canceled Read = %d messages, %v", len(batch), err)
	}
	got := read(t, s, len(want))
	for i, m := range want {
		if got[i] != string(m.Payload) {
			t.Fatalf("line %d is %q, want %q", i, got[i], m.Payload)
		}
	}
	if batch, _, err := s.Read(t.Context()); len(batch) > 0 || err != io.EOF {
		t.Errorf("Read at the end = %d messages, %v", len(batch), err)
	}
	if done != total || total != int64(text.Len()) {
		t.Errorf("Progress = %d of %d, want %d", done, total, text.Len())
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, _, err := s.Read(t.Context()); err != os.ErrClosed {
		t.Errorf("Read after Close: %v", err)
	}
}

func TestSeveralFilesInOrderOfNames(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "b.log"), "3\r\n\n")
	put(t, filepath.Join(dir, "a.log"), "1\n2 without end")
	put(t, filepath.Join(dir, "c.log"), "")
	put(t, filepath.Join(dir, "d.txt"), "not matched\n")
	if err := os.Mkdir(filepath.Join(dir, "folder.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := openSource(t, func(s *file.SourceSettings) {
		s.Path = []string{filepath.Join(dir, "b*"), filepath.Join(dir, "*.log")}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t, s)
	if err != io.EOF {
		t.Errorf("Read ended with %v", err)
	}
	if d := cmp.Diff([]string{"a.log: 1", "a.log: 2 without end", "b.log: 3", "b.log: "}, got); d != "" {
		t.Error(d)
	}
}

func TestNoMatch(t *testing.T) {
	pattern := filepath.Join(t.TempDir(), "*.log")
	_, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{pattern} })
	if want := "no file matches " + pattern + ": with follow: true the source waits for one"; !bridge.IsPermanent(
		err) || err.Error() != want {
		t.Errorf("Open = %v, want the permanent error %q", err, want)
	}
	dir := filepath.Dir(pattern)
	_, err = openSource(t, func(s *file.SourceSettings) { s.Path = []string{dir} })
	if want := dir + " is a folder: write a pattern for the files in it, such as " + dir +
		"/*"; !bridge.IsPermanent(err) || err.Error() != want {
		t.Errorf("Open = %v, want the permanent error %q", err, want)
	}
}

// TestDamagedFileIsReadUpToThere: what could be unpacked comes before the error.
func TestDamagedFileIsReadUpToThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.gz")
	all := pack(t, "gz", text(numbered("line", 0, 1000)...))
	put(t, path, all[:len(all)-4])
	s, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{path} })
	if err != nil {
		t.Fatal(err)
	}
	expect(t, s, numbered("line", 0, 1000)...)
	if _, _, err := s.Read(t.Context()); !bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "damaged or not whole") {
		t.Errorf("Read = %v", err)
	}
}

// S50: a file says how much of it the unpacking keeps, and gets no more than the program zstd
// takes.
func TestS50WindowOfAPackedFile(t *testing.T) {
	const line = "\x51\x00\x00line line\n" // the last block, as it is, of ten bytes
	for exponent, want := range map[byte]string{17: "", 18: "window size exceeded"} {
		path := filepath.Join(t.TempDir(), "log.zst")
		put(t, path, "\x28\xb5\x2f\xfd\x00"+string([]byte{exponent << 3})+line)
		s, err := openSource(t, func(s *file.SourceSettings) { s.Path, s.Follow = []string{path}, false })
		if err != nil {
			t.Fatal(err)
		}
		lines, err := readAll(t, s)
		if want == "" && (!errors.Is(err, io.EOF) || len(lines) != 1) || !strings.Contains(err.Error(), want) {
			t.Errorf("a window of 2^%d: read %q, %v, want %q", 10+exponent, lines, err, want)
		}
	}
}

// A packed file shows how far it is while it is read, not only at its end.
func TestProgressOfAPackedFile(t *testing.T) {
	path, packed := filepath.Join(t.TempDir(), "in.gz"), new(bytes.Buffer)
	z := gzip.NewWriter(packed)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // so that it cannot be packed much
	for range 100_000 {
		fmt.Fprintln(z, random.Uint64())
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, path, packed.String())
	env := bridgetest.Env(t, "test-from")
	var seen []int64
	env.Progress = func(done, total int64) {
		if seen = append(seen, done); total != int64(packed.Len()) {
			t.Errorf("%d bytes in all, want %d", total, packed.Len())
		}
	}
	settings := file.Connector().Source.Settings().(*file.SourceSettings)
	settings.Path = []string{path}
	s, err := file.Connector().Source.Open(t.Context(), settings, env)
	if err != nil {
		t.Fatal(err)
	}
	read(t, s, 100_000)
	if _, _, err := s.Read(t.Context()); err != io.EOF {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if between := slices.Compact(seen); !slices.IsSorted(between) || len(between) < 4 ||
		between[len(between)-1] != int64(packed.Len()) {
		t.Errorf("the progress was %v of %d", between, packed.Len())
	}
}
