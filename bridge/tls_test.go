package bridge_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// What is wrong with the files is found without a network, at the key, and never passes by itself.
func TestTLSFiles(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := text + ".missing"
	for _, c := range []struct {
		tls       bridge.TLS
		key, says string // no error if empty
	}{
		{bridge.TLS{}, "", ""},
		{bridge.TLS{Name: "x", Insecure: true}, "", ""},
		{bridge.TLS{CA: missing}, "ca", missing},
		{bridge.TLS{CA: text}, "ca", "must be a PEM file"},
		{bridge.TLS{CA: os.DevNull}, "ca", "is not a regular file"},
		{bridge.TLS{Cert: text, Key: os.DevNull}, "key", "is not a regular file"},
		{bridge.TLS{Cert: text}, "cert", "go together"},
		{bridge.TLS{Key: text}, "cert", "go together"},
		{bridge.TLS{Cert: missing, Key: text}, "cert", missing},
		{bridge.TLS{Cert: text, Key: missing}, "key", missing},
		{bridge.TLS{Cert: text, Key: text}, "cert", "are not a certificate and its key"},
	} {
		err := c.tls.Validate()
		_, again := c.tls.Config()
		if c.key == "" {
			if err != nil || again != nil {
				t.Errorf("%+v: %v, %v", c.tls, err, again)
			}
			continue
		}
		if k, ok := errors.AsType[*bridge.KeyError](err); !ok || k.Key != c.key || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want an error of the key %s with %q", c.tls, err, c.key, c.says)
		}
		if !bridge.IsPermanent(again) || !strings.Contains(again.Error(), "tls."+c.key+": ") {
			t.Errorf("%+v: Config returns %v, want a permanent error that names tls.%s", c.tls, again, c.key)
		}
	}
}

// S52: what need not end is no certificate of a listener, at the start and later.
func TestS52EndlessCertificate(t *testing.T) {
	_, err := (&bridge.Certificate{Cert: os.DevNull, Key: os.DevNull}).Config(slog.New(slog.DiscardHandler))
	if want := os.DevNull + " is not a regular file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
