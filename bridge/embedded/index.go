package embedded

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Of nats-server's blocks of messages: a record begins with its length, a sequence number, a time
// and the length of the subject. The highest bits of the first two are marks.
const (
	recordHead = 22
	lengthMark = 1 << 31
	numberMark = 3 << 62

	// mostGap is far more than a block has room for, and little enough to hold in memory.
	mostGap = 1 << 24
)

// distrust removes the index of a stream of which a block has a sequence number that cannot be: the
// server makes another one, of the records whose checksums are right. With the index it would note
// all numbers up to that one as deleted, in memory (2.15, msgBlock.indexCacheBuf), until there is
// none left.
func (s *store) distrust(log *slog.Logger) {
	blocks, _ := filepath.Glob(s.folder.Join(filepath.Join("jetstream", "*", "streams", "*", "msgs", "*.blk")))
	for _, block := range blocks {
		index := filepath.Join(filepath.Dir(block), "index.db")
		if records, err := os.ReadFile(block); err == nil && jumps(records) && os.Remove(index) == nil {
			log.Warn("a file of the store is damaged, making its index anew from what is whole", "file",
				strings.Replace(block, s.folder.Path(), s.dir, 1))
		}
	}
}

// jumps reports whether a sequence number is far behind the one before. It gives up where a record
// cannot be: there the server sees itself that something is wrong.
func jumps(records []byte) bool {
	for last := uint64(0); len(records) >= recordHead; {
		size := binary.LittleEndian.Uint32(records) &^ lengthMark
		number := binary.LittleEndian.Uint64(records[4:]) &^ numberMark
		if size < recordHead || uint64(size) > uint64(len(records)) {
			return false
		}
		if last > 0 && number > last+mostGap {
			return true
		}
		last = max(last, number)
		records = records[size:]
	}
	return false
}
