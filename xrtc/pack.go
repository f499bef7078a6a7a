package xrtc

import (
	"fmt"
	"unicode/utf8"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// Pack collects items for one set request of limited size. The zero value is ready; Reset makes it so again.
type Pack struct {
	body []byte
	n    int
}

// Len returns how many items there are.
func (p *Pack) Len() int { return p.n }

// Reset empties the pack.
func (p *Pack) Reset() { p.body, p.n = p.body[:0], 0 }

// Add adds an item if the request then has at most size bytes, and reports whether it did. The portal id must
// be valid and the payload UTF-8, which [CheckItem] finds out.
func (p *Pack) Add(portal string, payload []byte, size int) bool {
	if len(p.body) == 0 {
		p.body = wire.AppendSet(p.body)
	}
	before := len(p.body)
	p.body = wire.AppendSetItem(p.body, portal, payload)
	if len(p.body)+len("]}") > size {
		p.body = p.body[:before]
		return false
	}
	p.n++
	return true
}

// Body returns the request for [Client.SetEncoded]. It is valid until Add or Reset.
func (p *Pack) Body() []byte {
	if len(p.body) == 0 {
		p.body = wire.AppendSet(p.body)
	}
	body := wire.AppendSetEnd(p.body)
	p.body = body[:len(p.body)]
	return body
}

// SizeOf returns the size of a set request of one item.
func SizeOf(portal string, payload []byte) int {
	return wire.SetOverhead + wire.SetItemSize(portal, payload) - len(",")
}

// CheckItem returns an error that says why an item can never be set, or nil.
func CheckItem(portal string, payload []byte) error {
	if bad := wire.CheckPortalID(portal); bad != "" {
		return requestError(fmt.Sprintf("portal id %q: %s", portal, bad))
	}
	if !utf8.Valid(payload) {
		return requestError(fmt.Sprintf("payload for portal %s: it is not UTF-8", portal))
	}
	return nil
}
