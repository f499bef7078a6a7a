package file

import (
	"crypto/rand"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

// newID returns what no other file has, nor the same one after it was cut.
func newID() string { return strings.ToLower(rand.Text()[:13]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identify gives lines that begin at an offset their ids, which share one allocation. The checksum
// is for a file that was written anew with the same front while nobody looked: what is different
// must never be taken for the same.
func identify(batch bridge.Batch, long []framing.Long, id string, offset int64) {
	const widest = 13 + 1 + 7 // an int64 and a uint32 in base 36
	var text strings.Builder
	var digits [widest]byte
	text.Grow(len(batch) * (len(id) + 1 + widest))
	for i := range batch {
		start := text.Len()
		text.WriteString(id)
		text.WriteByte('-')
		number := append(strconv.AppendInt(digits[:0], offset, 36), '-')
		text.Write(strconv.AppendUint(number, uint64(crc32.Checksum(batch[i].Payload, castagnoli)), 36))
		batch[i].ID = text.String()[start:] // stays put: the builder never grows again
		size := int64(len(batch[i].Payload))
		if len(long) > 0 && long[0].Index == i {
			size, long = long[0].Size, long[1:]
		}
		offset += size + 1
	}
}
