package bridge

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync/atomic"
)

// identity gives IDs to messages that have none. They are unique to the run and
// to the message, so that a retried write of it is recognised and two equal
// messages are not taken for one.
type identity struct {
	prefix string
	last   atomic.Uint64
}

func newIdentity() *identity {
	return &identity{prefix: strings.ToLower(rand.Text()[:13]) + "-"}
}

// fill sets the missing IDs of b. All of them share one allocation.
func (i *identity) fill(b Batch) {
	missing := 0
	for k := range b {
		if b[k].ID == "" {
			missing++
		}
	}
	if missing == 0 {
		return
	}
	n := i.last.Add(uint64(missing)) - uint64(missing)
	const widest = 13 // digits of a uint64 in base 36
	var (
		text   strings.Builder
		digits [widest]byte
	)
	text.Grow(missing * (len(i.prefix) + widest))
	for k := range b {
		if b[k].ID != "" {
			continue
		}
		n++
		start := text.Len()
		text.WriteString(i.prefix)
		text.Write(strconv.AppendUint(digits[:0], n, 36))
		b[k].ID = text.String()[start:] // stays put: the builder never grows again
	}
}
