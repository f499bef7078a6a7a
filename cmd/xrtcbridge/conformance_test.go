package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
)

// connectorOf starts the program of an example as a plugin and returns a connector of it. The
// process ends with the test.
func connectorOf(t *testing.T, program, name string) bridge.Connector {
	t.Helper()
	h := host.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("stop plugin: %v", err)
		}
	})
	p, err := h.Load(t.Context(), "example", host.Settings{Path: program, Env: []string{"PATH"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Connectors() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("%s has no connector %s", program, name)
	return bridge.Connector{}
}

// settingsOf reads settings from JSON.
func settingsOf(t *testing.T, settings any, format string, args ...any) any {
	t.Helper()
	if err := config.DecodePlain(fmt.Appendf(nil, format, args...), settings); err != nil {
		t.Fatal(err)
	}
	return settings
}

// The suites that built-in connectors pass, for one in Python.
func TestConformancePython(t *testing.T) {
	t.Parallel()
	c := connectorOf(t, built(t, "plugin-python", "xrtcbridge-sensor"), "csv")
	bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
		path := filepath.Join(t.TempDir(), "out.csv")
		settings := settingsOf(t, c.Sink.Settings(), `{"path": %q}`, path)
		return bridgetest.SinkTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) { return c.Sink.Open(ctx, settings, env) },
			Receive: func(t *testing.T, n int) []bridge.Message {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
				if err != nil || len(rows) <= n {
					t.Fatalf("%d rows, want %d: %v", len(rows), n, err)
				}
				var got []bridge.Message
				for _, row := range rows[1:] {
					got = append(got, bridge.Message{Topic: row[0], Payload: []byte(row[1])})
				}
				return got
			},
			Features: bridgetest.Features{Topics: true},
		}
	})
}

// The same, for a sink in JavaScript.
func TestConformanceNodeSink(t *testing.T) {
	t.Parallel()
	c := connectorOf(t, built(t, "plugin-node", "xrtcbridge-web"), "webhook")
	bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
		var mu sync.Mutex
		var got []bridge.Message
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			got = append(got, bridge.Message{Payload: body})
		}))
		t.Cleanup(s.Close)
		settings := settingsOf(t, c.Sink.Settings(), `{"url": %q, "parallel": 1}`, s.URL)
		return bridgetest.SinkTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) { return c.Sink.Open(ctx, settings, env) },
			Receive: func(t *testing.T, n int) []bridge.Message {
				mu.Lock()
				defer mu.Unlock()
				if len(got) < n {
					t.Fatalf("%d requests, want %d", len(got), n)
				}
				return append([]bridge.Message(nil), got...)
			},
			Features: bridgetest.Features{Binary: true},
		}
	})
}

// The same, for a source in JavaScript.
func TestConformanceNodeSource(t *testing.T) {
	t.Parallel()
	c := connectorOf(t, built(t, "plugin-node", "xrtcbridge-web"), "websocket")
	bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
		connected := make(chan *websocket.Conn, 1)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			connected <- conn
			for {
				if _, _, err := conn.ReadMessage(); err != nil { // pings are answered here
					_ = conn.Close()
					return
				}
			}
		}))
		t.Cleanup(s.Close)
		settings := settingsOf(t, c.Source.Settings(), `{"url": %q, "topic": %q}`,
			"ws"+strings.TrimPrefix(s.URL, "http"), bridgetest.Topic)
		var conn *websocket.Conn
		return bridgetest.SourceTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				return c.Source.Open(ctx, settings, env)
			},
			Send: func(t *testing.T, messages ...bridge.Message) {
				if conn == nil {
					conn = <-connected
				}
				for _, m := range messages {
					if err := conn.WriteMessage(websocket.BinaryMessage, m.Payload); err != nil {
						t.Fatal(err)
					}
				}
			},
			Features: bridgetest.Features{Topics: true, Binary: true},
		}
	})
}
