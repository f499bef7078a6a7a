package file_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// TestF13DiskFull fills a small disk: what counts as delivered is in the file, whole, and
// nothing else; and it goes on when there is room.
func TestF13DiskFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs the right to mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	put(t, ballast, strings.Repeat("x", 300_000))
	path := filepath.Join(dir, "out")
	var batch bridge.Batch
	var want strings.Builder
	for i := range 1500 {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("m", 600))
		batch = append(batch, messages(text)...)
		want.WriteString(text + "\n")
	}
	s := openSink(t, bridge.Text(path), nil)
	r, err := s.Write(t.Context(), batch)
	n := r.Settled
	if n == 0 || n == len(batch) || !errors.Is(err, syscall.ENOSPC) || bridge.IsPermanent(err) {
		t.Fatalf("Write = %d of %d, %v, want ENOSPC in between", n, len(batch), err)
	}
	if got := contents(t, path); strings.Count(got, "\n") != n || !strings.HasPrefix(want.String(), got) || !strings.HasSuffix(got, "\n") {
		t.Fatalf("delivered are %d, in the file %d lines", n, strings.Count(got, "\n"))
	}
	_ = s.Close()
	remove(t, ballast)
	s = openSink(t, bridge.Text(path), nil)
	mustWrite(t, s, batch[n:])
	_ = s.Close()
	if contents(t, path) != want.String() {
		t.Error("the file is not what was written")
	}
}

// TestPipesAreRefused since reading one may block for ever, and what is written to one may get
// lost.
func TestPipesAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("needs pipes with a name: %v", err)
	}
	if _, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{path} }); !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("source: Open = %v", err)
	}
	if _, err := tryOpenSink(t, bridge.Text(path), nil); !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("sink: Open = %v", err)
	}
}
