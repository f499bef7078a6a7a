package xrtc

import (
	"crypto/sha256"
	"encoding/hex"
)

// Fingerprint returns hashes, in hexadecimal digits, that tell servers with their accounts, and
// keys of them, apart without showing them: configurations with the same key have the same rate at
// the server, for example.
func (c Config) Fingerprint() (account, key string, err error) {
	to, err := c.resolve()
	if err != nil {
		return "", "", err
	}
	hash := func(texts ...string) string {
		h := sha256.New()
		for _, t := range texts {
			h.Write([]byte(t))
			h.Write([]byte{0})
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	return hash(to.login.String(), *to.account), hash(to.login.String(), *to.account, *to.key), nil
}
