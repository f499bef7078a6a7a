package expr

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// An expression that reads fields has the same value as one that parses the whole payload.
func TestFieldsAreThoseOfTheWhole(t *testing.T) {
	payloads := []string{
		`{"a":1,"b":{"c":[1,2.5,{"d":"x"}]},"s":"a\"\u00e9\n","n":null,"t":true,"f":false,"big":12345678901234567890123}`,
		` {"a" : 1.10 } `, `{"a":-0,"b":1e400}`, `{"a":"1","b":[]}`, `{"a":[1,[2,3]]}`, `{"":1,"a":{"":2}}`,
		`{"a.b":1,"a*":2,"a#":3,"@a":4,"a|b":5,"a\\":6,"0":7,":a":8}`, `[1,{"a":2}]`, `[]`, `{}`,
		`Online`, ``, `5`, `"a"`, `null`, `{"a":1} {"a":2}`, "{\"a\":1}\n{\"a\":2}", `{"a":1}{"b":2}`, `x {"a":1}`,
		`{"a":1,`, `{"a":1}x`,
		`[1][2]`, `{"b":"} {","a":1}`, `{"a":00}`, `{"a":1.}`, `{"a":+1}`,
	}
	for _, text := range []string{
		"json.a", "json.b", "json.b.c", "json.b.c[2].d", "json.b.c[1]", "json.b.c[-1].d", "json.s", "json.n",
		"json.t && !json.f",
		"json.big", "json.a + 1", "json.a > 0 ? json.b.c : json.s", "json.nix ?? 'none'", "json.nix.deep", "json?.nix?.deep",
		"json.b?.c", `json["a.b"]`, `json["a*"]`, `json["a#"]`, `json["@a"]`, `json["a|b"]`, `json["a\\"]`,
		`json["0"]`, "json[0]", "json[1].a",
		`json[":a"]`, `json[""]`, "json", "json.a == json.b", "filter(json.a, # == 1)", "json.b.c | len()",
		"'a' in json", "json[topic]",
	} {
		p, err := compile(Part{Text: text, Code: true})
		if err != nil {
			t.Fatal(text, err)
		}
		whole := &program{source: p.source, code: p.code}
		whole.pool.New = func() any { return &machine{env: make(map[string]any)} }
		for _, payload := range payloads {
			m := &bridge.Message{Topic: "a", Payload: []byte(payload)}
			got, err := p.run(m, 1)
			want, wantErr := whole.run(m, 1)
			if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				// Only what stands behind a field may be wrong without being noticed.
				if json.Valid(m.Payload) || wantErr == nil {
					t.Errorf("%s of %q: got %v, %v, want %v, %v", text, payload, got, err, want, wantErr)
				} else {
					t.Logf("%s of %q: got %v, though it is not JSON", text, payload, got)
				}
			}
		}
	}
}
