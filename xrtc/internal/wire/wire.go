// Package wire reads and writes the JSON of the portal protocol, for client and
// server alike: what there is much of in one pass and without reflection, ten times as
// fast as encoding/json, which does the rest; and with what the protocol asks for beyond JSON.
//
// # Requests
//
// The public documentation shows curl lines with names that are not quoted, and one such
// value. So the decoders of requests take names and texts without quotes, made of letters,
// digits, _, . and -, as long as they are no JSON number or literal. All else is
// strict: an unknown name, a name that is there twice, a wrong type, a lone surrogate's
// half in bytes, anything behind the object. An escape of half a surrogate becomes U+FFFD.
//
// # Answers
//
// Decoders of answers take strict JSON and pass over names that they do not know.
package wire

import (
	"errors"
	"regexp"
)

// Mistake says what is wrong with a request or an answer.
type Mistake struct { //nolint:errname // it is called what it is
	Text string
	// Value tells a wrong value, such as an unknown mode, from a text that is no JSON or has
	// wrong names or types.
	Value bool
}

func (m *Mistake) Error() string { return m.Text }

// IsValue reports whether err is a [Mistake] about a value.
func IsValue(err error) bool {
	var m *Mistake
	return errors.As(err, &m) && m.Value
}

var (
	accountID = regexp.MustCompile(`^AC[0-9]{4,30}$`)
	apiKey    = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
)

// CheckAccountID returns what is wrong with an account id, empty if nothing is.
func CheckAccountID(id string) string {
	if !accountID.MatchString(id) {
		return "an account id is AC and 4 to 30 digits, such as AC0987654321012345"
	}
	return ""
}

// CheckAPIKey returns what is wrong with a key, empty if nothing is. It does not show it.
func CheckAPIKey(key string) string {
	if !apiKey.MatchString(key) {
		return "a key has 32 letters and digits"
	}
	return ""
}

// MaxPortalID is the most characters of a portal id.
const MaxPortalID = 32

// GetSizeMax returns how many bytes a get may have where a payload has that many at most: it may
// name all portals that there can be.
func GetSizeMax(payloadSizeMax, portalsCountMax int) int {
	const each, others = MaxPortalID + 48, 128
	return max(payloadSizeMax, each*portalsCountMax+others)
}

// CheckPortalID returns what is wrong with a portal id, empty if nothing is.
func CheckPortalID[T string | []byte](id T) string {
	switch {
	case len(id) == 0:
		return "empty; it is made of 1 to 32 letters and digits"
	case len(id) > MaxPortalID:
		return "too long; 32 letters and digits are the most"
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "letters and digits only"
		}
	}
	return ""
}
