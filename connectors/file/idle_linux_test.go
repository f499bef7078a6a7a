package file_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// BenchmarkIdle follows 3,000 files that do not grow, and reports the share of a core that it takes.
func BenchmarkIdle(b *testing.B) {
	const files, seconds = 3000, 10
	dir := b.TempDir()
	for i := range files {
		put(b, filepath.Join(dir, fmt.Sprintf("%04d.log", i)), "x\n")
	}
	s := follow(b, filepath.Join(dir, "*.log"), func(s *file.SourceSettings) { s.Poll = 250 * time.Millisecond })
	read(b, s, files)
	wait, cancel := context.WithTimeout(b.Context(), 3*time.Second) // until the last checkpoint is saved
	_, _, _ = s.Read(wait)
	cancel()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), seconds*time.Second)
		before := cpu(b)
		_, _, _ = s.Read(ctx)
		cancel()
		b.ReportMetric((cpu(b)-before).Seconds()/seconds*100, "%core")
	}
	b.ReportMetric(0, "ns/op")
}

// cpu returns how long the process has been on a processor.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
