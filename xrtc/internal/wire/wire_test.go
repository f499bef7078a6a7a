package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/xrtc/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The verdicts on a text.
const (
	good     = ""
	badText  = "text"  // no JSON, or wrong names or types
	badValue = "value" // right types, wrong values
)

func verdict(err error) string {
	switch {
	case err == nil:
		return good
	case wire.IsValue(err):
		return badValue
	default:
		return badText
	}
}

// setItem is a [wire.SetItem] that shows.
type setItem struct{ PortalID, Payload string }

// written returns a text as it stands in JSON.
func written(s string) []byte { return wire.AppendText(nil, []byte(s)) }

// unwrite undoes written, and says what is not written like that.
func unwrite(text []byte) string {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err.Error()
	}
	if !bytes.Equal(written(s), text) {
		return "not as AppendText writes it: " + string(text)
	}
	return s
}

func setItems(s *wire.Set) []setItem {
	var items []setItem
	for _, i := range s.Items {
		items = append(items, setItem{string(i.PortalID), unwrite(i.Text)})
	}
	return items
}

func one(payload string) []setItem { return []setItem{{"p", payload}} }

// deep is n lists in one another.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestSetDecode(t *testing.T) {
	payload := func(text string) string { return `{"items":[{"portalid":"p","payload":` + text + `}]}` }
	tests := []struct {
		name, body string
		want       []setItem
		verdict    string
	}{
		// What clients send, byte for byte.
		{
			"requests", `{"items": [{"portalid": "p", "payload": "h\u00e9llo \ud83d\ude00 \"q\" \n/ ="}]}`,
			one("héllo 😀 \"q\" \n/ ="), good,
		},
		{"curl", `{items:[{"portalid":"send","payload":"a+b%20c&d=1"}]}`, []setItem{{"send", "a+b%20c&d=1"}}, good},
		{"with a timestamp", `{"items": [{"portalid": "p", "payload": "a", "servertimestamp": 5}]}`, one("a"), good},
		{"numbers given for text", `{"items": [{"portalid": "7", "payload": "8"}]}`, []setItem{{"7", "8"}}, good},
		{
			"several", `{"items":[{"portalid":"a","payload":"1"},{"payload":"2","portalid":"b"},{"portalid":"a","payload":""}]}`,
			[]setItem{{"a", "1"}, {"b", "2"}, {"a", ""}},
			good,
		},
		{"white space", " \t\r\n{ \"items\" : [ { \"portalid\" : \"p\" , \"payload\" : \"a b\" } ] } \n", one("a b"), good},
		{"an escape in a name", `{"it\u0065ms":[{"portal\u0069d":"p","payload":"a"}]}`, one("a"), good},

		{"unquoted", `{items:[{portalid:p,payload:a_b.c-d}]}`, one("a_b.c-d"), good},
		{"unquoted, like a number", `{items:[{portalid:p,payload:1.2.3}]}`, one("1.2.3"), good},
		{"unquoted, like a literal", `{items:[{portalid:p,payload:nullable}]}`, one("nullable"), good},
		{"unquoted, leading zeros", `{items:[{portalid:p,payload:007}]}`, one("007"), good},
		{"unquoted, a dash", `{items:[{portalid:p,payload:-}]}`, one("-"), good},
		{"unquoted, an empty exponent", `{items:[{portalid:p,payload:1e}]}`, one("1e"), good},
		{"unquoted, an empty fraction", `{items:[{portalid:p,payload:1.}]}`, one("1."), good},
		{"unquoted, a blank", `{items:[{portalid:p,payload:a b}]}`, nil, badText},
		{"unquoted, a plus", `{items:[{portalid:p,payload:a+b}]}`, nil, badText},
		{"unquoted, not ASCII", `{items:[{portalid:p,payload:é}]}`, nil, badText},
		{"unquoted, empty", `{items:[{portalid:p,payload:}]}`, nil, badText},
		{"single quotes", `{'items':[{'portalid':'p','payload':'a'}]}`, nil, badText},

		{"integer payload", payload(`5`), nil, badText},
		{"negative payload", payload(`-0`), nil, badText},
		{"fraction payload", payload(`2.50`), nil, badText},
		{"exponent payload", payload(`1e5`), nil, badText},
		{"signed exponent payload", payload(`1E-5`), nil, badText},
		{"positive exponent payload", payload(`1e+5`), nil, badText},
		{"true payload", payload(`true`), nil, badText},
		{"false payload", payload(`false`), nil, badText},
		{"null payload", payload(`null`), nil, badText},
		{"object payload", payload(`{}`), nil, badText},
		{"list payload", payload(`["a"]`), nil, badText},
		{"number as portalid", `{"items":[{"portalid":7,"payload":"a"}]}`, nil, badText},

		{"escapes", payload(`"\"\\\/\b\f\n\r\t\u0000\u00E9\u20ac"`), one("\"\\/\b\f\n\r\t\x00é€"), good},
		{"unknown escape", payload(`"\x41"`), nil, badText},
		{"escaped end", payload(`"a\"`), nil, badText},
		{"short escape", payload(`"\u12"`), nil, badText},
		{"escape that is not hexadecimal", payload(`"\u12g4"`), nil, badText},
		{"a pair", payload(`"\uD83D\uDE00"`), one("😀"), good},
		{"the last pair", payload(`"\udbff\udfff"`), one("\U0010FFFF"), good},
		{"half a pair", payload(`"\ud83d"`), one("\uFFFD"), good},
		{"half a pair and a letter", payload(`"\ud83da"`), one("\uFFFDa"), good},
		{"half a pair and an escape", payload(`"\ud83d\n"`), one("\uFFFD\n"), good},
		{"half a pair and an escaped letter", payload(`"\ud83d\u0041"`), one("\uFFFDA"), good},
		{"half a pair and a pair", payload(`"\ud83d\ud83d\ude00"`), one("\uFFFD😀"), good},
		{"the second half", payload(`"\ude00"`), one("\uFFFD"), good},
		{"a pair the wrong way round", payload(`"\ude00\ud83d"`), one("\uFFFD\uFFFD"), good},
		{"half a pair and a broken escape", payload(`"\ud83d\u12"`), nil, badText},

		{"not ASCII", payload(`"é€😀"`), one("é€😀"), good},
		{"line separators", payload("\"\u2028\u2029\""), one("\u2028\u2029"), good},
		{"DEL", payload("\"\x7f\""), one("\x7f"), good},
		{"invalid UTF-8", payload("\"a\xff\""), nil, badText},
		{"invalid UTF-8 behind an escape", payload("\"\\n\xff\""), nil, badText},
		{"cut UTF-8", payload("\"\xe2\x82\""), nil, badText},
		{"overlong UTF-8", payload("\"\xc0\x80\""), nil, badText},
		{"a surrogate in bytes", payload("\"\xed\xa0\xbd\xed\xb8\x80\""), nil, badText},
		{"a character of bytes and an escape", payload("\"\xc3\\u00a9\""), nil, badText},
		{"invalid UTF-8 in a name", "{\"it\xffems\":[]}", nil, badText},
		{"a line end in a text", payload("\"a\nb\""), nil, badText},
		{"a tab in a text", payload("\"a\tb\""), nil, badText},
		{"NUL in a text", payload("\"a\x00b\""), nil, badText},
		{"a control character far in", payload("\"" + strings.Repeat("x", 100) + "\x1f\""), nil, badText},
		{"a control character behind an escape", payload("\"\\n\x01\""), nil, badText},

		{"empty body", ``, nil, badText},
		{"white space only", "  \n", nil, badText},
		{"null", `null`, nil, badText},
		{"a list", `[]`, nil, badText},
		{"a text", `"items"`, nil, badText},
		{"byte order mark", "\uFEFF{\"items\":[]}", nil, badText},
		{"NUL before", "\x00{\"items\":[]}", nil, badText},
		{"NUL between", "{\x00\"items\":[]}", nil, badText},
		{"NUL behind", "{\"items\":[{\"portalid\":\"p\",\"payload\":\"a\"}]}\x00", nil, badText},
		{"a form feed is no white space", "\f{\"items\":[]}", nil, badText},
		{"a second object", `{"items":[{"portalid":"p","payload":"a"}]}{}`, nil, badText},
		{"a brace behind", `{"items":[{"portalid":"p","payload":"a"}]}}`, nil, badText},
		{"a comment", `{"items":[{"portalid":"p","payload":"a"}]}//`, nil, badText},
		{"a form", `items=%5B%5D`, nil, badText},

		{"comma before the brace", `{"items":[{"portalid":"p","payload":"a"}],}`, nil, badText},
		{"comma before the bracket", `{"items":[{"portalid":"p","payload":"a"},]}`, nil, badText},
		{"comma before the inner brace", `{"items":[{"portalid":"p","payload":"a",}]}`, nil, badText},
		{"comma first", `{"items":[,{"portalid":"p","payload":"a"}]}`, nil, badText},
		{"two commas", `{"items":[{"portalid":"p","payload":"a"},,{"portalid":"p","payload":"a"}]}`, nil, badText},
		{"no comma", `{"items":[{"portalid":"p","payload":"a"}{"portalid":"p","payload":"a"}]}`, nil, badText},
		{"no comma between names", `{"items":[{"portalid":"p" "payload":"a"}]}`, nil, badText},
		{"no colon", `{"items"[]}`, nil, badText},
		{"no name", `{:[]}`, nil, badText},
		{"no value", `{"items":}`, nil, badText},
		{"the wrong bracket", `{"items":[{"portalid":"p","payload":"a"}}`, nil, badText},
		{"no end", `{"items":[{"portalid":"p","payload":"a"}]`, nil, badText},
		{"no end of the text", `{"items":[{"portalid":"p","payload":"a`, nil, badText},
		{"no end of the escape", `{"items":[{"portalid":"p","payload":"a\`, nil, badText},
		{"only a brace", `{`, nil, badText},
		{"only a quote", `{"`, nil, badText},

		{"no items", `{}`, nil, badText},
		{"items is null", `{"items":null}`, nil, badText},
		{"items is an object", `{"items":{}}`, nil, badText},
		{"items is deep", `{"items":` + deep(100_000) + `}`, nil, badText},
		{"unknown name", `{"items":[{"portalid":"p","payload":"a"}],"x":1}`, nil, badText},
		{"unknown name in an item", `{"items":[{"portalid":"p","payload":"a","x":1}]}`, nil, badText},
		{"a name in another case", `{"Items":[{"portalid":"p","payload":"a"}]}`, nil, badText},
		{"items twice", `{"items":[{"portalid":"p","payload":"a"}],"items":[]}`, nil, badText},
		{"portalid twice", `{"items":[{"portalid":"p","portalid":"p","payload":"a"}]}`, nil, badText},
		{"payload twice", `{"items":[{"portalid":"p","payload":"","payload":""}]}`, nil, badText},
		{
			"timestamp twice", `{"items":[{"portalid":"p","payload":"a","servertimestamp":1,"servertimestamp":1}]}`, nil,
			badText,
		},
		{"no portalid", `{"items":[{"payload":"a"}]}`, nil, badText},
		{"no payload", `{"items":[{"portalid":"p"}]}`, nil, badText},
		{"empty item", `{"items":[{}]}`, nil, badText},
		{"null as item", `{"items":[null]}`, nil, badText},
		{"text as item", `{"items":["p"]}`, nil, badText},
		{"text as timestamp", `{"items":[{"portalid":"p","payload":"a","servertimestamp":"5"}]}`, nil, badText},
		{"fraction as timestamp", `{"items":[{"portalid":"p","payload":"a","servertimestamp":5.5}]}`, nil, badText},
		{"null as timestamp", `{"items":[{"portalid":"p","payload":"a","servertimestamp":null}]}`, nil, badText},

		{"empty list", `{"items":[]}`, nil, badValue},
		{"empty portalid", `{"items":[{"portalid":"","payload":"a"}]}`, nil, badValue},
		{
			"portalid of 32", `{"items":[{"portalid":"` + strings.Repeat("Z", 32) + `","payload":"a"}]}`,
			[]setItem{{strings.Repeat("Z", 32), "a"}},
			good,
		},
		{"portalid of 33", `{"items":[{"portalid":"` + strings.Repeat("Z", 33) + `","payload":"a"}]}`, nil, badValue},
		{"portalid with a dash", `{"items":[{"portalid":"a-b","payload":"a"}]}`, nil, badValue},
		{"portalid with a line end", `{"items":[{"portalid":"a\n","payload":"a"}]}`, nil, badValue},
		{"portalid with NUL", `{"items":[{"portalid":"a\u0000","payload":"a"}]}`, nil, badValue},
		{"portalid not ASCII", `{"items":[{"portalid":"é","payload":"a"}]}`, nil, badValue},
		{"portalid of other digits", `{"items":[{"portalid":"٣","payload":"a"}]}`, nil, badValue},
		{"the second is bad", `{"items":[{"portalid":"p","payload":"a"},{"portalid":"_","payload":"a"}]}`, nil, badValue},
		{
			"a bad value before bad text", `{"items":[{"portalid":"_","payload":"a"},{"portalid":"p","payload":5}]}`,
			nil, badText,
		},
		{"an empty list before bad text", `{"items":[]}x`, nil, badText},
	}
	var s wire.Set // is used again and again
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Decode([]byte(tt.body))
			if got := verdict(err); got != tt.verdict {
				t.Fatalf("got verdict %q (%v), want %q", got, err, tt.verdict)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, setItems(&s)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestGetDecode(t *testing.T) {
	want := func(portals ...wire.Portal) wire.Get {
		return wire.Get{Portals: portals, Mode: "probe", Schedule: "LIFO", Cutoff: -1}
	}
	p := wire.Portal{ID: "p"}
	tests := []struct {
		name, body string
		want       wire.Get
		verdict    string
	}{
		{
			"aiohttp", `{"portals": [{"portalid": "p"}], "mode": "stream"}`,
			wire.Get{Portals: []wire.Portal{p}, Mode: "stream", Schedule: "LIFO", Cutoff: -1},
			good,
		},
		{
			"everything",
			`{"portals": [{"portalid": "p", "servertimestamp": 9}], "mode": "watch", "schedule": "FIFO", "cutoff": 500}`,
			wire.Get{Portals: []wire.Portal{{ID: "p", Since: 9}}, Mode: "watch", Schedule: "FIFO", Cutoff: 500},
			good,
		},
		{
			"defaults spelled out", `{"portals":[{"portalid":"p"}],"mode":"probe","schedule":"LIFO","cutoff":-1}`,
			want(p), good,
		},
		{"all portals", `{"portals": []}`, want(), good},
		{"null", `{"portals": null}`, want(), good},
		{"several", `{"portals":[{"portalid":"p"},{"portalid":"q"}]}`, want(p, wire.Portal{ID: "q"}), good},
		{
			"a portal twice", `{"portals":[{"portalid":"p"},{"portalid":"q"},{"portalid":"p"}]}`,
			want(p, wire.Portal{ID: "q"}), good,
		},
		{
			"a portal twice, two bounds",
			`{"portals":[{"portalid":"p","servertimestamp":9},{"portalid":"p","servertimestamp":7}]}`,
			want(wire.Portal{ID: "p", Since: 7}), good,
		},
		{"a portal twice, one bound", `{"portals":[{"portalid":"p","servertimestamp":9},{"portalid":"p"}]}`, want(p), good},
		{"unquoted", `{portals:[{portalid:p}],mode:probe,schedule:LIFO}`, want(p), good},
		{"mode first", `{"cutoff":0,"mode":"watch","portals":[]}`, wire.Get{Mode: "watch", Schedule: "LIFO"}, good},
		{"cutoff -0", `{"portals":[],"cutoff":-0}`, wire.Get{Mode: "probe", Schedule: "LIFO"}, good},
		{
			"the least cutoff", `{"portals":[],"cutoff":-9223372036854775808}`,
			wire.Get{Mode: "probe", Schedule: "LIFO", Cutoff: math.MinInt64},
			good,
		},

		{"no portals", `{"mode":"probe"}`, wire.Get{}, badText},
		{"empty object", `{}`, wire.Get{}, badText},
		{"empty body", ``, wire.Get{}, badText},
		{"null body", `null`, wire.Get{}, badText},
		{"portals is a text", `{"portals":"p"}`, wire.Get{}, badText},
		{"portals is a word", `{"portals":nullx}`, wire.Get{}, badText},
		{"portals are texts", `{"portals":["p"]}`, wire.Get{}, badText},
		{"a portal is null", `{"portals":[null]}`, wire.Get{}, badText},
		{"a portal without an id", `{"portals":[{}]}`, wire.Get{}, badText},
		{"id is a number", `{"portals":[{"portalid":7}]}`, wire.Get{}, badText},
		{"id is an unquoted number", `{portals:[{portalid:7}]}`, wire.Get{}, badText},
		{"id twice", `{"portals":[{"portalid":"p","portalid":"p"}]}`, wire.Get{}, badText},
		{"bound twice", `{"portals":[{"portalid":"p","servertimestamp":1,"servertimestamp":1}]}`, wire.Get{}, badText},
		{"payload in a portal", `{"portals":[{"portalid":"p","payload":"a"}]}`, wire.Get{}, badText},
		{"portals twice", `{"portals":[],"portals":[]}`, wire.Get{}, badText},
		{"mode twice", `{"portals":[],"mode":"probe","mode":"probe"}`, wire.Get{}, badText},
		{"schedule twice", `{"portals":[],"schedule":"LIFO","schedule":"LIFO"}`, wire.Get{}, badText},
		{"cutoff twice", `{"portals":[],"cutoff":1,"cutoff":1}`, wire.Get{}, badText},
		{"misspelt name", `{"portals":[],"shedule":"FIFO"}`, wire.Get{}, badText},
		{"name in another case", `{"portals":[],"Mode":"probe"}`, wire.Get{}, badText},
		{"mode is null", `{"portals":[],"mode":null}`, wire.Get{}, badText},
		{"mode is a number", `{"portals":[],"mode":1}`, wire.Get{}, badText},
		{"cutoff is a text", `{"portals":[],"cutoff":"1"}`, wire.Get{}, badText},
		{"cutoff is a word", `{"portals":[],"cutoff":x}`, wire.Get{}, badText},
		{"cutoff is a fraction", `{"portals":[],"cutoff":1.0}`, wire.Get{}, badText},
		{"cutoff has an exponent", `{"portals":[],"cutoff":1e3}`, wire.Get{}, badText},
		{"cutoff has a plus", `{"portals":[],"cutoff":+1}`, wire.Get{}, badText},
		{"cutoff has a leading zero", `{"portals":[],"cutoff":01}`, wire.Get{}, badText},
		{"cutoff has a leading zero behind the minus", `{"portals":[],"cutoff":-01}`, wire.Get{}, badText},
		{"cutoff has an underscore", `{"portals":[],"cutoff":1_000}`, wire.Get{}, badText},
		{"cutoff is hexadecimal", `{"portals":[],"cutoff":0x10}`, wire.Get{}, badText},
		{"cutoff is too large", `{"portals":[],"cutoff":9223372036854775808}`, wire.Get{}, badText},
		{"cutoff is a dash", `{"portals":[],"cutoff":-}`, wire.Get{}, badText},
		{"something behind", `{"portals":[]} []`, wire.Get{}, badText},
		{"deep", deep(100_000), wire.Get{}, badText},

		{"unknown mode", `{"portals":[],"mode":"peek"}`, wire.Get{}, badValue},
		{"mode in another case", `{"portals":[],"mode":"Probe"}`, wire.Get{}, badValue},
		{"empty mode", `{"portals":[],"mode":""}`, wire.Get{}, badValue},
		{"unknown schedule", `{"portals":[],"schedule":"lifo"}`, wire.Get{}, badValue},
		{"bad id", `{"portals":[{"portalid":"a-b"}]}`, wire.Get{}, badValue},
		{"empty id", `{"portals":[{"portalid":""}]}`, wire.Get{}, badValue},
		{"id of 33", `{"portals":[{"portalid":"` + strings.Repeat("a", 33) + `"}]}`, wire.Get{}, badValue},
		{"a bad value and bad text", `{"portals":[],"mode":"peek","cutoff":true}`, wire.Get{}, badText},
		{"a bad value and a missing name", `{"mode":"peek"}`, wire.Get{}, badText},
	}
	var g wire.Get // is used again and again
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := g.Decode([]byte(tt.body))
			if got := verdict(err); got != tt.verdict {
				t.Fatalf("got verdict %q (%v), want %q", got, err, tt.verdict)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, g); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestMistakeText(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	tests := []struct {
		name, body, want string
		set              bool
	}{
		{"type", `{"items":[{"portalid":"p","payload":5}]}`, "payload: a text is wanted at byte 36, not a number", true},
		{"null", `{"items":[{"portalid":"p","payload":null}]}`, "payload: a text is wanted at byte 36, not null", true},
		{"end", `{"items":[{"portalid":"p","payload":`, "payload: a text is wanted at byte 36, and the text ends", true},
		{"value", `{"items":[{"portalid":"a-b","payload":"5"}]}`, "items[0].portalid: letters and digits only", true},
		{"name", `{"itemz":[]}`, `unknown name "itemz"; a set has items`, true},
		{"long name", `{"` + long + `":[]}`, `unknown name "` + strings.Repeat("ü", 20) + `"; a set has items`, true},
		{
			"large number", `{"portals":[],"cutoff":99999999999999999999}`,
			"cutoff: a whole number of 64 bits is wanted at byte 23", false,
		},
		{"leading zero", `{"portals":[],"cutoff":-01}`, "cutoff: a whole number of 64 bits is wanted at byte 23", false},
		{"mode", `{"portals":[],"mode":"peek"}`, "mode: one of probe, watch, stream is wanted", false},
		{"twice", `{"portals":[],"portals":[]}`, "portals: it is there twice", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decode := new(wire.Get).Decode
			if tt.set {
				decode = new(wire.Set).Decode
			}
			err := decode([]byte(tt.body))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	if wire.IsValue(nil) {
		t.Error("nil is about a value")
	}
	if err := fmt.Errorf("more: %w", &wire.Mistake{Value: true}); !wire.IsValue(err) {
		t.Error("a wrapped mistake is not found")
	}
}

func TestDecodeTexts(t *testing.T) {
	tests := []struct {
		name, body string
		required   int
		want       []string
		verdict    string
	}{
		{"login", `{"accountid": "AC1", "apikey": "kkk"}`, 2, []string{"AC1", "kkk"}, good},
		{"another order", `{"apikey":"kkk","accountid":"AC1"}`, 2, []string{"AC1", "kkk"}, good},
		{"as documented", `{accountid:AC0987654321012345,"apikey":"xxx"}`, 2, []string{"AC0987654321012345", "xxx"}, good},
		{"empty texts", `{"accountid":"","apikey":""}`, 2, []string{"", ""}, good},
		{"optional and absent", `{"accountid":"a"}`, 1, []string{"a", ""}, good},
		{"optional and there", `{"apikey":"k","accountid":"a"}`, 1, []string{"a", "k"}, good},
		{"only the optional", `{"apikey":"k"}`, 1, nil, badText},
		{"missing", `{"accountid":"AC1"}`, 2, nil, badText},
		{"empty object", `{}`, 2, nil, badText},
		{"empty body", ``, 2, nil, badText},
		{"a list", `["AC1","k"]`, 2, nil, badText},
		{"unknown", `{"accountid":"AC1","apikey":"k","x":"y"}`, 2, nil, badText},
		{"twice", `{"accountid":"AC1","apikey":"k","apikey":"k"}`, 2, nil, badText},
		{"a number", `{"accountid":"AC1","apikey":5}`, 2, nil, badText},
		{"an unquoted number", `{accountid:AC1,apikey:12345}`, 2, nil, badText},
		{"null", `{"accountid":"AC1","apikey":null}`, 2, nil, badText},
		{"an object", `{"accountid":"AC1","apikey":{}}`, 2, nil, badText},
		{"something behind", `{"accountid":"AC1","apikey":"k"},`, 2, nil, badText},
		{"invalid UTF-8", "{\"accountid\":\"\xff\",\"apikey\":\"k\"}", 2, nil, badText},
		{"deep", `{"accountid":` + deep(100_000) + `}`, 2, nil, badText},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeTexts([]byte(tt.body), tt.required, "accountid", "apikey")
			if v := verdict(err); v != tt.verdict {
				t.Fatalf("got verdict %q (%v), want %q", v, err, tt.verdict)
			}
			if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// answer is a [wire.Answer] that shows.
type answer struct {
	Items           []item
	ServerTimestamp int64
	Places          map[string]wire.Place
	Failure         *wire.Failure
}

type item struct {
	PortalID, Payload string
	ServerTimestamp   int64
}

func show(a *wire.Answer) answer {
	s := answer{ServerTimestamp: a.ServerTimestamp, Failure: a.Failure}
	if len(a.Places) > 0 {
		s.Places = maps.Clone(a.Places)
	}
	for _, i := range a.Items {
		s.Items = append(s.Items, item{string(i.PortalID), string(i.Payload), i.ServerTimestamp})
	}
	return s
}

func TestAnswerDecode(t *testing.T) {
	tests := []struct {
		name, text string
		want       answer
		verdict    string
	}{
		{
			"items",
			`{"items":[{"portalid":"a","payload":"2","servertimestamp":1795327834812},{"portalid":"a","payload":"1","servertimestamp":1795327834812}]}`,
			answer{Items: []item{{"a", "2", 1795327834812}, {"a", "1", 1795327834812}}},
			good,
		},
		{
			"a line", "{\"items\":[{\"portalid\":\"a\",\"payload\":\"\",\"servertimestamp\":1}]}\n",
			answer{Items: []item{{"a", "", 1}}},
			good,
		},
		{
			"escapes", `{"items":[{"portalid":"a","payload":"h\u00e9 \ud83d\ude00\n","servertimestamp":1}]}`,
			answer{Items: []item{{"a", "hé 😀\n", 1}}},
			good,
		},
		{"nothing", `{}`, answer{}, good},
		{"no items", `{"items":[]}`, answer{}, good},
		{"null items", `{"items":null}`, answer{}, good},
		{"no error", `{"error":null,"servertimestamp":5}`, answer{ServerTimestamp: 5}, good},
		{"timestamp", `{"servertimestamp":1795327834800}`, answer{ServerTimestamp: 1795327834800}, good},
		{
			"places",
			`{"items":[{"portalid":"a","payload":"2","servertimestamp":3}],"places":{"a":{"life":5,"number":7,"x":[]}}}`,
			answer{Items: []item{{"a", "2", 3}}, Places: map[string]wire.Place{"a": {Life: 5, Number: 7}}},
			good,
		},
		{"no places", `{"places":{}}`, answer{}, good},
		{
			"error", `{"error":{"errorgroup":2,"errorcode":10011,"errormessage":"Server session denied"}}`,
			answer{Failure: &wire.Failure{Group: 2, Code: 10011, Message: "Server session denied"}},
			good,
		},
		{
			"unknown names", `{"a":[1,-2.5e+3,1E5,{"b":[null,true,false,"\u0041"]}],"servertimestamp":5,"c":{}}`,
			answer{ServerTimestamp: 5},
			good,
		},
		{
			"unknown names in an item", `{"items":[{"id":[[]],"portalid":"a","payload":"2","servertimestamp":3}]}`,
			answer{Items: []item{{"a", "2", 3}}},
			good,
		},
		{
			"unknown names in an error", `{"error":{"errorcode":20,"hint":{"a":1}}}`,
			answer{Failure: &wire.Failure{Code: 20}},
			good,
		},
		{"names in another case", `{"Items":[1],"Places":"x"}`, answer{}, good},
		{"nested", `{"x":` + deep(60) + `}`, answer{}, good},

		{"nested too deep", `{"x":` + deep(100_000) + `}`, answer{}, badText},
		{
			"objects nested too deep", `{"x":` + strings.Repeat(`{"x":`, 100_000) + `1` + strings.Repeat(`}`, 100_001),
			answer{},
			badText,
		},
		{"empty", ``, answer{}, badText},
		{"blank line", "\n", answer{}, badText},
		{"HTML", `<html></html>`, answer{}, badText},
		{"a list", `[]`, answer{}, badText},
		{"null", `null`, answer{}, badText},
		{"two lines", "{}\n{}\n", answer{}, badText},
		{"cut", `{"items":[{"portalid":"a","payload":"2","servertimest`, answer{}, badText},
		{"unquoted name", `{items:[]}`, answer{}, badText},
		{"unquoted value", `{"items":[{"portalid":a,"payload":"2"}]}`, answer{}, badText},
		{"unquoted value of an unknown name", `{"x":abc}`, answer{}, badText},
		{"a bad number of an unknown name", `{"x":01}`, answer{}, badText},
		{"a plus of an unknown name", `{"x":+1}`, answer{}, badText},
		{"two numbers of an unknown name", `{"x":1-1}`, answer{}, badText},
		{"no value of an unknown name", `{"x":}`, answer{}, badText},
		{"payload is null", `{"items":[{"portalid":"a","payload":null,"servertimestamp":1}]}`, answer{}, badText},
		{"payload is a number", `{"items":[{"portalid":"a","payload":1,"servertimestamp":1}]}`, answer{}, badText},
		{"no payload", `{"items":[{"portalid":"a","servertimestamp":1}]}`, answer{}, badText},
		{"no portalid", `{"items":[{"payload":"a","servertimestamp":1}]}`, answer{}, badText},
		{"an item is null", `{"items":[null]}`, answer{}, badText},
		{"timestamp is a text", `{"servertimestamp":"5"}`, answer{}, badText},
		{"timestamp is null", `{"servertimestamp":null}`, answer{}, badText},
		{"error is a text", `{"error":"no"}`, answer{}, badText},
		{"invalid UTF-8", "{\"items\":[{\"portalid\":\"a\",\"payload\":\"\xff\",\"servertimestamp\":1}]}", answer{}, badText},
		{"invalid UTF-8 of an unknown name", "{\"x\":\"\xff\"}", answer{}, badText},
	}
	var a wire.Answer // is used again and again
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := a.Decode([]byte(tt.text))
			if got := verdict(err); got != tt.verdict {
				t.Fatalf("got verdict %q (%v), want %q", got, err, tt.verdict)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, show(&a)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What was decoded stays when memory grows, and the input is not changed.
func TestDecodeAliases(t *testing.T) {
	body := wire.AppendSet(nil)
	for i := range 1000 {
		body = wire.AppendSetItem(body, "p", fmt.Sprintf("\n%d", i))
	}
	body = wire.AppendSetEnd(body)
	before := bytes.Clone(body)
	var s wire.Set
	for range 2 {
		if err := s.Decode(body); err != nil {
			t.Fatal(err)
		}
		for i, it := range s.Items {
			if got, want := unwrite(it.Text), fmt.Sprintf("\n%d", i); got != want {
				t.Fatalf("item %d: got %q, want %q", i, got, want)
			}
			_ = append(it.Text, "overwritten?"...) // must not reach the next one
		}
	}
	if !bytes.Equal(body, before) {
		t.Error("the body was changed")
	}
}

func TestDecodeAllocates(t *testing.T) {
	for name, payload := range benchTexts() {
		t.Run(name, func(t *testing.T) {
			body, line := appendBenchSet(nil, payload), appendBenchAnswer(nil, payload)
			var s wire.Set
			var a wire.Answer
			decode := func() {
				if err := s.Decode(body); err != nil {
					t.Fatal(err)
				}
				if err := a.Decode(line); err != nil {
					t.Fatal(err)
				}
			}
			decode()
			if got := testing.AllocsPerRun(100, decode); got != 0 {
				t.Errorf("got %v allocations, want none", got)
			}
		})
	}
}
