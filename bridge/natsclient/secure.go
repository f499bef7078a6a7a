package natsclient

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// secure returns how TLS is spoken, and whether it is with any server, also one that does not ask
// for it.
func (s *Settings) secure() (config *tls.Config, always bool, err error) {
	if s.TLS != (bridge.TLS{}) {
		config, err = s.TLS.Config()
		return config, true, err
	}
	for _, u := range s.URL {
		always = always || u.Scheme == "tls" || u.Scheme == "wss"
	}
	return &tls.Config{MinVersion: tls.VersionTLS12}, always, nil
}

// secured is a connection that begins TLS where the library would, which leaves that to the dialer:
// only so can be seen what comes before the library takes it. With NATS that is behind the first
// line of the server, and with WebSockets before anything.
type secured struct {
	net.Conn
	config *tls.Config
	always bool // whatever that line says
	begun  bool // something was written
	first  []byte
}

func (s *secured) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if !s.begun && len(s.first)+n <= mostLine {
		s.first = append(s.first, p[:n]...)
	}
	return n, err
}

func (s *secured) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		if s.always || wantsTLS(s.first) {
			t := tls.Client(s.Conn, s.config)
			if err := t.Handshake(); err != nil { //nolint:noctx // the library sets a deadline
				return 0, fmt.Errorf("%w: %w", nats.ErrTLS, err)
			}
			s.Conn = t
		}
		s.first = nil
	}
	return s.Conn.Write(p)
}

func wantsTLS(first []byte) bool {
	var info struct {
		Required bool `json:"tls_required"`
	}
	text, is := bytes.CutPrefix(first, []byte("INFO "))
	return is && json.Unmarshal(text, &info) == nil && info.Required
}
