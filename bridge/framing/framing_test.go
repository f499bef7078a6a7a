package framing_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// split feeds text in pieces whose size next says, and returns the lines. Up
// to three batches stay unacknowledged, so that memory is shared and moved.
func split(t *testing.T, text string, most, limit int, next func() int) ([]string, error) {
	t.Helper()
	var lines []string
	type held struct {
		batch bridge.Batch
		ack   bridge.Ack
	}
	var flying []held
	settle := func(keep int) {
		for len(flying) > keep {
			for _, m := range flying[0].batch {
				lines = append(lines, string(m.Payload))
			}
			if err := flying[0].ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			flying = flying[1:]
		}
	}
	s := framing.NewSplitter()
	for {
		n := min(next(), len(text))
		n = copy(s.Room(), text[:n])
		s.Filled(n)
		text = text[n:]
		for {
			batch, ack, err := s.Lines("a topic", most, limit, text == "")
			if len(batch) > most {
				t.Fatalf("a batch of %d, want at most %d", len(batch), most)
			}
			if len(batch) > 0 {
				flying = append(flying, held{batch, ack})
			}
			if err != nil {
				settle(0)
				return lines, err
			}
			if len(batch) == 0 {
				break
			}
			settle(3)
		}
		if text == "" {
			settle(0)
			if s.Rest() != 0 {
				t.Fatalf("%d bytes left at the end", s.Rest())
			}
			return lines, nil
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
		err        error
	}{
		{"nothing", "", nil, nil},
		{"one", "a\n", []string{"a"}, nil},
		{"no newline at the end", "a\nb", []string{"a", "b"}, nil},
		{"empty lines", "\n\n\na\n\n", []string{"", "", "", "a", ""}, nil},
		{"carriage return stays", "a\r\nb\r", []string{"a\r", "b\r"}, nil},
		{"any byte", "\x00\xff\n\xc3\n", []string{"\x00\xff", "\xc3"}, nil},
		{"longest", "12345678\n12345678", []string{"12345678", "12345678"}, nil},
		{"too long", "a\n123456789\nb\n", []string{"a"}, framing.ErrTooLong},
		{"too long without end", "a\n123456789", []string{"a"}, framing.ErrTooLong},
	} {
		for _, piece := range []int{1, 2, 3, 100} {
			for _, most := range []int{1, 2, 100} {
				got, err := split(t, c.text, most, 8, func() int { return piece })
				if !errors.Is(err, c.err) {
					t.Errorf("%s, pieces of %d, batches of %d: error %v, want %v", c.name, piece, most, err, c.err)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("%s, pieces of %d, batches of %d: (-want +got)\n%s", c.name, piece, most, d)
				}
			}
		}
	}
}

func TestMillionsOfBytesInRandomPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var want []string
	for size := 0; size < 8<<20; {
		n := r.IntN(400)
		if r.IntN(200) == 0 {
			n = r.IntN(1 << 20)
		}
		line := bytes.Repeat([]byte{byte('a' + r.IntN(26))}, n)
		want = append(want, string(line))
		size += n + 1
	}
	text := strings.Join(want, "\n") + "\n"
	got, err := split(t, text, 256, 1<<20, func() int { return 1 + r.IntN(300_000) })
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("line %d differs: %d bytes, want %d", i, len(got[i]), len(want[i]))
		}
	}
}

func TestResetStartsANewStream(t *testing.T) {
	s := framing.NewSplitter()
	s.Filled(copy(s.Room(), "a\nhalf"))
	batch, ack, err := s.Lines("", 10, 10, false)
	if len(batch) != 1 || err != nil {
		t.Fatalf("Lines = %d messages, %v", len(batch), err)
	}
	s.Reset()
	s.Filled(copy(s.Room(), "whole\n"))
	next, nextAck, err := s.Lines("", 10, 10, false)
	if len(next) != 1 || string(next[0].Payload) != "whole" || err != nil {
		t.Fatalf("Lines after Reset = %q, %v", next, err)
	}
	if string(batch[0].Payload) != "a" {
		t.Errorf("the first batch reads %q now, before it was acknowledged", batch[0].Payload)
	}
	if lines, size := s.Taken(); lines != 1 || size != 6 {
		t.Errorf("Taken = %d lines, %d bytes, want 1, 6", lines, size)
	}
	_, _ = ack(t.Context(), nil), nextAck(t.Context(), nil)
}

func TestAppendAndWhole(t *testing.T) {
	batch := bridge.Batch{{Payload: []byte("ab")}, {}, {Payload: []byte("c")}}
	buf, n := framing.Append(nil, batch)
	if string(buf) != "ab\n\nc\n" || n != 3 {
		t.Fatalf("Append = %q, %d", buf, n)
	}
	for size, want := range [][2]int{{0, 0}, {0, 0}, {0, 0}, {1, 3}, {2, 4}, {2, 4}, {3, 6}} {
		n, used := framing.Whole(batch, size)
		if n != want[0] || used != want[1] {
			t.Errorf("Whole of %d bytes = %d, %d, want %v", size, n, used, want)
		}
	}
	big := bridge.Batch{{Payload: make([]byte, framing.Chunk)}, {Payload: []byte("next")}}
	if buf, n := framing.Append(nil, big); n != 1 || len(buf) != framing.Chunk+1 {
		t.Errorf("Append of a big one took %d messages, %d bytes", n, len(buf))
	}
}

// FuzzSplit checks that lines put together again are the text.
func FuzzSplit(f *testing.F) {
	f.Add("a\nb\n\nc", uint8(1), uint8(1))
	f.Add("\r\n\n", uint8(2), uint8(3))
	f.Fuzz(func(t *testing.T, text string, piece, most uint8) {
		lines, err := split(t, text, 1+int(most), len(text), func() int { return 1 + int(piece) })
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(lines, "\n")
		if len(lines) > 0 && strings.HasSuffix(text, "\n") {
			got += "\n"
		}
		if got != text {
			t.Errorf("%q, want %q", got, text)
		}
	})
}
