package bridge

import (
	"crypto/sha256"
	"encoding/binary"
)

// The parts of a portal id that is made of another text: what can be read of it, and a hash.
const (
	portalIDMax  = 32
	portalIDHash = 12
	portalIDText = portalIDMax - portalIDHash
)

// PortalID turns any text, such as an MQTT topic, into a valid id of an XRTC portal: 1 to 32
// letters and digits. A text that is one stays as it is. Of any other, what can be read of its end
// is kept, with a capital letter where something had to go, followed by 12 characters of a hash of
// the whole text: sensors/hall/temp becomes sensorsHallTemp and those. So the same text always
// gives the same id, and different texts different ones, but for chances below one in 10^18 for a
// pair.
func PortalID(text string) string {
	if validPortalID(text) {
		return text
	}
	id := make([]byte, 0, portalIDMax)
	capital := false
	for i := range len(text) {
		c := text[i]
		if !alphanumeric(c) {
			capital = len(id) > 0
			continue
		}
		if capital && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		capital = false
		if len(id) == portalIDText {
			id = append(id[:0], id[1:]...)
		}
		id = append(id, c)
	}
	hash := sha256.Sum256([]byte(text))
	n := binary.BigEndian.Uint64(hash[:])
	for range portalIDHash {
		id = append(id, "0123456789abcdefghijklmnopqrstuvwxyz"[n%36])
		n /= 36
	}
	return string(id)
}

func validPortalID(text string) bool {
	if len(text) == 0 || len(text) > portalIDMax {
		return false
	}
	for i := range len(text) {
		if !alphanumeric(text[i]) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
