package xrtc

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestEncode(t *testing.T) {
	for _, c := range []struct{ how, payload, want string }{
		{"auto", "", ""},
		{"auto", "grüße\n\"", "grüße\n\""},
		{"auto", "\xff\x00", "data:;base64,/wA="},
		{"auto", "data:;base64,", "data:;base64,ZGF0YTs7YmFzZTY0LA=="},
		{"auto", "data:text/plain;base64,eA==", "data:text/plain;base64,eA=="},
		{"text", "grüße", "grüße"},
		{"base64", "hi", "aGk="},
		{"base64", "", ""},
		{"urlencode", "a b+c/ü%", "a%20b+c%2F%C3%BC%25"},
		{"urlencode", "\xff", "%FF"},
	} {
		got, err := encode(c.how, []byte(c.payload))
		if c.payload == mark {
			c.want = mark + "ZGF0YTo7YmFzZTY0LA=="
		}
		if err != nil || string(got) != c.want {
			t.Errorf("encode %s %q: got %q, %v, want %q", c.how, c.payload, got, err, c.want)
		}
	}
	if _, err := encode("text", []byte{0xff}); err == nil {
		t.Error("encode text took what is not UTF-8")
	}
	for _, c := range []struct{ how, text string }{
		{"base64", "not base64!"}, {"urlencode", "%zz"}, {"auto", mark + "?"},
	} {
		if got, err := decode(c.how, []byte(c.text)); err == nil {
			t.Errorf("decode %s %q: got %q, want an error", c.how, c.text, got)
		}
	}
}

func FuzzEncodeIsUndone(f *testing.F) {
	f.Add([]byte("data:;base64,x"))
	f.Add([]byte{0xff, 0, '%', '+'})
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, how := range []string{"auto", "text", "base64", "urlencode"} {
			text, err := encode(how, payload)
			if err != nil {
				if how != "text" || utf8.Valid(payload) {
					t.Errorf("encode %s %q: %v", how, payload, err)
				}
				continue
			}
			if !utf8.Valid(text) {
				t.Errorf("encode %s %q: %q is not UTF-8", how, payload, text)
			}
			if got, err := decode(how, text); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("decode %s %q: got %q, %v, want %q", how, text, got, err, payload)
			}
		}
		m := bridge.Message{Payload: payload}
		sealed, err := seal(&m)
		if err != nil {
			t.Fatal(err)
		}
		got := bridge.Message{Payload: sealed}
		if err := unseal(&got); err != nil || !bytes.Equal(got.Payload, payload) {
			t.Errorf("envelope %s: got %q, %v, want %q", sealed, got.Payload, err, payload)
		}
	})
}

func TestEnvelope(t *testing.T) {
	m := bridge.Message{
		ID: "id", Topic: "sensors/hall/temp", Payload: []byte("<21.5>"),
		Header: map[string]string{"unit": "°C", "empty": ""},
		Time:   time.Date(2026, 11, 25, 1, 2, 3, 456_789_000, time.UTC),
	}
	sealed, err := seal(&m)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-11-25T01:02:03.456789Z","id":"id","topic":"sensors/hall/temp","header":{"empty":"","unit":"°C"},"payload":"<21.5>"}`
	if string(sealed) != want {
		t.Errorf("got %s, want %s", sealed, want)
	}
	got := bridge.Message{ID: "portal-id", Topic: "portal", Payload: sealed, Time: time.Now()}
	if err := unseal(&got); err != nil {
		t.Fatal(err)
	}
	m.ID = "portal-id" // who wrote the envelope chose the one in it
	if d := cmp.Diff(m, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, text := range []string{
		"", "21.5", "{}", `{"payload":"a","payload_base64":"YQ=="}`,
		`{"payload_base64":"?"}`, `{"payload":"a","x":1}`, `{"payload":"a"} b`,
	} {
		got := bridge.Message{Topic: "portal", Payload: []byte(text)}
		if err := unseal(&got); err == nil || string(got.Payload) != text || got.Topic != "portal" {
			t.Errorf("unseal %q: got %q, %v, want an error and no change", text, got.Payload, err)
		}
	}
	for _, m := range []bridge.Message{
		{Topic: "\xff"},
		{Topic: "t", Header: map[string]string{"a": "\xff"}},
		{Topic: "t", Header: map[string]string{"\xff": "a"}},
	} {
		sealed, err := seal(&m)
		got := bridge.Message{Payload: sealed}
		if err == nil {
			err = unseal(&got)
		}
		if m.Payload = []byte{}; err != nil || !utf8.Valid(sealed) || cmp.Diff(m, got) != "" {
			t.Errorf("%s is %+v, %v, want %+v", sealed, got, err, m)
		}
	}
}

func TestConflateKeepsTheNewest(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		letters := make([]letter, rng.IntN(50))
		newest := make(map[string]int)
		for i := range letters {
			letters[i] = letter{portal: string('a' + rune(rng.IntN(5))), at: i}
			newest[letters[i].portal] = i
		}
		last := -1
		all := len(letters)
		kept, omitted := conflate(letters)
		if len(kept)+len(omitted) != all || !slices.IsSorted(omitted) {
			t.Errorf("%d kept and %v omitted of %d", len(kept), omitted, all)
		}
		for _, l := range kept {
			if newest[l.portal] != l.at || l.at <= last {
				t.Errorf("kept %+v, the newest is %d", l, newest[l.portal])
			}
			last = l.at
		}
		if len(kept) != len(newest) {
			t.Errorf("%d letters for %d portals", len(kept), len(newest))
		}
	}
}
