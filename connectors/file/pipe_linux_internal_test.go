package file

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// S55: a file that becomes a pipe while it is opened holds up nothing.
func TestS55WaitsForNoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.WriteFile(path, []byte("line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bridgetest.WaitsForNoPipe(t, path, func() {
		if o, err := open(path); err == nil {
			o.close()
		}
	})
}
