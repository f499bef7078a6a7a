package natsclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

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

// names returns the function that says which name the certificate of a server must have: the host
// of its address, or, of one without a name that another server has spoken of, the name of the last
// that has one.
func (s *Settings) names() func(address string) string {
	var last string
	return func(address string) string {
		host, _, _ := net.SplitHostPort(address)
		switch {
		case net.ParseIP(host) == nil:
			last = host
		case last != "" && !slices.ContainsFunc(s.URL, func(u bridge.URL) bool { return u.Hostname() == host }):
			return last
		}
		return host
	}
}

// secured is a connection that begins TLS where the library would, which leaves that to the dialer:
// only so can be seen what comes before the library takes it. With NATS that is behind the first
// line of the server, and with WebSockets before anything.
type secured struct {
	net.Conn
	config  *tls.Config
	always  bool          // whatever that line says
	timeout time.Duration // of the handshake
	begun   bool          // something was written
	first   []byte        // what has come before
	fresh   bool          // TLS has begun, and nothing has come by it
}

func (s *secured) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if !s.begun {
		if s.first = append(s.first, p[:n]...); len(s.first) > mostLine {
			return 0, errNotNATS
		}
	}
	if s.fresh && n == 0 && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // our certificate, maybe
		err = fmt.Errorf("%w: %w", nats.ErrTLS, err)
	}
	s.fresh = s.fresh && n == 0
	return n, err
}

func (s *secured) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		if s.always || wantsTLS(s.first) {
			if err := s.begin(); err != nil {
				return 0, fmt.Errorf("%w: %w", nats.ErrTLS, err)
			}
		}
		s.first = nil
	}
	return s.Conn.Write(p)
}

// begin begins TLS. What is there of more than a line would be taken for what comes by TLS, though
// nobody knows who has sent it.
func (s *secured) begin() error {
	if i := bytes.IndexByte(s.first, '\n') + 1; i < len(s.first) {
		return errors.New("the server sends more than a line before TLS")
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout) // the library has none for WebSockets
	defer cancel()
	t := tls.Client(s.Conn, s.config)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	s.Conn, s.fresh = t, true
	return nil
}

func wantsTLS(first []byte) bool {
	var info struct {
		Required bool `json:"tls_required"`
	}
	line, _, _ := bytes.Cut(first, []byte("\n"))
	text, is := bytes.CutPrefix(line, []byte("INFO "))
	return is && json.Unmarshal(text, &info) == nil && info.Required
}
