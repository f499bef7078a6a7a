package stdio_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

func openSink(t testing.TB, c bridge.Connector, stdout io.Writer) bridge.Sink {
	t.Helper()
	env := bridgetest.Env(t, "test-to")
	env.Stdout = stdout
	s, err := c.Sink.Open(t.Context(), c.Sink.Settings(), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func messages(texts ...string) bridge.Batch {
	var batch bridge.Batch
	for _, text := range texts {
		batch = append(batch, bridge.Message{Payload: []byte(text)})
	}
	return batch
}

func TestT4ClosedPipeIsPermanent(t *testing.T) {
	r, w := pipe(t)
	_ = r.Close()
	s := openSink(t, stdio.Connector(), w)
	got, err := s.Write(t.Context(), messages("a"))
	if got.Settled != 0 || !bridge.IsPermanent(err) || !strings.HasPrefix(err.Error(), "stdout closed") {
		t.Errorf("Write = %+v, %v, want 0 and a permanent error", got, err)
	}
}

// TestT4ClosedStdoutDoesNotKill runs this test binary with a real standard
// output whose reader has gone away.
func TestT4ClosedStdoutDoesNotKill(t *testing.T) {
	if os.Getenv("STDIO_TEST_CHILD") != "" {
		signal.Ignore(syscall.SIGPIPE)
		s := openSink(t, stdio.Connector(), os.Stdout) //nolint:forbidigo // this is a process of its own
		_, err := s.Write(t.Context(), messages("a"))
		if bridge.IsPermanent(err) {
			os.Exit(7) //nolint:forbidigo // likewise
		}
		os.Exit(8) //nolint:forbidigo // likewise
	}
	r, w := pipe(t)
	_ = r.Close()
	child := exec.Command(os.Args[0], "-test.run=^TestT4ClosedStdoutDoesNotKill$")
	child.Env = append(os.Environ(), "STDIO_TEST_CHILD=1")
	child.Stdout = w
	err := child.Run()
	if child.ProcessState == nil || child.ProcessState.ExitCode() != 7 {
		t.Errorf("the child ended with %v, want exit status 7", err)
	}
}

// full takes some bytes and then no more, like a disk, until there is room again.
type full struct {
	bytes.Buffer
	room int
}

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestTornLineIsEnded(t *testing.T) {
	for _, c := range []struct {
		room, n int
		want    string
	}{
		{0, 0, "one\ntwo\nthree\n"},
		{2, 0, "on\none\ntwo\nthree\n"},
		{3, 0, "one\none\ntwo\nthree\n"},
		{4, 1, "one\ntwo\nthree\n"},
		{6, 1, "one\ntw\ntwo\nthree\n"},
		{13, 2, "one\ntwo\nthree\nthree\n"},
	} {
		out := &full{room: c.room}
		connector := stdio.Connector()
		batch := messages("one", "two", "three")
		r, err := openSink(t, connector, out).Write(t.Context(), batch)
		if r.Settled != c.n || !errors.Is(err, syscall.ENOSPC) || !bridge.IsPermanent(err) {
			t.Fatalf("room for %d: Write = %+v, %v, want %d, ENOSPC", c.room, r, err, c.n)
		}
		again := openSink(t, connector, out)
		if r, err := again.Write(t.Context(), batch[c.n:]); r.Settled != 0 || err == nil {
			t.Fatalf("still no room: Write = %+v, %v", r, err)
		}
		out.room = 1000
		if r, err := again.Write(t.Context(), batch[c.n:]); r.Settled != 3-c.n || err != nil {
			t.Fatalf("room again: Write = %+v, %v", r, err)
		}
		if out.String() != c.want {
			t.Errorf("room for %d: output %q, want %q", c.room, out.String(), c.want)
		}
	}
}

func TestNoSpace(t *testing.T) {
	out, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		bridgetest.Missing(t, "/dev/full")
	}
	t.Cleanup(func() { _ = out.Close() })
	r, err := openSink(t, stdio.Connector(), out).Write(t.Context(), messages("a"))
	if r.Settled != 0 || !errors.Is(err, syscall.ENOSPC) || !bridge.IsPermanent(err) {
		t.Errorf("Write = %+v, %v, want 0 and ENOSPC, which is permanent", r, err)
	}
}

// TestStalledReader fills the pipe: a cancelled Write returns, and what the next
// instance writes stands behind it, whole.
func TestStalledReader(t *testing.T) {
	r, w := pipe(t)
	c := stdio.Connector()
	s := openSink(t, c, w)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = r.Read(make([]byte, 1)) // it has begun
		cancel()
	}()
	big := strings.Repeat("x", 300_000)
	if r, err := s.Write(ctx, messages(big)); r.Settled != 0 || !errors.Is(err, context.Canceled) {
		t.Fatalf("stalled Write = %+v, %v", r, err)
	}
	closed := make(chan error, 1)
	go func() {
		_, err := s.Write(t.Context(), messages("waits for its turn"))
		closed <- err
	}()
	_ = s.Close()
	if err := <-closed; !errors.Is(err, os.ErrClosed) {
		t.Fatalf("Write of a closed sink: %v", err)
	}
	text := make(chan string)
	go func() {
		all, _ := io.ReadAll(r)
		text <- string(all)
	}()
	if r, err := openSink(t, c, w).Write(t.Context(), messages("next")); r.Settled != 1 || err != nil {
		t.Fatalf("next Write = %+v, %v", r, err)
	}
	_ = w.Close()
	if got := <-text; got != big[1:]+"\nnext\n" {
		t.Errorf("%d bytes, ending in %q", len(got), got[max(0, len(got)-20):])
	}
}
