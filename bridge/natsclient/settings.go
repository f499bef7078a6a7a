// Package natsclient connects to NATS: the settings that everybody who does it has, and a
// connection that is never mended, so that no message hides in a buffer of the client library.
package natsclient

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// OwnSubjects is what all subjects begin with to which bridges write for themselves. As all that
// begins with $, it is not for messages: no sink lets one choose it.
const OwnSubjects = "$XRTCBRIDGE."

// Settings say where the servers are, and who comes.
type Settings struct {
	URL            []bridge.URL  `yaml:"url,short,required" doc:"nats://host:4222, tls://host:4222, ws://host or wss://host; servers of one cluster"`
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
		if _, err := creds(s.Creds); err != nil {
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
		option, err := creds(s.Creds)
		if err != nil {
			return nil, fmt.Errorf("read creds: %w", err)
		}
		options = append(options, option)
	}
	if s.NKey != "" {
		option, err := nkey(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("read nkey: %w", err)
		}
		options = append(options, option)
	}
	return options, nil
}

// creds returns the option of a credentials file. It is read now, and not again by the library: a
// connection is never mended, and what is read later may not end.
func creds(file string) (nats.Option, error) {
	text, err := bridge.ReadRegular(file, mostCredentials)
	if err != nil {
		return nil, err
	}
	option, o := nats.UserCredentialBytes(text), nats.Options{}
	if err = option(&o); err == nil {
		_, err = o.UserJWT()
	}
	if err == nil {
		_, err = o.SignatureCB([]byte("nonce"))
	}
	return option, err
}

// nkey is creds for a file with a seed.
func nkey(file string) (nats.Option, error) {
	text, err := bridge.ReadRegular(file, mostCredentials)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.ParseDecoratedNKey(text)
	if err != nil {
		return nil, err
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, fmt.Errorf("%s has no seed of a user", file)
	}
	return nats.Nkey(public, pair.Sign), nil
}

// mostCredentials is more bytes than a file of credentials has.
const mostCredentials = 1 << 20
