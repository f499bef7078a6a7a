package admin

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Settings say where a bridge answers besides its socket.
type Settings struct {
	Listen string              `yaml:"listen,short,required" doc:"address for HTTP, as 127.0.0.1:8321; other machines reach it only with token and tls"`
	Token  bridge.Secret       `yaml:"token" doc:"what clients send as Authorization: Bearer TOKEN, 16 characters or more; empty: one that is made, and kept in admin.token in the state folder"`
	TLS    *bridge.Certificate `yaml:"tls" doc:"its certificate; without it there is no TLS"`
	Hosts  []string            `yaml:"hosts" doc:"more names by which clients may call it, beside localhost and those of the certificate"`

	TokenFile string `yaml:"-"` // where Token is if it was made
}

// where says where to find the token.
func (s Settings) where() string {
	if s.TokenFile != "" {
		return "in the file " + s.TokenFile
	}
	return "the one that admin: {token: …} in the file of the bridge names"
}

// Validate checks that who can reach it needs a token, over TLS.
func (s Settings) Validate() error {
	host, port, err := net.SplitHostPort(s.Listen)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		return bridge.KeyErrorf("listen", "%q is not an address, which looks like 127.0.0.1:8321", s.Listen)
	}
	var errs []error
	if !isLoopback(host) && (s.Token.IsZero() || s.TLS == nil) {
		errs = append(errs, bridge.KeyErrorf("listen",
			"%s can be reached from other machines: set token and tls, or listen on 127.0.0.1", s.Listen))
	}
	if !s.Token.IsZero() {
		if err := checkToken(s.Token.Reveal()); err != nil {
			errs = append(errs, bridge.KeyErrorf("token", "%w", err))
		}
	}
	for i, h := range s.Hosts {
		if hostname(h) != h || h == "" {
			errs = append(errs, bridge.KeyErrorf("hosts["+strconv.Itoa(i)+"]",
				"%q is not a name as in bridge.example.org, without scheme and port", h))
		}
	}
	return errors.Join(errs...)
}

// leastToken is how many characters a token has at least. Nobody counts the guesses: what is that
// long, and no word, takes more than all that can be made.
const leastToken = 16

func checkToken(token string) error {
	if len(token) < leastToken {
		return fmt.Errorf("it has less than %d characters, and could be guessed: take what openssl rand -hex 32 prints, "+
			"or leave it out, and one is made", leastToken)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
