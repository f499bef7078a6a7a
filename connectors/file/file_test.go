package file_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

func TestMain(m *testing.M) {
	plugintest.Main(file.Connector())
	goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
}

func TestSourceOfFollowedFile(t *testing.T) { plugintest.Both(t, file.Connector(), testFollowedFile) }

func testFollowedFile(t *testing.T, c bridge.Connector) {
	bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
		path := filepath.Join(t.TempDir(), "in.log")
		return bridgetest.SourceTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				s := file.Connector().Source.Settings().(*file.SourceSettings)
				s.Path, s.Follow, s.Poll = []string{path}, true, 20*time.Millisecond
				return c.Source.Open(ctx, s, env)
			},
			Send: func(t *testing.T, messages ...bridge.Message) {
				var b bytes.Buffer
				for _, m := range messages {
					b.Write(m.Payload)
					b.WriteByte('\n')
				}
				appendTo(t, path, b.String())
			},
		}
	})
}

func TestSink(t *testing.T) { plugintest.Both(t, file.Connector(), testSink) }

func testSink(t *testing.T, c bridge.Connector) {
	for _, sync := range []bool{true, false} {
		t.Run(fmt.Sprintf("sync=%t", sync), func(t *testing.T) {
			bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
				path := filepath.Join(t.TempDir(), "folder", "out.log")
				return bridgetest.SinkTest{
					Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
						s := file.Connector().Sink.Settings().(*file.SinkSettings)
						s.Path, s.Sync = bridge.Text(path), sync
						return c.Sink.Open(ctx, s, env)
					},
					Receive: func(t *testing.T, n int) []bridge.Message {
						var got []bridge.Message
						for line := range strings.Lines(contents(t, path)) {
							got = append(got, bridge.Message{Payload: []byte(strings.TrimSuffix(line, "\n"))})
						}
						if len(got) < n {
							t.Fatalf("%d lines are in the file, want %d", len(got), n)
						}
						return got
					},
				}
			})
		})
	}
}

func openSource(t testing.TB, change func(*file.SourceSettings)) (bridge.Source, error) {
	t.Helper()
	c := file.Connector()
	settings := c.Source.Settings().(*file.SourceSettings)
	settings.Poll, settings.Grace = 20*time.Millisecond, 200*time.Millisecond
	change(settings)
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := c.Source.Open(t.Context(), settings, bridgetest.Env(t, "test-from"))
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func openSink(t testing.TB, path bridge.Template, change func(*file.SinkSettings)) bridge.Sink {
	t.Helper()
	s, err := tryOpenSink(t, path, change)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryOpenSink(t testing.TB, path bridge.Template, change func(*file.SinkSettings)) (bridge.Sink, error) {
	t.Helper()
	c := file.Connector()
	settings := c.Sink.Settings().(*file.SinkSettings)
	settings.Path = path
	if change != nil {
		change(settings)
	}
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := c.Sink.Open(t.Context(), settings, bridgetest.Env(t, "test-to"))
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// byTopic is a path template: the folder, then the topic.
type byTopic string

func (p byTopic) Render(m *bridge.Message) (string, error) { return string(p) + m.Topic, nil }

func (p byTopic) Constant() (string, bool) { return string(p), false }

func (p byTopic) Prefix(string) string { return string(p) }

func messages(texts ...string) bridge.Batch {
	var batch bridge.Batch
	for _, text := range texts {
		batch = append(batch, bridge.Message{Payload: []byte(text)})
	}
	return batch
}

// read reads n lines, and fails if they do not come.
func read(t testing.TB, s bridge.Source, n int) []string {
	t.Helper()
	var lines []string
	for len(lines) < n {
		batch, ack, err := readWithin(t, s, bridgetest.Timeout)
		for _, m := range batch {
			lines = append(lines, string(m.Payload))
		}
		if len(batch) > 0 {
			_ = ack(t.Context(), nil)
		}
		if err != nil {
			t.Fatalf("after %d of %d lines: %v", len(lines), n, err)
		}
	}
	return lines
}

// readAll reads until an error.
func readAll(t testing.TB, s bridge.Source) ([]string, error) {
	t.Helper()
	var lines []string
	for {
		batch, ack, err := s.Read(t.Context())
		for _, m := range batch {
			lines = append(lines, filepath.Base(m.Topic)+": "+string(m.Payload))
		}
		if len(batch) > 0 {
			_ = ack(t.Context(), nil)
		}
		if err != nil {
			return lines, err
		}
	}
}

func contents(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
