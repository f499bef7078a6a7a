package stdio_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find)) }

func TestSource(t *testing.T) {
	bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
		in := newFeed(t)
		c := stdio.Connector()
		return bridgetest.SourceTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				env.Stdin = in.r
				return c.Source.Open(ctx, c.Source.Settings(), env)
			},
			Send: func(_ *testing.T, messages ...bridge.Message) {
				for _, m := range messages {
					in.send(string(m.Payload) + "\n")
				}
			},
			Finish: func(*testing.T) { in.end() },
		}
	})
}

func TestSink(t *testing.T) {
	bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
		r, w := pipe(t)
		lines := make(chan []byte, 4096)
		go func() {
			defer close(lines)
			for b := bufio.NewReader(r); ; {
				line, err := b.ReadBytes('\n')
				if err != nil {
					return
				}
				lines <- line[:len(line)-1]
			}
		}()
		c := stdio.Connector()
		var got []bridge.Message
		return bridgetest.SinkTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
				env.Stdout = w
				return c.Sink.Open(ctx, c.Sink.Settings(), env)
			},
			Receive: func(_ *testing.T, n int) []bridge.Message {
				for len(got) < n {
					got = append(got, bridge.Message{Payload: <-lines})
				}
				return got
			},
		}
	})
}

// feed is a pipe that never makes its writer wait.
type feed struct {
	r      *os.File
	mu     sync.Mutex
	more   *sync.Cond
	buf    bytes.Buffer
	ending bool
}

func newFeed(t *testing.T) *feed {
	r, w := pipe(t)
	f := &feed{r: r}
	f.more = sync.NewCond(&f.mu)
	var pump sync.WaitGroup
	pump.Go(func() {
		defer func() { _ = w.Close() }()
		for {
			f.mu.Lock()
			for f.buf.Len() == 0 && !f.ending {
				f.more.Wait()
			}
			b := bytes.Clone(f.buf.Bytes())
			f.buf.Reset()
			f.mu.Unlock()
			if len(b) == 0 {
				return
			}
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		f.end()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		pump.Wait()
	})
	return f
}

func (f *feed) send(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf.WriteString(text)
	f.more.Signal()
}

func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = true
	f.more.Signal()
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}
