package framing_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/framing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// split feeds text in pieces whose size next says, and returns the lines, and which of them were
// too long; their Index is that among all. Up to three batches stay unacknowledged, so that memory
// is shared and moved.
func split(t *testing.T, text string, most, limit int, next func() int) (lines []string, tooLong []framing.Long) {
	t.Helper()
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
	s := framing.NewSplitter(limit)
	total, count := int64(len(text)), 0
	for {
		n := min(next(), len(text))
		n = copy(s.Room(), text[:n])
		s.Filled(n)
		text = text[n:]
		for {
			batch, ack, long := s.Lines("a topic", most, text == "")
			if len(batch) > most {
				t.Fatalf("a batch of %d, want at most %d", len(batch), most)
			}
			if len(batch) > 0 {
				flying = append(flying, held{batch, ack})
			}
			for _, l := range long {
				l.Index += count
				tooLong = append(tooLong, l)
			}
			count += len(batch)
			if len(batch) == 0 {
				break
			}
			settle(3)
		}
		if text == "" {
			settle(0)
			if n, size := s.Taken(); s.Rest() != 0 || size != total || n != int64(len(lines)) {
				t.Fatalf("%d bytes left at the end, %d lines and %d bytes of %d taken", s.Rest(), n, size, total)
			}
			return lines, tooLong
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
		long       []framing.Long
	}{
		{"nothing", "", nil, nil},
		{"one", "a\n", []string{"a"}, nil},
		{"no newline at the end", "a\nb", []string{"a", "b"}, nil},
		{"empty lines", "\n\n\na\n\n", []string{"", "", "", "a", ""}, nil},
		{"carriage return stays", "a\r\nb\r", []string{"a\r", "b\r"}, nil},
		{"any byte", "\x00\xff\n\xc3\n", []string{"\x00\xff", "\xc3"}, nil},
		{"longest", "12345678\n12345678", []string{"12345678", "12345678"}, nil},
		{"too long", "a\n123456789\nb\n", []string{"a", "12345678", "b"}, []framing.Long{{1, 2, 2, 9}}},
		{"too long without end", "a\n123456789", []string{"a", "12345678"}, []framing.Long{{1, 2, 2, 9}}},
		{
			"too long each", "1234567890\n\n123456789\n1234567890",
			[]string{"12345678", "", "12345678", "12345678"},
			[]framing.Long{{0, 1, 0, 10}, {2, 3, 12, 9}, {3, 4, 22, 10}},
		},
	} {
		for _, piece := range []int{1, 2, 3, 100} {
			for _, most := range []int{1, 2, 100} {
				got, long := split(t, c.text, most, 8, func() int { return piece })
				if d := cmp.Diff(c.long, long); d != "" {
					t.Errorf("%s, pieces of %d, batches of %d: too long (-want +got)\n%s", c.name, piece, most, d)
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
	got, long := split(t, text, 256, 1<<20, func() int { return 1 + r.IntN(300_000) })
	if len(long) > 0 {
		t.Fatal(long)
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
	s := framing.NewSplitter(10)
	s.Filled(copy(s.Room(), "a\nhalf"))
	batch, ack, _ := s.Lines("", 10, false)
	if len(batch) != 1 {
		t.Fatalf("Lines = %d messages", len(batch))
	}
	if n := s.Held(); n != 1 {
		t.Errorf("Held = %d lines, want 1", n)
	}
	s.Reset()
	if n := s.Held(); n != 0 {
		t.Errorf("Held = %d lines after Reset", n)
	}
	s.Filled(copy(s.Room(), "whole\n"))
	next, nextAck, _ := s.Lines("", 10, false)
	if len(next) != 1 || string(next[0].Payload) != "whole" {
		t.Fatalf("Lines after Reset = %q", next)
	}
	if string(batch[0].Payload) != "a" {
		t.Errorf("the first batch reads %q now, before it was acknowledged", batch[0].Payload)
	}
	if lines, size := s.Taken(); lines != 1 || size != 6 {
		t.Errorf("Taken = %d lines, %d bytes, want 1, 6", lines, size)
	}
	_, _ = ack(t.Context(), nil), nextAck(t.Context(), nil)
}

// TestLongLineIsNotHeld checks that a line of 1 GiB needs no more memory than one that is just
// allowed.
func TestLongLineIsNotHeld(t *testing.T) {
	s := framing.NewSplitter(1 << 20)
	s.Filled(copy(s.Room(), "before\nlong"))
	size := int64(len("long"))
	for size < 1<<30 {
		room := s.Room()
		if len(room) > 4<<20 {
			t.Fatalf("after %d bytes there is room of %d bytes", size, len(room))
		}
		s.Filled(len(room))
		size += int64(len(room))
		if batch, ack, long := s.Lines("", 10, false); len(batch) > 0 {
			if string(batch[0].Payload) != "before" || len(batch) != 1 || long != nil {
				t.Fatalf("got %q, %v", batch, long)
			}
			_ = ack(t.Context(), nil)
		}
		if s.Rest() != size {
			t.Fatalf("Rest = %d, want %d", s.Rest(), size)
		}
	}
	if n := s.Held(); n != 1 {
		t.Errorf("Held = %d lines, want 1", n)
	}
	s.Filled(copy(s.Room(), "\nafter\nend"))
	if n := s.Held(); n != 3 {
		t.Errorf("Held = %d lines, want 3", n)
	}
	batch, ack, long := s.Lines("", 10, false)
	if len(batch) != 2 || len(batch[0].Payload) != 1<<10 || !bytes.HasPrefix(batch[0].Payload, []byte("long")) ||
		string(batch[1].Payload) != "after" {
		t.Errorf("got %d messages", len(batch))
	}
	if diff := cmp.Diff([]framing.Long{{Index: 0, Line: 2, Offset: 7, Size: size}}, long); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	err := s.Finish(batch, long, func(l framing.Long) string { return "line" })
	want := fmt.Sprintf("line has %d bytes, and max_line is 1MiB: raise max_line to let it pass", size)
	if refused, ok := errors.AsType[bridge.Refusals](err); !ok || refused[0].Index != 0 || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_ = ack(t.Context(), nil)
	if s.Finish(nil, nil, nil) != nil {
		t.Error("nothing is refused, and there is an error")
	}
}

func TestBlocks(t *testing.T) {
	batch := bridge.Batch{{Payload: []byte("ab")}, {}, {Payload: []byte("x\ny")}, {Payload: []byte("c")}}
	b := framing.Block{Buf: []byte("\n")}
	n := b.Fill(&framing.Form{}, batch)
	if string(b.Buf) != "\nab\n\nc\n" || n != 4 || len(b.Refused) != 1 || b.Refused[0].Index != 2 ||
		!strings.HasPrefix(b.Refused.Error(), "the payload has line feeds and would become several lines: encode: json") {
		t.Fatalf("Fill = %q, %d, %v", b.Buf, n, b.Refused)
	}
	for size, want := range []int{0, 0, 0, 0, 1, 3, 3, 4, 4} {
		if n := b.Whole(size); n != want {
			t.Errorf("Whole of %d bytes = %d, want %d", size, n, want)
		}
	}
	big := bridge.Batch{{Payload: make([]byte, framing.Chunk)}, {Payload: []byte("next")}}
	b = framing.Block{}
	if n := b.Fill(&framing.Form{}, big); n != 1 || len(b.Buf) != framing.Chunk+1 {
		t.Errorf("Fill of a big one took %d messages, %d bytes", n, len(b.Buf))
	}
}

func TestForms(t *testing.T) {
	for _, c := range []struct{ encode, payload, want, err string }{
		{"text", "a\r", "a\r", ""},
		{"text", "a\n", "a", ""},
		{"", "a\nb", "", "the payload has line feeds"},
		{"text", "a\n\n", "", "the payload has line feeds"},
		{"raw", "a\nb\n", "a\nb", ""},
		{"json", "a\n\"b", `"a\n\"b"`, ""},
		{"json", "\xff", "", "the payload is not UTF-8, which JSON must be; encode: base64 takes any bytes"},
		{"base64", "a\n\xff", "YQr/", ""},
	} {
		f := framing.Form{Encode: c.encode}
		got, err := f.Text(nil, &bridge.Message{Payload: []byte(c.payload)})
		switch {
		case c.err == "" && (err != nil || string(got) != c.want):
			t.Errorf("%s of %q is %q, %v", c.encode, c.payload, got, err)
		case c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)):
			t.Errorf("%s of %q: %v, want %s", c.encode, c.payload, err, c.err)
		}
	}
	f := framing.Form{Payload: bridge.Text("x"), Encode: "json"}
	if got, err := f.Text(nil, &bridge.Message{}); err != nil || string(got) != `"x"` {
		t.Errorf("a template gives %q, %v", got, err)
	}
}

// FuzzSplit checks that lines put together again are the text.
func FuzzSplit(f *testing.F) {
	f.Add("a\nb\n\nc", uint8(1), uint8(1))
	f.Add("\r\n\n", uint8(2), uint8(3))
	f.Fuzz(func(t *testing.T, text string, piece, most uint8) {
		lines, long := split(t, text, 1+int(most), len(text), func() int { return 1 + int(piece) })
		if len(long) > 0 {
			t.Fatal(long)
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
