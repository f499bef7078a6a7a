package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/owned"
)

// Names of the users whose passwords are made here, and of the files that keep these.
const (
	mqttUser = "mqtt"
	natsUser = "nats"

	passwordExt = ".password"
)

// passwords returns the folder where passwords are kept that are made here; without a path the
// server will choose it.
func (s Settings) passwords() owned.Place {
	if s.NATS != nil && s.NATS.Store != "" {
		return s.NATS.place()
	}
	return s.Passwords
}

// passwordFile returns where the password is kept that is made for that user; empty if the server
// will choose.
func (s Settings) passwordFile(user string) string {
	if dir := s.passwords().Path; dir != "" {
		return filepath.Join(dir, user+passwordExt)
	}
	return ""
}

// withPasswords returns the settings with users that have passwords. Those that are made here and
// that somebody else has to know are kept in files; if create is false, one that is not there stays
// empty.
func (s Settings) withPasswords(ctx context.Context, create bool) (Settings, error) {
	var m MQTT
	var n NATS
	if s.NATS != nil {
		n = *s.NATS
	}
	var errs [2]error
	if n.Username == "" {
		if n.Username = natsUser; n.Listen == "" {
			n.Username = rand.Text() // MQTT may have any name
		}
		n.Password, errs[0] = s.password(ctx, natsUser, n.Listen != "" && !n.Open, create)
	}
	if s.MQTT != nil {
		if m = *s.MQTT; m.Username == "" {
			m.Username = mqttUser
			m.Password, errs[1] = s.password(ctx, mqttUser, !m.Open, create)
		}
		s.MQTT = &m
	}
	s.NATS = &n
	return s, errors.Join(errs[:]...)
}

func (s Settings) password(ctx context.Context, user string, kept, create bool) (bridge.Secret, error) {
	if !kept {
		return bridge.NewSecret(rand.Text()), nil
	}
	text, err := s.passwords().Secret(ctx, user+passwordExt, create)
	if err != nil {
		return bridge.Secret{}, fmt.Errorf("password of the embedded server in %s: %w", s.passwordFile(user), err)
	}
	return bridge.NewSecret(text), nil
}
