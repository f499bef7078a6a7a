package bridge_test

import (
	"fmt"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// An address for people cannot be taken for one to connect with, if it hides something.
func TestURLSaysWhatItHides(t *testing.T) {
	for text, want := range map[string]string{
		"mqtt://host:1883/path":              "mqtt://host:1883/path",
		"mqtt://user:secret@host:1883":       "mqtt://[redacted]@host:1883",
		"nats://token@host":                  "nats://[redacted]@host",
		"wss://host/path?token=secret#x":     "wss://host/path?[redacted]",
		"https://u:secret@host/?key=secret2": "https://[redacted]@host/?[redacted]",
	} {
		u, err := bridge.ParseURL(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %v %q", u, u, []any{u}); got != want+" "+want+" ["+want+"]" {
			t.Errorf("%s prints %s, want %s", text, got, want)
		}
		if u.Reveal() != text {
			t.Errorf("%s reveals %s", text, u.Reveal())
		}
		if again, err := bridge.ParseURL(u.String()); err == nil && again.User != nil {
			t.Errorf("%s could be connected to as %s", u, again.User)
		}
	}
	if none := (bridge.URL{}); none.String() != "" || none.Reveal() != "" {
		t.Errorf("no address prints %q and reveals %q", none.String(), none.Reveal())
	}
}
