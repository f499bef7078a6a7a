package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// A record is what the stream of a buffer has as one message: a run of messages, numbered without a
// gap. Many in one, since what a durable write costs is the sync to disk, and since a record is
// stored whole or not at all.
//
//	"XBR1"  4 bytes
//	crc     4 bytes, CRC-32C of all that follows
//	first   8 bytes, number of the first message
//	count   4 bytes, at least 1
//	meta    4 bytes, its size
//	meta    for each message: id, topic, time (ns since 1970, 0: none), number of headers,
//	        key and value of each, size of the payload
//	payloads, one after the other
//
// Fixed numbers are little-endian, those in meta are varints, and texts there have their size in
// front.
type record struct {
	first uint64
	batch bridge.Batch
}

const (
	recordMagic = "XBR1"
	recordFixed = 24
	recordLeast = 5 // of the meta of a message
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("record is damaged")
)

// appendRecord appends the record of b, whose first message has that number.
func appendRecord(to []byte, first uint64, b bridge.Batch) []byte {
	start := len(to)
	to = append(to, recordMagic...)
	to = append(to, 0, 0, 0, 0)
	to = binary.LittleEndian.AppendUint64(to, first)
	to = binary.LittleEndian.AppendUint32(to, uint32(len(b)))
	to = append(to, 0, 0, 0, 0)
	for i := range b {
		m := &b[i]
		to = appendText(to, m.ID)
		to = appendText(to, m.Topic)
		var at int64
		if !m.Time.IsZero() {
			at = m.Time.UnixNano()
		}
		to = binary.AppendVarint(to, at)
		to = binary.AppendUvarint(to, uint64(len(m.Header)))
		to = appendHeader(to, m.Header)
		to = binary.AppendUvarint(to, uint64(len(m.Payload)))
	}
	binary.LittleEndian.PutUint32(to[start+20:], uint32(len(to)-start-recordFixed))
	for i := range b {
		to = append(to, b[i].Payload...)
	}
	binary.LittleEndian.PutUint32(to[start+4:], crc32.Checksum(to[start+8:], castagnoli))
	return to
}

// appendHeader appends a header the same way each time, so that a record that is written once more
// has the same checksum.
func appendHeader(to []byte, header map[string]string) []byte {
	var few [8]string
	keys := few[:0]
	for key := range header {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		to = appendText(appendText(to, key), header[key])
	}
	return to
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// recordSize is at least what a message takes in a record.
func recordSize(m *bridge.Message) int {
	n := len(m.ID) + len(m.Topic) + len(m.Payload) + 6*binary.MaxVarintLen32
	for key, value := range m.Header {
		n += len(key) + len(value) + 2*binary.MaxVarintLen32
	}
	return n
}

// parseRecord undoes appendRecord. Payloads alias data.
func parseRecord(data []byte) (record, error) {
	first, count, err := recordNumbers(data)
	if err != nil {
		return record{}, err
	}
	size := int64(binary.LittleEndian.Uint32(data[20:]))
	rest := data[recordFixed:]
	if size > int64(len(rest)) {
		return record{}, errDamaged
	}
	r := record{first: first, batch: make(bridge.Batch, count)}
	meta, payloads := metaReader{text: string(rest[:size])}, rest[size:]
	for i := range r.batch {
		m := &r.batch[i]
		m.ID, m.Topic = meta.string(), meta.string()
		if at := meta.varint(); at != 0 {
			m.Time = time.Unix(0, at)
		}
		if n := meta.uvarint(); n > 0 && !meta.bad {
			m.Header = make(map[string]string, min(n, 64))
			for ; n > 0 && !meta.bad; n-- { // n is what the record says, and may be anything
				if key := meta.string(); !meta.bad {
					m.Header[key] = meta.string()
				}
			}
		}
		n := meta.uvarint()
		if meta.bad || n > uint64(len(payloads)) {
			return record{}, errDamaged
		}
		m.Payload, payloads = payloads[:n:n], payloads[n:]
	}
	return r, nil
}

// recordNumbers checks a record and returns what it holds without looking at each message.
func recordNumbers(data []byte) (first uint64, count int, err error) {
	if len(data) < recordFixed || string(data[:4]) != recordMagic {
		return 0, 0, fmt.Errorf("%w: not one at all", errDamaged)
	}
	if crc32.Checksum(data[8:], castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return 0, 0, fmt.Errorf("%w: wrong checksum", errDamaged)
	}
	first, n := binary.LittleEndian.Uint64(data[8:]), binary.LittleEndian.Uint32(data[16:])
	if n == 0 || int64(n)*recordLeast > int64(len(data)-recordFixed) {
		return 0, 0, errDamaged
	}
	return first, int(n), nil
}

// recordSum returns the checksum of a record.
func recordSum(data []byte) uint32 { return binary.LittleEndian.Uint32(data[4:]) }

// metaReader reads what stands in front of the payloads.
type metaReader struct {
	text string
	bad  bool
}

func (r *metaReader) uvarint() uint64 {
	var n uint64
	for shift, i := 0, 0; ; shift, i = shift+7, i+1 {
		if i >= len(r.text) || shift > 63 {
			r.bad, r.text = true, ""
			return 0
		}
		b := r.text[i]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			r.text = r.text[i+1:]
			return n
		}
	}
}

func (r *metaReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *metaReader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.text)) {
		r.bad, r.text = true, ""
		return ""
	}
	s := r.text[:n]
	r.text = r.text[n:]
	return s
}
