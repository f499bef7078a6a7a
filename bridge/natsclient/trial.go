package natsclient

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// trial is an attempt to reach a server: it remembers how that begins to speak, which tells whether
// it is one.
type trial struct {
	net.Conn // nil: nobody took it
	address  string
	err      error // of the dialing
	heard    []byte
}

// mostHeard is how many bytes of what the other side says are kept.
const mostHeard = 60

func (t *trial) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if room := mostHeard - len(t.heard); room > 0 {
		t.heard = append(t.heard, p[:min(n, room)]...)
	}
	return n, err
}

// connectError adds what to do to an error of connecting, and marks what will not pass by itself.
func connectError(servers string, last *trial, err error) error {
	err = fmt.Errorf("connect to %s: %w", servers, last.explain(err))
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrNkeysNotSupported):
		return bridge.Permanent(fmt.Errorf("%w: check username and password, token, creds or nkey", err))
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return bridge.Permanent(fmt.Errorf("%w: check tls, and the scheme of url", err))
	}
	return err
}

// explain says what was heard, if that was no NATS server.
func (t *trial) explain(err error) error {
	words, _, _ := bytes.Cut(t.heard, []byte("\n"))
	switch {
	case t.Conn == nil && t.err == nil: // not even tried
	case t.Conn == nil:
		if errors.Is(err, nats.ErrNoServers) {
			err = t.err
		}
		return fmt.Errorf("%w: check url, and whether the server runs", err)
	case errors.Is(err, nats.ErrTLS):
		return fmt.Errorf("%s: %w: check tls, and the scheme and the port in url", t.address, err)
	case len(t.heard) == 0:
		return fmt.Errorf("%s takes connections and says nothing: %w: check the port in url: "+
			"a NATS server speaks first, servers of HTTP, MQTT and plain TLS do not", t.address, err)
	case !bytes.HasPrefix(words, []byte("INFO ")) && !bytes.HasPrefix(words, []byte("HTTP/1.1 101 ")):
		return fmt.Errorf("%s says %q, and is no NATS server: %w: check the port in url, and its scheme",
			t.address, bytes.TrimSpace(words), err)
	}
	return err
}
