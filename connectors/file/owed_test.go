package file_test

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/file"
)

// S50: what a step owes for long, as a window does that counts for an hour, costs memory for what
// the step still has of it, and not for all that was read meanwhile. It is settled as ever.
func TestS50WhatIsOwedForLong(t *testing.T) {
	const lines, width, most = 64 << 10, 1 << 10, 32 << 20
	path := filepath.Join(t.TempDir(), "in.log")
	line := strings.Repeat("x", width-1) + "\n"
	put(t, path, strings.Repeat(line, lines))
	r := &restarts{t: t, pattern: path}
	r.open()
	whole, err := openSource(t, func(s *file.SourceSettings) { s.Path = []string{path} })
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]bridge.Source{"followed": r.source, "whole": whole} {
		var acks []bridge.Ack
		before := heap()
		for n := 0; n < lines; {
			batch, ack, err := source.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n, acks = n+len(batch), append(acks, ack)
		}
		if after := heap(); after > before+most {
			t.Errorf("%s: %d MiB are held of 64 that were read", name, (after-before)>>20)
		}
		settle(t, acks)
	}
	r.close()
	appendTo(t, path, "next\n")
	r.open()
	expect(t, r.source, "next")
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
