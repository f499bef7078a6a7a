package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// smallDisk mounts a file system of that size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if errors.Is(err, unix.EPERM) {
			bridgetest.Missing(t, "mount")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The server deletes what was purged in the background, also after its shutdown.
		bridgetest.Eventually(t, "nobody uses the disk any more",
			func() bool { return !errors.Is(unix.Unmount(dir, 0), unix.EBUSY) })
	})
	return dir
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for block := make([]byte, 1<<16); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestF13DiskFull has another program fill the disk in the middle, and free it again. Writes fail
// meanwhile, and say why; then they go on without anybody's help, and everything that was confirmed
// is there.
func TestF13DiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "64m")
	s := open(t, filepath.Join(disk, "state"))
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 16 << 20})
	checkpoint := s.Checkpoint(pipeline, "from")
	all := numbered(1, 3000, 2000)
	e.write(t, all[:500]...)
	if err := checkpoint.Save(t.Context(), []byte("before")); err != nil {
		t.Fatal(err)
	}

	// At first the disk fills up to the reserve: the buffer stops, checkpoints go on.
	hog := filepath.Join(disk, "hog")
	leave(t, hog, disk, 12<<20)
	written := 500
	bridgetest.Eventually(t, "the buffer stops", func() bool {
		r, err := e.sink.Write(t.Context(), all[written:written+10])
		written += r.Settled
		if err != nil && !strings.Contains(err.Error(), "state.reserve") {
			t.Fatal(err)
		}
		return err != nil
	})
	if err := checkpoint.Save(t.Context(), []byte("in the reserve")); err != nil {
		t.Error(err)
	}

	// Then to the last byte: nothing is confirmed that is not stored.
	fill(t, hog+"2")
	if r, err := e.sink.Write(t.Context(), all[written:written+10]); r.Settled != 0 || err == nil {
		t.Errorf("wrote %d, %v on a full disk", r.Settled, err)
	}
	for range 20 {
		if err := checkpoint.Save(t.Context(), []byte(strings.Repeat("x", 1000))); err != nil {
			break // the server has met the end of the disk
		}
	}

	if err := errors.Join(os.Remove(hog), os.Remove(hog+"2")); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	for written < len(all) { // what an engine does
		r, err := e.sink.Write(t.Context(), all[written:min(written+100, len(all))])
		written += r.Settled
		if err == nil {
			continue
		}
		if time.Since(freed) > bridgetest.Timeout {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
		tryReopen(t, e)
	}
	t.Logf("going on %s after there was room", time.Since(freed).Round(time.Millisecond))
	if err := checkpoint.Save(t.Context(), []byte("after")); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(payloads(all), payloads(e.rest(t))); d != "" {
		t.Error("what was confirmed did not come")
	}
	if n := e.dropped(); n != 0 {
		t.Errorf("%d were reported as lost", n)
	}
}

func tryReopen(t *testing.T, e *ends) {
	e.close()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	sink, err := e.buffer.OpenSink(ctx, e.env(t))
	if err != nil {
		t.Log(err)
		return
	}
	source, err := e.buffer.OpenSource(ctx, e.env(t))
	if err != nil {
		t.Log(err)
		_ = sink.Close()
		return
	}
	e.sink, e.source = sink, source
	t.Cleanup(func() { _, _ = sink.Close(), source.Close() })
}

// leave writes a file that leaves so much free.
func leave(t *testing.T, path, disk string, free int64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(disk, &s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, int64(s.Bavail)*s.Bsize-free), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A buffer that is to drop its oldest messages does so when the disk is at the reserve, too; what is
// missing is what is counted.
func TestF13DropOldestAtTheReserve(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "128m")
	s := open(t, filepath.Join(disk, "state"))
	e := openEnds(t, s, bridge.BufferSettings{MaxBytes: 64 << 20, WhenFull: bridge.OverflowDropOldest})
	all := numbered(1, 44_000, 1000)
	for i := 0; i < 40_000; i += 1000 {
		e.write(t, all[i:i+1000]...)
	}
	leave(t, filepath.Join(disk, "hog"), disk, 20<<20) // the reserve is 32 MiB
	for i := 40_000; i < len(all); i += 100 {
		e.write(t, all[i:i+100]...)
	}
	got := e.rest(t)
	if d := cmp.Diff(payloads(all[len(all)-len(got):]), payloads(got)); d != "" {
		t.Error("what came is not the newest")
	}
	if n := e.dropped(); n == 0 || n+len(got) != len(all) {
		t.Errorf("%d came and %d are counted as dropped, of %d", len(got), n, len(all))
	}
	t.Logf("%d of %d were dropped", e.dropped(), len(all))
}
