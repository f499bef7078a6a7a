package file_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	s, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{path} })
	if err != nil {
		t.Fatal(err)
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
	if done, total := s.(bridge.Measurable).Progress(); done != total || total != int64(text.Len()) {
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
	if d := cmp.Diff([]string{"a.log: 1", "a.log: 2 without end", "b.log: 3\r", "b.log: "}, got); d != "" {
		t.Error(d)
	}
}

func TestNoMatch(t *testing.T) {
	pattern := filepath.Join(t.TempDir(), "*.log")
	_, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{pattern} })
	if want := "no file matches " + pattern; !bridge.IsPermanent(err) || err.Error() != want {
		t.Errorf("Open = %v, want the permanent error %q", err, want)
	}
}

func TestLineTooLong(t *testing.T) {
	for _, follow := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "in.log")
		put(t, path, "short\n"+strings.Repeat("x", 2000)+"\n")
		s, err := openSource(t, func(s *file.SourceSettings) {
			s.Path, s.MaxLine, s.Follow = []string{path}, 1024, follow
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(t, s)
		if d := cmp.Diff([]string{"in.log: short"}, got); d != "" {
			t.Errorf("follow=%t: %s", follow, d)
		}
		if want := fmt.Sprintf("the line at byte 6 of %s is longer than max_line, which is 1KiB", path); !bridge.IsPermanent(err) || err.Error() != want {
			t.Errorf("follow=%t: error %v, want the permanent one %q", follow, err, want)
		}
	}
}
