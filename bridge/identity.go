package bridge

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync/atomic"
)

// identity gives IDs to messages that have none and need one. The package comment says what an ID
// means.
type identity struct {
	prefix string
	last   atomic.Uint64
	needed atomic.Bool
}

func newIdentity() *identity {
	return &identity{prefix: strings.ToLower(rand.Text()[:13]) + "-"}
}

// need makes fill give IDs from now on.
func (i *identity) need() { i.needed.Store(true) }

// fill sets the missing IDs of b, if they are needed. All of them share one allocation.
func (i *identity) fill(b Batch) {
	if !i.needed.Load() {
		return
	}
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

// qualify puts the instance of the source in front of the IDs that it set.
func qualify(instance string, b Batch) {
	size := 0
	for k := range b {
		if id := b[k].ID; id != "" {
			size += len(instance) + 1 + len(id)
		}
	}
	if size == 0 {
		return
	}
	var text strings.Builder
	text.Grow(size)
	for k := range b {
		if b[k].ID == "" {
			continue
		}
		start := text.Len()
		text.WriteString(instance)
		text.WriteByte(':')
		text.WriteString(b[k].ID)
		b[k].ID = text.String()[start:]
	}
}
