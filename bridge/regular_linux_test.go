package bridge_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// S55: what a configuration names, and becomes a pipe while it is opened, holds up nothing.
func TestS55RegularFilesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	bridgetest.WaitsForNoPipe(t, path, func() {
		if text, err := bridge.ReadRegular(path, 4); err == nil && string(text) != "text" {
			t.Errorf("%q", text)
		}
	})
}
