package store

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func someMessage() *rapid.Generator[bridge.Message] {
	return rapid.Custom(func(t *rapid.T) bridge.Message {
		m := bridge.Message{
			ID:      rapid.StringN(0, 10, 40).Draw(t, "id"),
			Topic:   rapid.StringN(0, 10, 40).Draw(t, "topic"),
			Payload: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "payload"),
		}
		if rapid.Bool().Draw(t, "timed") {
			m.Time = time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(t, "time"))
		}
		if rapid.Bool().Draw(t, "headed") {
			m.Header = rapid.MapOfN(rapid.String(), rapid.String(), 1, 5).Draw(t, "header")
		}
		return m
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batch := bridge.Batch(rapid.SliceOfN(someMessage(), 1, 20).Draw(t, "batch"))
		first := rapid.Uint64().Draw(t, "first")
		data := appendRecord(nil, first, batch)
		size := recordFixed
		for i := range batch {
			size += recordSize(&batch[i])
		}
		if len(data) > size {
			t.Errorf("%d bytes, %d were foreseen", len(data), size)
		}
		got, err := parseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(batch, got.batch); d != "" || got.first != first {
			t.Errorf("number %d, want %d; %s", got.first, first, d)
		}
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		data[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := parseRecord(data); err == nil {
			t.Error("a flipped bit was not noticed")
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, 1,
		bridge.Batch{{ID: "a", Topic: "b", Payload: []byte("c"), Header: map[string]string{"d": "e"}}}))
	f.Add([]byte(recordMagic + strings.Repeat("\xff", 40)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= recordFixed {
			data = append([]byte(nil), data...)
			copy(data, recordMagic)
			fixSum(data) // else nothing gets behind the checksum
		}
		r, err := parseRecord(data)
		if err == nil && len(r.batch) == 0 {
			t.Error("an empty record")
		}
	})
}

func fixSum(data []byte) {
	binary.LittleEndian.PutUint32(data[4:], crc32.Checksum(data[8:], castagnoli))
}
