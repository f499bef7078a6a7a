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
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

func openSource(t testing.TB, c bridge.Connector, stdin io.Reader, limit bridge.Size) bridge.Source {
	t.Helper()
	env := bridgetest.Env(t, "test-from")
	env.Stdin = stdin
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
	if d := cmp.Diff([]string{"a\r", "", "\xff\x00", "last without newline"}, got); d != "" {
		t.Error(d)
	}
}

func TestLineTooLong(t *testing.T) {
	for name, text := range map[string]string{
		"ended":   "first\n123456789\nlast\n",
		"endless": "first\n" + strings.Repeat("x", 1<<20),
	} {
		got, err := readAll(t, openSource(t, stdio.Connector(), strings.NewReader(text), 8))
		if d := cmp.Diff([]string{"first"}, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if want := "line 2 of stdin is longer than max_line, which is 8B"; !bridge.IsPermanent(err) || err.Error() != want {
			t.Errorf("%s: Read ended with %v, want the permanent error %q", name, err, want)
		}
	}
}

// TestT4NextInstanceGoesOn cancels reads again and again while a line is
// on its way in two pieces, and opens new instances: no byte may get lost.
func TestT4NextInstanceGoesOn(t *testing.T) {
	r, w := pipe(t)
	c := stdio.Connector()
	for i := range 50 {
		s := openSource(t, c, r, 0)
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
		next := openSource(t, c, r, 0)
		batch, ack, err := next.Read(t.Context())
		if want := fmt.Sprintf("line %d, second half", i); err != nil || len(batch) != 1 || string(batch[0].Payload) != want {
			t.Fatalf("the next instance read %q, %v, want %q", batch, err, want)
		}
		_ = ack(t.Context(), nil)
		_ = next.Close()
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
	s := openSource(t, stdio.Connector(), f, 0)
	m := s.(bridge.Measurable)
	if done, total := m.Progress(); done != 0 || total != 8 {
		t.Errorf("Progress at first = %d of %d, want 0 of 8", done, total)
	}
	if got, err := readAll(t, s); err != io.EOF || len(got) != 2 {
		t.Fatalf("read %q, %v", got, err)
	}
	if done, total := m.Progress(); done != 8 || total != 8 {
		t.Errorf("Progress at the end = %d of %d, want 8 of 8", done, total)
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
			if n, err := to.Write(t.Context(), batch); n != len(batch) || err != nil {
				t.Fatalf("wrote %d of %d: %v", n, len(batch), err)
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
