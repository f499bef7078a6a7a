package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// S52: an env file that does not end, or nearly so, is not read to its end.
func TestS52EndlessEnvFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "endless.env")
	if err := os.WriteFile(name, bytes.Repeat([]byte("# nothing\n"), 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readEnvFile(name); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("got %v, want that it is too large", err)
	}
}
