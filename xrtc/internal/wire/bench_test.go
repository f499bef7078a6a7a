package wire_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

const (
	benchItems   = 20
	benchPayload = 256
)

// benchTexts are payloads without and with characters that are escaped.
func benchTexts() map[string]string {
	return map[string]string{
		"Plain":   strings.Repeat("x", benchPayload),
		"Escaped": strings.Repeat(`{"temp":21.5,"\":1}`+"\n", benchPayload)[:benchPayload],
	}
}

func appendBenchSet(dst []byte, payload string) []byte {
	dst = wire.AppendSet(dst)
	for range benchItems {
		dst = wire.AppendSetItem(dst, "room7", payload)
	}
	return wire.AppendSetEnd(dst)
}

func appendBenchAnswer(dst []byte, payload string) []byte {
	items := make([][]byte, benchItems)
	for i := range items {
		items[i] = wire.AppendStamp(wire.AppendUnstamped(nil, []byte("room7"), written(payload)), 1795327834812)
	}
	return wire.AppendAnswer(dst, items, nil)
}

func BenchmarkSetDecode(b *testing.B) {
	for name, payload := range benchTexts() {
		b.Run(name, func(b *testing.B) {
			body := appendBenchSet(nil, payload)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var s wire.Set
			for b.Loop() {
				if err := s.Decode(body); err != nil || len(s.Items) != benchItems {
					b.Fatal(len(s.Items), err)
				}
			}
		})
	}
}

func BenchmarkSetAppend(b *testing.B) {
	for name, payload := range benchTexts() {
		b.Run(name, func(b *testing.B) {
			var body []byte
			b.SetBytes(int64(len(appendBenchSet(nil, payload))))
			b.ReportAllocs()
			for b.Loop() {
				body = appendBenchSet(body[:0], payload)
			}
		})
	}
}

func BenchmarkSetItemSize(b *testing.B) {
	for name, payload := range benchTexts() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchPayload)
			b.ReportAllocs()
			for b.Loop() {
				if wire.SetItemSize("room7", payload) < benchPayload {
					b.Fatal("too small")
				}
			}
		})
	}
}

func BenchmarkAnswerDecode(b *testing.B) {
	for name, payload := range benchTexts() {
		b.Run(name, func(b *testing.B) {
			line := append(appendBenchAnswer(nil, payload), '\n')
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			var a wire.Answer
			for b.Loop() {
				if err := a.Decode(line); err != nil || len(a.Items) != benchItems {
					b.Fatal(len(a.Items), err)
				}
			}
		})
	}
}

func BenchmarkGetDecode(b *testing.B) {
	for _, portals := range []int{1, 4, 20} {
		b.Run(fmt.Sprintf("Portals%d", portals), func(b *testing.B) {
			g := wire.Get{Mode: "stream", Schedule: "FIFO", Cutoff: wire.DefaultCutoff}
			for i := range portals {
				g.Portals = append(g.Portals, wire.Portal{ID: fmt.Sprintf("room%d", i)})
			}
			body, err := json.Marshal(g)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Decode(body); err != nil || len(g.Portals) != portals {
					b.Fatal(len(g.Portals), err)
				}
			}
		})
	}
}
