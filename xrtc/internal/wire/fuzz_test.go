package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

// shapes are texts that look into all corners of a request.
func shapes(f *testing.F) {
	f.Helper()
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"items":[]}`, "{\"items\":[]}\x00", "\x00", deep(100),
		`{"items": [{"portalid": "p", "payload": "h\u00e9llo \ud83d\ude00 \"q\" \n/ ="}]}`,
		`{items:[{"portalid":"send","payload":"a+b%20c&d=1"}]}`,
		`{items:[{portalid:p,payload:a_b.c-d,servertimestamp:-0}]}`,
		`{"items":[{"portalid":"a-b","payload":"a"},{"payload":"\ud83d\ud83d","portalid":"p","servertimestamp":9223372036854775808}]}`,
		`{"items":[{"portalid":"p","payload":1.5e+7}]} {}`,
		`{"items":[{"portalid":"p","payload":"a","payload":"b"}],"items":null}`,
		"{\"items\":[{\"portalid\":\"p\",\"payload\":\"\xff\\u0041\u2028\x7f\"}]}",
		`{"portals": [{"portalid": "p"}], "mode": "stream"}`,
		`{"portals": [{"portalid": "p", "servertimestamp": 9}], "mode": "watch", "schedule": "FIFO", "cutoff": 500}`,
		`{"portals":null,"mode":"peek","cutoff":-01,"Mode":1}`,
		`{"portals":[{"portalid":"p","after":{"life":1,"number":2}}],"except":["a"]}`,
		`{portals:[{portalid:p},{portalid:p,servertimestamp:1e3}]}`,
		`{"accountid": "AC1", "apikey": "kkk"}`,
	} {
		f.Add([]byte(s))
	}
}

// Whatever is JSON for encoding/json, or would be with its words in quotes, is read as the protocol says, and nothing
// else is. What is read survives being written and read again.
func FuzzRequestDecode(f *testing.F) {
	shapes(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		v, ok := lax(body)
		fuzzSet(t, body, v, ok)
		fuzzGet(t, body, v, ok)
		fuzzTexts(t, body, v, ok)
	})
}

func fuzzSet(t *testing.T, body []byte, v any, ok bool) {
	before := bytes.Clone(body)
	var s wire.Set
	err := s.Decode(body)
	if !bytes.Equal(before, body) {
		t.Fatal("the body was changed")
	}
	if err != nil && !utf8.ValidString(err.Error()) {
		t.Fatalf("an error that is not UTF-8: %q", err)
	}
	got := setItems(&s)
	if ok {
		var r reader
		want := r.set(v)
		if got, want := verdict(err), r.verdict(); got != want {
			t.Fatalf("set %q: got verdict %q (%v), want %q", body, got, err, want)
		}
		if diff := cmp.Diff(want, got); err == nil && diff != "" {
			t.Fatalf("set %q (-want +got)\n%s", body, diff)
		}
	}
	if err != nil && (ok || verdict(err) == badText) {
		return
	}
	if !ok {
		t.Fatalf("set %q is no JSON and was taken", body)
	}
	again := wire.AppendSet(nil)
	for _, i := range got {
		again = wire.AppendSetItem(again, i.PortalID, i.Payload)
	}
	again = wire.AppendSetEnd(again)
	if err := s.Decode(again); err != nil {
		t.Fatalf("set %q, written as %q: %v", body, again, err)
	}
	if diff := cmp.Diff(got, setItems(&s)); diff != "" {
		t.Fatalf("set %q, written as %q (-want +got)\n%s", body, again, diff)
	}
}

func fuzzGet(t *testing.T, body []byte, v any, ok bool) {
	var got wire.Get
	err := got.Decode(body)
	if ok {
		var r reader
		want := r.get(v)
		if got, want := verdict(err), r.verdict(); got != want {
			t.Fatalf("get %q: got verdict %q (%v), want %q", body, got, err, want)
		}
		if diff := cmp.Diff(want, got); err == nil && diff != "" {
			t.Fatalf("get %q (-want +got)\n%s", body, diff)
		}
	}
	if err != nil && (ok || verdict(err) == badText) {
		return
	}
	if !ok {
		t.Fatalf("get %q is no JSON and was taken", body)
	}
	var again wire.Get
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Decode(text); err != nil {
		t.Fatalf("get %q, written as %q: %v", body, text, err)
	}
	if diff := cmp.Diff(got, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("get %q, written again (-want +got)\n%s", body, diff)
	}
}

func fuzzTexts(t *testing.T, body []byte, v any, ok bool) {
	got, err := wire.DecodeTexts(body, 1, "accountid", "apikey")
	if !ok {
		if verdict(err) != badText {
			t.Fatalf("texts %q is no JSON and was taken", body)
		}
		return
	}
	var r reader
	want, there := []string{"", ""}, false
	r.members(v, func(name string, v any) {
		switch name {
		case "accountid":
			want[0], there = r.string(v), true
		case "apikey":
			want[1] = r.string(v)
		default:
			r.text = true
		}
	})
	r.text = r.text || !there
	if got, want := verdict(err), r.verdict(); got != want {
		t.Fatalf("texts %q: got verdict %q (%v), want %q", body, got, err, want)
	}
	if diff := cmp.Diff(want, got); err == nil && diff != "" {
		t.Fatalf("texts %q (-want +got)\n%s", body, diff)
	}
}

// What is written is read the same by encoding/json and by this package, and has the size that was foretold.
func FuzzAppend(f *testing.F) {
	for _, s := range texts() {
		f.Add(s, "é\n", int64(1795327834812))
	}
	f.Fuzz(func(t *testing.T, one, two string, stamp int64) {
		if !utf8.ValidString(one) || !utf8.ValidString(two) {
			return
		}
		var std string
		if text := wire.AppendText(nil, []byte(one)); json.Unmarshal(text, &std) != nil || std != one {
			t.Fatalf("text %q: encoding/json reads %q", text, std)
		}
		pair, err := json.Marshal(map[string]string{"a": one, "b": two})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wire.DecodeTexts(pair, 2, "a", "b"); err != nil || got[0] != one || got[1] != two {
			t.Fatalf("texts %q: got %q, %v", pair, got, err)
		}
		fuzzAppendSet(t, []setItem{{"a", one}, {"b2", two}, {"a", one + two}})
		fuzzAppendAnswer(t, []item{{"a", one, stamp}, {"b2", two, -stamp}})
	})
}

func fuzzAppendSet(t *testing.T, want []setItem) {
	body, size := wire.AppendSet(nil), wire.SetOverhead-len(",")
	for _, i := range want {
		body = wire.AppendSetItem(body, i.PortalID, i.Payload)
		size += wire.SetItemSize(i.PortalID, i.Payload)
	}
	body = wire.AppendSetEnd(body)
	if len(body) != size {
		t.Fatalf("set %q: got %d bytes, want %d", body, len(body), size)
	}
	var s wire.Set
	if err := s.Decode(body); err != nil {
		t.Fatalf("set %q: %v", body, err)
	}
	if diff := cmp.Diff(want, setItems(&s)); diff != "" {
		t.Fatalf("set %q (-want +got)\n%s", body, diff)
	}
	var std struct{ Items []setItem }
	if err := json.Unmarshal(body, &std); err != nil {
		t.Fatalf("set %q: encoding/json: %v", body, err)
	}
	if diff := cmp.Diff(want, std.Items); diff != "" {
		t.Fatalf("set %q: encoding/json (-want +got)\n%s", body, diff)
	}
}

func fuzzAppendAnswer(t *testing.T, want []item) {
	size := wire.AnswerOverhead + len(want) - 1
	var texts [][]byte
	for _, i := range want {
		text := wire.AppendStamp(wire.AppendUnstamped(nil, []byte(i.PortalID), written(i.Payload)), i.ServerTimestamp)
		if bound := wire.ItemSize([]byte(i.PortalID), written(i.Payload)); len(text) > bound {
			t.Fatalf("item %q: got %d bytes, at most %d are allowed", text, len(text), bound)
		}
		texts = append(texts, text)
		size += len(text)
	}
	text := wire.AppendAnswer(nil, texts, nil)
	if len(text) > size {
		t.Fatalf("answer %q: got %d bytes, at most %d are allowed", text, len(text), size)
	}
	var std answer
	if err := json.Unmarshal(text, &std); err != nil {
		t.Fatalf("answer %q: encoding/json: %v", text, err)
	}
	var a wire.Answer
	if err := a.Decode(text); err != nil {
		t.Fatalf("answer %q: %v", text, err)
	}
	for _, got := range []answer{show(&a), std} {
		if diff := cmp.Diff(answer{Items: want}, got); diff != "" {
			t.Fatalf("answer %q (-want +got)\n%s", text, diff)
		}
	}
}

// An answer is taken if and only if encoding/json takes it and it means something, and then they agree.
func FuzzAnswerDecode(f *testing.F) {
	for _, s := range []string{
		``, `{}`, "{}\n{}", `null`, `{"items":null}`, `{"x":` + deep(70) + `}`, `{"x":abc}`, `{"x":[01,+1,1.e1,-]}`,
		`{"items":[{"portalid":"a","payload":"h\u00e9 \ud83d\n","servertimestamp":1795327834812}],"places":{"a":{"life":1,"number":7}}}`,
		`{"servertimestamp":-9223372036854775808,"x":{"y":[1.5e+3,null,true,false,"\u0041"]}}`,
		`{"error":{"errorgroup":2,"errorcode":10011,"errormessage":"Server session denied","z":0}}`,
		`{"error":null,"items":[{"portalid":"a"}]}`,
		"{\"x\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var a wire.Answer
		err := a.Decode(text)
		if wire.IsValue(err) {
			t.Fatalf("answer %q: %v is about a value", text, err)
		}
		v, ok := tree(text)
		if !ok {
			if err == nil {
				t.Fatalf("answer %q is no JSON and was taken", text)
			}
			return
		}
		if !simple(v, 60) {
			return
		}
		var r reader
		want := r.answer(v)
		if got, want := verdict(err), r.verdict(); got != want {
			t.Fatalf("answer %q: got verdict %q (%v), want %q", text, got, err, want)
		}
		if diff := cmp.Diff(want, show(&a)); err == nil && diff != "" {
			t.Fatalf("answer %q (-want +got)\n%s", text, diff)
		}
	})
}
