package file_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// TestF13DiskFull fills a small disk: what counts as delivered is in the file, whole, and
// nothing else; and it goes on when there is room.
func TestF13DiskFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Logf("mount: %v %s", err, out)
		bridgetest.Missing(t, "mount")
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
	if got := contents(t, path); strings.Count(got, "\n") != n || !strings.HasPrefix(want.String(), got) ||
		!strings.HasSuffix(got, "\n") {
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
		t.Fatal(err)
	}
	for _, follow := range []bool{false, true} {
		if _, err := openSource(t, func(s *file.SourceSettings) {
			s.Path, s.Follow = []string{path}, follow
		}); !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "is a pipe") {
			t.Errorf("source: Open = %v", err)
		}
	}
	if _, err := tryOpenSink(t, bridge.Text(path), nil); !bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("sink: Open = %v", err)
	}
}

// TestE10NoPermission runs as a user that has not all permissions: root has another process for it.
func TestE10NoPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestE10NoPermission$", "-test.v")
		cmd.Env = []string{"TMPDIR=/tmp"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestE10NoPermission") {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "mine"), "x\n")
	if err := errors.Join(os.Chmod(filepath.Join(dir, "mine"), 0), os.Chmod(dir, 0o500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	const want = "let the user that the bridge runs as have access to it"
	for _, path := range []string{"mine", "new", "folder/new"} {
		if _, err := tryOpenSink(t, bridge.Text(filepath.Join(dir, path)), nil); !bridge.IsPermanent(err) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("Open %s = %v, want a permanent error", path, err)
		}
	}
	s := openSink(t, byTopic(dir+"/"), nil)
	if r, err := s.Write(t.Context(), bridge.Batch{{Topic: "new"}}); r.Settled != 0 || !bridge.IsPermanent(err) {
		t.Errorf("Write = %+v, %v, want a permanent error", r, err)
	}
	from, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{filepath.Join(dir, "mine")} })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := from.Read(t.Context()); !bridge.IsPermanent(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("Read = %v, want a permanent error", err)
	}
}

// TestDescriptorsAreFew reads more files than the process may open.
func TestDescriptorsAreFew(t *testing.T) {
	limitFiles(t, 96)
	dir := t.TempDir()
	const files = 300
	var want []string
	for i := range files {
		put(t, filepath.Join(dir, fmt.Sprintf("%03d.log", i)), fmt.Sprintln(i, "first"))
		want = append(want, fmt.Sprint(i, " first"))
	}
	s := follow(t, filepath.Join(dir, "*.log"))
	expectAll(t, s, want...)
	want = nil
	for i := range files {
		appendTo(t, filepath.Join(dir, fmt.Sprintf("%03d.log", i)), fmt.Sprintln(i, "second"))
		want = append(want, fmt.Sprint(i, " second"))
	}
	expectAll(t, s, want...)
	if n := descriptors(t); n > 60 {
		t.Errorf("%d descriptors are open", n)
	}
}

// limitFiles has the process open so many files at most, until the test ends.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}
