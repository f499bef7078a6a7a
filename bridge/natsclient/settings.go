// Package natsclient connects to NATS: the settings that everybody who does it has, and a
// connection that is never mended, so that no message hides in a buffer of the client library.
package natsclient

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// OwnSubjects is what all subjects begin with to which bridges write for themselves. As all that
// begins with $, it is not for messages: no sink lets one choose it.
const OwnSubjects = "$XRTCBRIDGE."

// Settings say where the servers are, and who comes.
type Settings struct {
	URL            []bridge.URL  `yaml:"url,short,required" doc:"nats, tls, ws or wss; servers of one cluster"`
	Username       string        `yaml:"username" doc:"user name, if the other side wants one"`
	Password       bridge.Secret `yaml:"password" doc:"its password"`
	Token          bridge.Secret `yaml:"token" doc:"instead of user name and password"`
	Creds          string        `yaml:"creds,content" doc:"credentials file"`
	NKey           string        `yaml:"nkey,content" doc:"file with the seed"`
	TLS            bridge.TLS    `yaml:"tls" doc:"certificates, for servers that are reached by TLS"`
	ConnectTimeout time.Duration `yaml:"connect_timeout" doc:"0: 10s"`
	Domain         string        `yaml:"domain" doc:"of JetStream; empty: that of the account"`
	APIPrefix      string        `yaml:"api_prefix" doc:"of JetStream's subjects, if the account imports them; empty: $JS.API"`
}

// Validate checks each setting and the combinations.
func (s *Settings) Validate() error {
	var errs []error
	for _, u := range s.URL {
		if u.IsZero() || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			errs = append(errs, bridge.KeyErrorf("url", "the scheme of %q is not nats, tls, ws or wss", u))
		}
	}
	ways := 0
	for _, set := range []bool{s.Username != "", !s.Token.IsZero(), s.Creds != "", s.NKey != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		errs = append(errs, bridge.KeyErrorf("username", "set one of username, token, creds and nkey"))
	}
	if s.Username == "" && !s.Password.IsZero() {
		errs = append(errs, bridge.KeyErrorf("password", "a password goes with a username"))
	}
	if s.Creds != "" {
		if err := checkCreds(s.Creds); err != nil {
			errs = append(errs, bridge.KeyErrorf("creds", "%w", err))
		}
	}
	if s.NKey != "" {
		if _, err := nkey(s.NKey); err != nil {
			errs = append(errs, bridge.KeyErrorf("nkey", "%w", err))
		}
	}
	if s.ConnectTimeout < 0 {
		errs = append(errs, bridge.KeyErrorf("connect_timeout", "a time cannot be negative"))
	}
	if strings.ContainsAny(s.Domain, " \t\r\n.*>") {
		errs = append(errs, bridge.KeyErrorf("domain", "%q is not a word", s.Domain))
	}
	if p := s.APIPrefix; strings.ContainsAny(p, " \t\r\n*>") || p != "" &&
		slices.Contains(strings.Split(strings.TrimSuffix(p, "."), "."), "") {
		errs = append(errs, bridge.KeyErrorf("api_prefix", "%q is not made of words with dots between", p))
	}
	if s.Domain != "" && s.APIPrefix != "" {
		errs = append(errs, bridge.KeyErrorf("domain",
			"set domain or api_prefix, not both: domain: hub means api_prefix: $JS.hub.API"))
	}
	return errors.Join(errs...)
}

// Servers names the servers without secrets.
func (s *Settings) Servers() string {
	var names []string
	for _, u := range s.URL {
		names = append(names, u.String())
	}
	return strings.Join(names, ", ")
}

// API returns what the subjects of JetStream begin with, which ends with a dot.
func (s *Settings) API() string {
	switch {
	case s.Domain != "":
		return "$JS." + s.Domain + ".API."
	case s.APIPrefix != "":
		return strings.TrimSuffix(s.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// JetStream returns the JetStream that the settings mean.
func (s *Settings) JetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	return jetstream.NewWithAPIPrefix(nc, s.API())
}

// auth returns the options that say who comes.
func (s *Settings) auth() ([]nats.Option, error) {
	var options []nats.Option
	if s.Username != "" {
		options = append(options, nats.UserInfo(s.Username, s.Password.Reveal()))
	}
	if !s.Token.IsZero() {
		options = append(options, nats.Token(s.Token.Reveal()))
	}
	if s.Creds != "" {
		if err := checkCreds(s.Creds); err != nil {
			return nil, fmt.Errorf("read creds: %w", err)
		}
		options = append(options, nats.UserCredentials(s.Creds))
	}
	if s.NKey != "" {
		option, err := nkey(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("read nkey: %w", err)
		}
		options = append(options, option)
	}
	if s.TLS != (bridge.TLS{}) {
		config, err := s.TLS.Config()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config))
	}
	return options, nil
}

// checkCreds tells whether a credentials file has what one needs to connect.
func checkCreds(file string) error {
	var o nats.Options
	err := checkRegular(file)
	if err == nil {
		err = nats.UserCredentials(file)(&o)
	}
	if err == nil {
		_, err = o.UserJWT()
	}
	if err == nil {
		_, err = o.SignatureCB([]byte("nonce"))
	}
	return err
}

func nkey(file string) (nats.Option, error) {
	if err := checkRegular(file); err != nil {
		return nil, err
	}
	return nats.NkeyOptionFromSeed(file)
}

// checkRegular refuses files that need not end, or nearly so, which the library reads to their end.
func checkRegular(name string) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", name)
	case info.Size() > 1<<20:
		return fmt.Errorf("%s is larger than 1MiB, which is no file of credentials", name)
	}
	return nil
}
