package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

func TestMain(m *testing.M) {
	bridgetest.Parallel(2) // disks are slow
	goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
}

const pipeline = "sensors"

// open returns a state in the folder, which is closed at the end of the test if it is not before.
func open(t testing.TB, dir string, change ...func(*store.Settings)) *store.Store {
	t.Helper()
	set := store.Settings{Dir: dir}
	for _, c := range change {
		c(&set)
	}
	s := store.New(set, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// visits leads commands into a state, as a bridge that runs does.
func visits(s *store.Store) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		in, out := net.Pipe()
		return out, s.Enter(func() (net.Conn, error) { return in, nil })
	}
}

// ends are the two of a buffer, opened as an engine would.
type ends struct {
	buffer bridge.Buffer
	sink   bridge.Sink
	source bridge.Source
}

func openEnds(t testing.TB, s *store.Store, set bridge.BufferSettings) *ends {
	t.Helper()
	e := &ends{buffer: s.Buffer(pipeline, set)}
	e.reopen(t)
	return e
}

func (e *ends) env(t testing.TB) bridge.Env {
	env := bridgetest.Env(t, pipeline+"-from")
	return env
}

func (e *ends) reopen(t testing.TB) {
	t.Helper()
	e.close()
	var err error
	if e.sink, err = e.buffer.OpenSink(t.Context(), e.env(t)); err != nil {
		t.Fatal(err)
	}
	if e.source, err = e.buffer.OpenSource(t.Context(), e.env(t)); err != nil {
		t.Fatal(err)
	}
	sink, source := e.sink, e.source
	t.Cleanup(func() { _, _ = sink.Close(), source.Close() })
}

func (e *ends) close() {
	if e.sink != nil {
		_, _ = e.sink.Close(), e.source.Close()
	}
}

func (e *ends) write(t testing.TB, messages ...bridge.Message) {
	t.Helper()
	if r, err := e.sink.Write(t.Context(), messages); r.Settled != len(messages) || r.Refused != nil || err != nil {
		t.Fatalf("wrote %d of %d messages: %v, %v", r.Settled, len(messages), err, r.Refused)
	}
}

// read reads n messages, and acknowledges each batch if ack is set.
func (e *ends) read(t testing.TB, n int, ack bool) []bridge.Message {
	t.Helper()
	var all []bridge.Message
	for len(all) < n {
		ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
		batch, settle, err := e.source.Read(ctx)
		cancel()
		if err != nil {
			t.Fatalf("read %d of %d messages: %v", len(all), n, err)
		}
		all = append(all, batch...)
		if !ack {
			continue
		}
		if err := settle(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) != n {
		t.Fatalf("read %d messages, want %d", len(all), n)
	}
	return all
}

// rest reads what is there, until the end of the input.
func (e *ends) rest(t testing.TB) []bridge.Message {
	t.Helper()
	e.buffer.Finish(true)
	var all []bridge.Message
	for {
		ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
		batch, settle, err := e.source.Read(ctx)
		cancel()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batch...)
		if err := settle(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *ends) held() uint64 { return e.buffer.Held().Now }

func (e *ends) dropped() int { return int(e.buffer.Held().Lost) }

// numbered returns messages from number first to last.
func numbered(first, last int, size int) []bridge.Message {
	var all []bridge.Message
	for i := first; i <= last; i++ {
		all = append(all, bridge.Message{
			ID: fmt.Sprint("id-", i), Topic: "t/" +
				fmt.Sprint(i%7), Payload: fmt.Appendf(nil, "%0*d", size, i), Time: time.Unix(1000, int64(i)),
			Header: map[string]string{"n": fmt.Sprint(i)},
		})
	}
	return all
}

func payloads(messages []bridge.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Payload))
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
