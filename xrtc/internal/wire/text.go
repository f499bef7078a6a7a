package wire

import (
	"encoding/binary"
	"math/bits"
)

// plain returns how many bytes at the front of b stand for themselves in a JSON
// text: no quote, no backslash, no control character. It looks at eight at a time.
func plain(b []byte) int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^(low*'"'), x^(low*'\\')
		// In each term the lowest byte whose high bit is set is the first that is zero, or below a blank.
		found := ((quote-low)&^quote | (slash-low)&^slash | (x-low*' ')&^x) & high
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < ' ' {
			break
		}
	}
	return i
}

// AppendText appends s as a JSON text. s must be UTF-8.
func AppendText(dst, s []byte) []byte {
	dst = append(dst, '"')
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		dst = appendEscape(dst, s[n])
		s = s[n+1:]
	}
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// textSize is the length of what [AppendText] appends.
func textSize(s []byte) int {
	size := len(s) + len(`""`)
	for {
		n := plain(s)
		if n == len(s) {
			return size
		}
		switch s[n] {
		case '"', '\\', '\n', '\r', '\t':
			size++
		default:
			size += len(`\u0000`) - 1
		}
		s = s[n+1:]
	}
}
