package natsclient_test

import (
	"os"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// S52: what need not end has no credentials.
func TestS52EndlessCredentials(t *testing.T) {
	for key, s := range map[string]natsclient.Settings{"creds": {Creds: os.DevNull}, "nkey": {NKey: os.DevNull}} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), os.DevNull+" is not a regular file") {
			t.Errorf("%s: got %v", key, err)
		}
	}
}
