package stdio_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

func openSource(t testing.TB, c bridge.Connector, stdin io.Reader, limit bridge.Size) bridge.Source {
	t.Helper()
	env := bridgetest.Env(t, "test-from")
	env.Stdin = stdin
	return openIn(t, c, env, limit)
}

func openIn(t testing.TB, c bridge.Connector, env bridge.Env, limit bridge.Size) bridge.Source {
	t.Helper()
	settings := c.Source.Settings().(*stdio.SourceSettings)
	if limit > 0 {
		settings.MaxLine = limit
	}
	s, err := c.Source.Open(t.Context(), settings, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// readAll reads until an error and returns the payloads.
func readAll(t testing.TB, s bridge.Source) ([]string, error) {
	t.Helper()
	var lines []string
	for {
		batch, ack, err := s.Read(t.Context())
		for _, m := range batch {
			lines = append(lines, string(m.Payload))
		}
		if len(batch) > 0 {
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			return lines, err
		}
	}
}

func TestBytesRoundTrip(t *testing.T) {
	text := "a\r\n\n\xff\x00\nlast without newline"
	got, err := readAll(t, openSource(t, stdio.Connector(), strings.NewReader(text), 0))
	if err != io.EOF {
		t.Fatalf("Read ended with %v, want io.EOF", err)
	}
	if d := cmp.Diff([]string{"a", "", "\xff\x00", "last without newline"}, got); d != "" {
		t.Error(d)
	}
}

// TestE3LineTooLong: a line that is too long is refused with the front of it, and the others
// arrive.
func TestE3LineTooLong(t *testing.T) {
	long := strings.Repeat("x", 3<<19)
	for _, c := range []struct {
		name, text string
		want       []string
		reasons    []string
	}{
		{
			"in the middle", "first\n" + long + "\nlast\n",
			[]string{"first", long[:1024], "last"},
			[]string{"line 2 of stdin has 1572864 bytes, and max_line is 1MiB: raise max_line to let it pass"},
		},
		{
			"at the end", "first\n" + long,
			[]string{"first", long[:1024]},
			[]string{"line 2 of stdin has 1572864 bytes, and max_line is 1MiB: raise max_line to let it pass"},
		},
		{
			"several", long + "\n" + long + "x\n",
			[]string{long[:1024], long[:1024]},
			[]string{
				"line 1 of stdin has 1572864 bytes, and max_line is 1MiB: raise max_line to let it pass",
				"line 2 of stdin has 1572865 bytes, and max_line is 1MiB: raise max_line to let it pass",
			},
		},
	} {
		s := openSource(t, stdio.Connector(), strings.NewReader(c.text), 0)
		var got, reasons []string
		for {
			batch, ack, err := s.Read(t.Context())
			refused, _ := errors.AsType[bridge.Refusals](err)
			for _, r := range refused {
				reasons = append(reasons, r.Err.Error())
				if len(batch[r.Index].Payload) != 1024 {
					t.Errorf("%s: message %d is refused, and has %d bytes", c.name, r.Index, len(batch[r.Index].Payload))
				}
			}
			for _, m := range batch {
				got = append(got, string(m.Payload))
			}
			if ack != nil {
				_ = ack(t.Context(), nil)
			}
			if err == io.EOF {
				break
			}
			if err != nil && refused == nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		if d := cmp.Diff(c.reasons, reasons); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// TestE14StopCountsWhatWasRead stops a source that has read more than it has handed on, and one
// whose read is still under way.
func TestE14StopCountsWhatWasRead(t *testing.T) {
	r, w := pipe(t)
	var dropped atomic.Int64
	env := bridgetest.Env(t, "test-from")
	env.Stdin, env.MaxBatch = r, 10
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	s := openIn(t, stdio.Connector(), env, 0)
	const lines = 1000
	write(t, w, strings.Repeat("a line\n", lines)+"a part of one")
	ctx, stop := context.WithCancel(t.Context())
	batch, ack, err := s.Read(ctx)
	if len(batch) != 10 || err != nil {
		t.Fatalf("read %d lines, %v", len(batch), err)
	}
	_ = ack(t.Context(), nil)
	stop() // an engine does not call Read then
	_ = s.Close()
	if n := dropped.Load(); n != lines-10+1 {
		t.Errorf("%d lines count as dropped, want %d and a part of one", n, lines-10)
	}

	// Now nothing has been read, and the read under way gets something later.
	dropped.Store(0)
	in := slow{make(chan struct{}), make(chan string)}
	env.Stdin = in
	s = openIn(t, stdio.Connector(), env, 0)
	ctx, stop = context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := s.Read(ctx)
		failed <- err
	}()
	<-in.started
	stop()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("Read during the stop: %v", err)
	}
	_ = s.Close()
	if n := dropped.Load(); n != 0 {
		t.Errorf("%d lines count as dropped, want none", n)
	}
	in.text <- "one\ntwo\n"
	bridgetest.Eventually(t, "what the last read got is counted", func() bool { return dropped.Load() == 2 })
}

// slow is a reader that tells when it is asked.
type slow struct {
	started chan struct{}
	text    chan string
}

func (s slow) Read(p []byte) (int, error) {
	s.started <- struct{}{}
	return copy(p, <-s.text), nil
}

// TestT4NextInstanceGoesOn cancels reads again and again while a line is on its way in two pieces,
// and opens new instances: no byte may get lost, and nothing stays counted as dropped.
func TestT4NextInstanceGoesOn(t *testing.T) {
	r, w := pipe(t)
	c := stdio.Connector()
	env := bridgetest.Env(t, "test-from")
	env.Stdin = r
	var dropped atomic.Int64
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	for i := range 50 {
		s := openIn(t, c, env, 0)
		write(t, w, fmt.Sprintf("line %d, ", i))
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, _, err := s.Read(ctx)
			failed <- err
		}()
		if i%2 == 0 {
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Fatalf("canceled Read: %v", err)
			}
		} else {
			_ = s.Close()
			if err := <-failed; !errors.Is(err, os.ErrClosed) {
				t.Fatalf("Read after Close: %v", err)
			}
		}
		cancel()
		_ = s.Close()
		write(t, w, "second half\n")
		next := openIn(t, c, env, 0)
		batch, ack, err := next.Read(t.Context())
		if want := fmt.Sprintf("line %d, second half", i); err != nil || len(batch) != 1 || string(batch[0].Payload) != want {
			t.Fatalf("the next instance read %q, %v, want %q", batch, err, want)
		}
		_ = ack(t.Context(), nil)
		_ = next.Close()
		if n := dropped.Load(); n != 0 {
			t.Fatalf("%d lines count as dropped, and none is", n)
		}
	}
}

// Standard input cannot be opened again, so a folder in its place is no matter of patience.
func TestFolderAsStdinIsPermanent(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	if _, err := readAll(t, openSource(t, stdio.Connector(), dir, 0)); !bridge.IsPermanent(err) {
		t.Errorf("Read ended with %v, want a permanent error", err)
	}
}

// TestStdinCanBeClosed, though a read of it was under way when its source was closed.
func TestStdinCanBeClosed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	s := openSource(t, stdio.Connector(), r, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // in which the read begins
	defer cancel()
	if _, _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(bridgetest.Timeout):
		t.Error("closing standard input waits for something to come")
	}
}

func TestOneReaderAtATime(t *testing.T) {
	c, in := stdio.Connector(), strings.NewReader("")
	first := openSource(t, c, in, 0)
	env := bridgetest.Env(t, "second.from")
	env.Stdin = in
	if _, err := c.Source.Open(t.Context(), c.Source.Settings(), env); !bridge.IsPermanent(err) {
		t.Errorf("second Open = %v, want a permanent error", err)
	}
	_ = first.Close()
	openSource(t, c, in, 0)
}

func TestProgressOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, []byte("skipped\none\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	env := bridgetest.Env(t, "test-from")
	env.Stdin = f
	var progress [][2]int64
	env.Progress = func(done, total int64) { progress = append(progress, [2]int64{done, total}) }
	s := openIn(t, stdio.Connector(), env, 0)
	if got, err := readAll(t, s); err != io.EOF || len(got) != 2 {
		t.Fatalf("read %q, %v", got, err)
	}
	if d := cmp.Diff([][2]int64{{0, 8}, {8, 8}}, progress); d != "" {
		t.Error(d)
	}
}

func TestMillionLinesThroughBothEnds(t *testing.T) {
	const lines = 1_000_000
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	want, got := sha256.New(), sha256.New()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer func() { _ = inW.Close() }()
		w := io.MultiWriter(inW, want)
		var buf []byte
		for i := range lines {
			if buf = fmt.Appendf(buf, "%d\n", i+1); len(buf) > 60_000 || i == lines-1 {
				_, _ = w.Write(buf)
				buf = buf[:0]
			}
		}
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(got, outR)
	}()
	c := stdio.Connector()
	n := relay(t, openSource(t, c, inR, 0), openSink(t, c, outW))
	_ = outW.Close()
	<-read
	<-sent
	if n != lines || string(got.Sum(nil)) != string(want.Sum(nil)) {
		t.Errorf("%d lines with sum %x, want %d with %x", n, got.Sum(nil), lines, want.Sum(nil))
	}
}

// relay moves everything from source to sink and returns how many messages it was.
func relay(t testing.TB, from bridge.Source, to bridge.Sink) (total int) {
	t.Helper()
	for {
		batch, ack, err := from.Read(t.Context())
		if len(batch) > 0 {
			if r, err := to.Write(t.Context(), batch); r.Settled != len(batch) || err != nil {
				t.Fatalf("wrote %d of %d: %v", r.Settled, len(batch), err)
			}
			total += len(batch)
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err == io.EOF {
			return total
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}
