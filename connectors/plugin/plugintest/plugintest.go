// Package plugintest runs connectors through a real plugin process, which is the binary of the test itself:
//
//	func TestMain(m *testing.M) {
//		plugintest.Main(mine.Connector())
//		os.Exit(m.Run())
//	}
//
//	func TestConformance(t *testing.T) {
//		plugintest.Both(t, mine.Connector(), func(t *testing.T, c bridge.Connector) { … })
//	}
package plugintest

import (
	"log/slog"
	"os"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/host"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/pluginpb"
)

// Main serves the connectors and exits, if this process was started as a plugin, and else returns
// at once. It must be the first thing in TestMain.
func Main(connectors ...bridge.Connector) {
	if h := pluginpb.Handshake(); os.Getenv(h.MagicCookieKey) == h.MagicCookieValue {
		plugin.Serve(connectors...)
		os.Exit(0)
	}
}

// Both runs f twice, as subtests: with c itself, and with the connector of that name in a plugin process.
func Both(t *testing.T, c bridge.Connector, f func(t *testing.T, c bridge.Connector)) {
	t.Run("InProcess", func(t *testing.T) { f(t, c) })
	t.Run("Plugin", func(t *testing.T) { f(t, Connector(t, c.Name)) })
}

// Connector starts the binary of this test as a plugin and returns its connector of that name. The
// process ends with the test.
func Connector(t testing.TB, name string) bridge.Connector {
	t.Helper()
	p := Load(t, host.Settings{})
	for _, c := range p.Connectors() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("the test binary has no connector %q: TestMain must give it to plugintest.Main", name)
	return bridge.Connector{}
}

// Load starts the binary of this test as a plugin, with other settings than a path. The process ends with the test.
func Load(t testing.TB, s host.Settings) *host.Plugin {
	t.Helper()
	h := host.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
	})
	var err error
	if s.Path, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	p, err := h.Load(t.Context(), "test", s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
