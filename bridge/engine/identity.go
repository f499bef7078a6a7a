package engine

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// identity gives IDs to messages that have none and need one. Package bridge says what an ID
// means.
type identity struct {
	prefix string
	where  map[string]func(id string) string // of the sources that can say, by instance
	last   atomic.Uint64
	needed atomic.Bool // fill gives IDs
}

func newIdentity() *identity {
	return &identity{prefix: strings.ToLower(rand.Text()[:13]) + "-"}
}

// fill sets the missing IDs of b, if they are needed. They share one allocation, and each stays
// where it is when the text grows.
func (i *identity) fill(b bridge.Batch) {
	if !i.needed.Load() {
		return
	}
	n := i.last.Add(uint64(len(b))) - uint64(len(b))
	const widest = 13 // digits of a uint64 in base 36
	var digits [widest]byte
	var text strings.Builder
	for k := range b {
		if b[k].ID != "" {
			continue
		}
		if text.Len() == 0 {
			text.Grow((len(b) - k) * (len(i.prefix) + widest))
		}
		start := text.Len()
		text.WriteString(i.prefix)
		text.Write(strconv.AppendUint(digits[:0], n+uint64(k)+1, 36))
		b[k].ID = text.String()[start:]
	}
}

// qualify puts the instance of the source in front of the IDs that it set, as fill does.
func qualify(instance string, b bridge.Batch) {
	var text strings.Builder
	for k := range b {
		id := b[k].ID
		if id == "" {
			continue
		}
		if text.Len() == 0 {
			text.Grow((len(b) - k) * (len(instance) + 2 + len(id))) // a colon, and a digit more in later ones
		}
		start := text.Len()
		text.WriteString(instance)
		text.WriteByte(':')
		text.WriteString(id)
		b[k].ID = text.String()[start:]
	}
}
