package natsclient_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// S52: what need not end has no credentials, and neither has what is that large.
func TestS52EndlessCredentials(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		os.DevNull: os.DevNull + " is not a regular file", large: large + " is larger than 1MiB",
	} {
		for key, s := range map[string]natsclient.Settings{"creds": {Creds: file}, "nkey": {NKey: file}} {
			if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", key, err, want)
			}
		}
	}
}
