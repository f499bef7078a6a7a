package step

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// S55: a schema that becomes a pipe while it is opened holds up nothing.
func TestS55SchemaWaitsForNoPipe(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	bridgetest.WaitsForNoPipe(t, filepath.Join(dir, "x.json"), func() {
		_, _ = (&schemaFiles{folder: folder, names: make(map[string]bool)}).Load(schemaBase + "x.json")
	})
}
