package bridgetest

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// WaitsForNoPipe calls look over and over while the file at path is exchanged for a pipe and back,
// as who can write to its folder may do at any moment, and fails the test if it waits for who
// writes to the pipe.
func WaitsForNoPipe(t testing.TB, path string, look func()) {
	t.Helper()
	pipe, other := path+".pipe", path+".other"
	if err := errors.Join(unix.Mkfifo(pipe, 0o600), os.Link(pipe, other)); err != nil {
		t.Fatal(err)
	}
	var looks, exchanges atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for exchanges.Load() < 20_000 {
			look()
			looks.Add(1)
		}
	}()
	const stuck = 20_000 // exchanges, while it looks once
	for last, idle := int64(0), 0; ; idle++ {
		select {
		case <-done:
			return
		default:
		}
		if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
			t.Fatal(err)
		}
		exchanges.Add(1)
		if now := looks.Load(); now != last {
			last, idle = now, 0
		}
		if idle < stuck {
			continue
		}
		// Somebody reads there, or waits for that, if it can be opened.
		if w, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			_ = w.Close()
			t.Fatalf("look %d waits for who writes to the pipe", last)
		}
		idle = 0
	}
}
