package wire_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// texts are payloads with all that needs care.
func texts() []string {
	var ascii strings.Builder
	for c := range 128 {
		ascii.WriteByte(byte(c))
	}
	all := []string{"", "a", `"`, `\`, "\x00", "é", "😀", "\u2028\uFFFD\uFEFF", "<>&", "\\u0041", ascii.String()}
	for n := range 18 { // each place in the words of eight bytes
		all = append(all, strings.Repeat("x", n)+`"`, strings.Repeat("é", n)+"\n",
			strings.Repeat("x", n)+"\x1f"+strings.Repeat("x", 20))
	}
	return all
}

func TestSetRoundTrip(t *testing.T) {
	var want []setItem
	body := wire.AppendSet(nil)
	size := wire.SetOverhead - len(",")
	for i, text := range texts() {
		portal := fmt.Sprintf("p%d", i)
		want = append(want, setItem{portal, text})
		before := len(body)
		if i%2 == 0 {
			body = wire.AppendSetItem(body, portal, text)
		} else {
			body = wire.AppendSetItem(body, portal, []byte(text))
		}
		got := len(body) - before
		if i == 0 {
			got += len(",")
		}
		if want := wire.SetItemSize(portal, text); got != want {
			t.Errorf("%q: got %d bytes, want %d", text, got, want)
		}
		size += wire.SetItemSize(portal, []byte(text))
	}
	body = wire.AppendSetEnd(body)
	if len(body) != size {
		t.Errorf("got %d bytes, want %d", len(body), size)
	}
	var s wire.Set
	if err := s.Decode(body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, setItems(&s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var std struct {
		Items []setItem
	}
	if err := json.Unmarshal(body, &std); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, std.Items); diff != "" {
		t.Errorf("encoding/json (-want +got)\n%s", diff)
	}
	if got, want := string(wire.AppendSetEnd(wire.AppendSet(nil))),
		`{"items":[]}`; got != want || len(got) != wire.SetOverhead {
		t.Errorf("got %s of %d, want %s of %d", got, len(got), want, wire.SetOverhead)
	}
}

func TestAnswerRoundTrip(t *testing.T) {
	stamps := []int64{0, 1, -1, 1795327834812, math.MaxInt64, math.MinInt64}
	var want answer
	var items [][]byte
	for i, text := range texts() {
		portal, stamp := fmt.Sprintf("p%d", i), stamps[i%len(stamps)]
		want.Items = append(want.Items, item{portal, text, stamp})
		b := wire.AppendStamp(wire.AppendUnstamped(nil, []byte(portal), written(text)), stamp)
		bound := wire.ItemSize([]byte(portal), written(text))
		if len(b) > bound || len(b) < bound-len("-9223372036854775808")+1 {
			t.Errorf("%q at %d: got %d bytes, and the bound is %d", text, stamp, len(b), bound)
		}
		if stamp == math.MinInt64 && len(b) != bound {
			t.Errorf("%q: got %d bytes, want %d", text, len(b), bound)
		}
		items = append(items, b)
	}
	for _, place := range []wire.Place{{}, {Life: 1, Number: math.MaxInt64}} {
		want.Places = nil
		var places []byte
		if place.Life > 0 {
			want.Places = map[string]wire.Place{"p0": place, "p1": place}
			places = wire.AppendPlace(wire.AppendPlace(nil, "p0", place), "p1", place)
		}
		text := wire.AppendAnswer(nil, items, places)
		var a wire.Answer
		if err := a.Decode(text); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, show(&a)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		var std answer
		if err := json.Unmarshal(text, &std); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, std); diff != "" {
			t.Errorf("encoding/json (-want +got)\n%s", diff)
		}
	}
}

func TestAppend(t *testing.T) {
	one := []byte(`{"portalid":"a"}`)
	tests := []struct {
		name      string
		got, want string
	}{
		{"nothing", string(wire.AppendAnswer(nil, nil, nil)), `{}`},
		{"an item", string(wire.AppendAnswer(nil, [][]byte{one}, nil)), `{"items":[{"portalid":"a"}]}`},
		{
			"items and places", string(wire.AppendAnswer([]byte("x"), [][]byte{one, one},
				wire.AppendPlace(nil, "a", wire.Place{Life: 7, Number: 1}))),
			`x{"items":[{"portalid":"a"},{"portalid":"a"}],"places":{"a":{"life":7,"number":1}}}`,
		},
		{
			"item", string(wire.AppendStamp(wire.AppendUnstamped(nil, []byte("a"), written("2<é\"\u2028\x7f")), 5)),
			`{"portalid":"a","payload":"2<é\"` + "\u2028\x7f" + `","servertimestamp":5}`,
		},
		{"escapes", string(wire.AppendText(nil, []byte("\x00\b\t\n\f\r\x1f\"\\/"))), `"\u0000\u0008\t\n\u000c\r\u001f\"\\/"`},
		{"timestamp", string(wire.AppendTimestamp(nil, 1795327834812)), `{"servertimestamp":1795327834812}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got  %s\nwant %s", tt.got, tt.want)
			}
		})
	}
}

func TestGetRoundTrip(t *testing.T) {
	for _, want := range []wire.Get{
		{Mode: "probe", Schedule: "LIFO", Cutoff: -1, Except: []string{"a"}},
		{Mode: "probe", Schedule: "LIFO", Cutoff: -1},
		{Mode: "stream", Schedule: "FIFO", Cutoff: math.MaxInt64},
		{Portals: []wire.Portal{
			{ID: "a", Since: -1},
			{ID: "b", After: wire.Place{Life: 1, Number: 2}},
			{ID: strings.Repeat("9", 32), Since: math.MaxInt64},
		}, Mode: "watch", Schedule: "LIFO"},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got wire.Get
		if err := got.Decode(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", text, diff)
		}
	}
}
