package faulttest

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/url"
	"strconv"
)

const (
	magic     = "ft1|"
	crcDigits = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Payload returns a message that a [Ledger] knows again: the n-th of a
// producer in a run, with the key in whose order it must arrive. It is
// printable ASCII without spaces, padded to size bytes; longer if what it
// carries needs more. The last eight characters are a CRC32C of all others.
func Payload(run string, producer int, n uint64, key string, size int) []byte {
	p := make([]byte, 0, max(size, 64))
	p = append(p, magic...)
	p = append(p, url.QueryEscape(run)...)
	p = append(p, '|')
	p = strconv.AppendInt(p, int64(producer), 10)
	p = append(p, '|')
	p = strconv.AppendUint(p, n, 10)
	p = append(p, '|')
	p = append(p, url.QueryEscape(key)...)
	p = append(p, '|')
	for len(p) < size-crcDigits {
		p = append(p, '.')
	}
	return fmt.Appendf(p, "%08x", crc32.Checksum(p, castagnoli))
}

// identity is what a payload says. The slices are parts of it.
type identity struct {
	producer []byte // run and producer, as written
	n        uint64
	key      []byte // as written
}

// identify reads a payload, and reports whether it is as [Payload] made it.
func identify(payload []byte) (identity, bool) {
	at := len(payload) - crcDigits
	if at < 0 {
		return identity{}, false
	}
	body, digits := payload[:at], payload[at:]
	var want [crcDigits]byte
	if !bytes.Equal(digits, fmt.Appendf(want[:0], "%08x", crc32.Checksum(body, castagnoli))) {
		return identity{}, false
	}
	rest, ok := bytes.CutPrefix(body, []byte(magic))
	if !ok {
		return identity{}, false
	}
	fields := bytes.SplitN(rest, []byte("|"), 5)
	if len(fields) != 5 {
		return identity{}, false
	}
	n, err := strconv.ParseUint(string(fields[2]), 10, 64)
	producer := rest[:len(fields[0])+1+len(fields[1])]
	return identity{producer: producer, n: n, key: fields[3]}, err == nil
}
