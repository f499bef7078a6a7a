package jsonfield_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/xrtcbridge/xrtcbridge/bridge/jsonfield"
)

func TestSet(t *testing.T) {
	for _, c := range []struct{ document, path, want string }{
		{`{"b":1.10,"a":2}`, ".a", `{"b":1.10,"a":0}`},
		{`{"b":1.10, "a" : [1, 2] }`, ".a", `{"b":1.10, "a" : 0 }`},
		{`{}`, ".a", `{"a":0}`},
		{" {\n} \n", ".a", " {\"a\":0} \n"},
		{`{"big":12345678901234567890123}`, ".a", `{"big":12345678901234567890123,"a":0}`},
		{`{"b":1 }`, ".a", `{"b":1,"a":0}`},
		{`{"b":{"c":1}}`, ".b.a", `{"b":{"c":1,"a":0}}`},
		{`{"b":1}`, ".x.y.z", `{"b":1,"x":{"y":{"z":0}}}`},
		{`{"b":[1,2]}`, ".b[1]", `{"b":[1,0]}`},
		{`{"b":{"c":1}}`, ".b.x.y", `{"b":{"c":1,"x":{"y":0}}}`},
		{`{"b":[]}`, ".b[0][0].x", `{"b":[[{"x":0}]]}`},
		{`{"b":[1,2]}`, ".b[2]", `{"b":[1,2,0]}`},
		{`{"b":1}`, ".l[0].x", `{"b":1,"l":[{"x":0}]}`},
		{`[{"a":1}]`, "[0].a", `[{"a":0}]`},
		{`{"a.b":1}`, `["a.b"]`, `{"a.b":0}`},
		{`{"b":1}`, `["a.b*"]`, `{"b":1,"a.b*":0}`},
		{`{"b":1}`, `["ü\"\\"]`, `{"b":1,"ü\"\\":0}`},
		{`{"a\\b":1}`, `["a\\\\b"]`, `{"a\\b":1,"a\\\\b":0}`},
		{`{"a\n":1}`, `["a\\n"]`, `{"a\n":1,"a\\n":0}`},
		{`{"b":1}`, `["0"]`, `{"b":1,"0":0}`},
		{`{"b":{}}`, `.b["7"].x`, `{"b":{"7":{"x":0}}}`},
		{`{"b":1}`, `[":x"]`, `{"b":1,":x":0}`},
		{`{"b":{}}`, `.b[":x"].y`, `{"b":{":x":{"y":0}}}`},
		{`{"@this":1,"#":2,"a|b":3}`, `["#"]`, `{"@this":1,"#":0,"a|b":3}`},
	} {
		p, err := jsonfield.Parse(c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		before := []byte(c.document)
		got, err := p.Set(before, []byte("0"))
		if err != nil || string(got) != c.want || !json.Valid(got) {
			t.Errorf("%s in %s: got %s, %v, want %s", c.path, c.document, got, err, c.want)
		}
		if string(before) != c.document {
			t.Errorf("%s in %s: the document has become %s", c.path, c.document, before)
		}
		if raw, ok := p.Find(got); !ok || raw != "0" {
			t.Errorf("%s is not found in %s", c.path, got)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct{ document, path, want string }{
		{"Online", ".a", "the payload is not JSON"},
		{"", ".a", "the payload is not JSON"},
		{`{"a":1} {"a":2}`, ".a", "the payload is not JSON"},
		{`{"a":1}` + "\n" + `{"a":2}`, ".b", "the payload is not JSON"},
		{`Temp {"a":1}`, ".a", "the payload is not JSON"},
		{`{"a":1,`, ".a", "the payload is not JSON"},
		{"5", ".a", "the payload is a number"},
		{"[]", ".a", "the payload is a list"},
		{"{}", "[0]", "the payload is a mapping"},
		{`{"a":"x"}`, ".a.b", "a is a text"},
		{`{"a":{"b":null}}`, ".a.b.c", "a.b is null"},
		{`{"a":[1]}`, ".a.b", "a is a list"},
		{`{"a":[1]}`, ".a[3]", "a has 1 items"},
		{`{"b":1}`, ".a[1]", "a has no items"},
	} {
		p, err := jsonfield.Parse(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Set([]byte(c.document), []byte("0")); err == nil || err.Error() != c.want {
			t.Errorf("%s in %s: got %s, %v, want error %s", c.path, c.document, got, err, c.want)
		}
	}
}

func TestDelete(t *testing.T) {
	for _, c := range []struct{ document, path, want string }{
		{`{"b":1.10,"a":2}`, ".a", `{"b":1.10}`},
		{`{"a":2, "b":1.10}`, ".a", `{"b":1.10}`},
		{`{"a":1,"b":2,"a":3}`, ".a", `{"b":2}`},
		{`{"b":[1,2,3]}`, ".b[0]", `{"b":[2,3]}`},
		{`{"b":[1,2,3]}`, ".b[2]", `{"b":[1,2]}`},
		{`{ "a" : 2 }`, ".a", `{  }`},
		{`{"a":2}`, ".a", `{}`},
		{`{"b":1}`, ".a", `{"b":1}`},
		{`{"b":1}`, ".a.c", `{"b":1}`},
		{`{"b":{"c":1,"d":2}}`, ".b.c", `{"b":{"d":2}}`},
		{`{"b":[1,2,3]}`, ".b[1]", `{"b":[1,3]}`},
		{`{"a.b":1,"c":2}`, `["a.b"]`, `{"c":2}`},
		{`{"x":1,"a\"b":1,"c":2}`, `["a\"b"]`, `{"x":1,"c":2}`},
		{`{"x":1,"a\\":1,"c":2}`, `["a\\"]`, `{"x":1,"c":2}`},
		{`{"x":"\"","a":1,"c":2}`, `.a`, `{"x":"\"","c":2}`},
		{`{"x":{"y":"}","a":0},"a":1,"c":2}`, `.a`, `{"x":{"y":"}","a":0},"c":2}`},
		{`{"x":{"y":"\"}","a":0},"a":1,"c":2}`, `.a`, `{"x":{"y":"\"}","a":0},"c":2}`},
		{`{"x":{"y":{},"a":0},"a":1,"c":2}`, `.a`, `{"x":{"y":{},"a":0},"c":2}`},
		{`{"x":["]",{"a":[0]}],"a":1,"c":2}`, `.a`, `{"x":["]",{"a":[0]}],"c":2}`},
		{`{"a":{"b":1},"a":{"b":2,"c":3}}`, ".a.b", `{"a":{},"a":{"c":3}}`},
		{` {"a":1, "a":2, "c":3, "a":4, "a":5}`, ".a", ` {"c":3}`},
		{`{"a":1,"\u0061":2}`, ".a", `{}`},
		{`{"a":[{"b":1,"b":2},3],"a":[{"c":1,"b":2}]}`, ".a[0].b", `{"a":[{},3],"a":[{"c":1}]}`},
	} {
		p, err := jsonfield.Parse(c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if got, err := p.Delete([]byte(c.document)); err != nil || string(got) != c.want {
			t.Errorf("%s in %s: got %s, %v, want %s", c.path, c.document, got, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, path := range []string{
		"", ".", "..a", ".a.", "[", "[]", "[-1]", "[x]", `["a]`, `[""]`, `["a"`, "a", ".a]",
		".a[1", ".a[1]b",
	} {
		if p, err := jsonfield.Parse(path); err == nil {
			t.Errorf("%s is taken: %v", path, p)
		}
	}
}

// TestDeleteOfMany is of a message that has one key very often: with a copy of the document for
// each, one of a MiB would take minutes.
func TestDeleteOfMany(t *testing.T) {
	p, err := jsonfield.Parse(".a")
	if err != nil {
		t.Fatal(err)
	}
	document := []byte("{" + strings.Repeat(`"a":1,`, 10_000) + `"b":2}`)
	allocs := testing.AllocsPerRun(1, func() {
		if got, err := p.Delete(document); err != nil || string(got) != `{"b":2}` {
			t.Fatalf("got %s, %v", got, err)
		}
	})
	if allocs > 100 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzSet sets and deletes any key of any document, against encoding/json.
func FuzzSet(f *testing.F) {
	for _, document := range []string{`{"a":1}`, `{"a":{"b":[1,{}]}}`, `{}`, ` {"x" : "\"" }`, `{"a\\":1,"b":2}`, `[1]`} {
		f.Add([]byte(document), "a")
		f.Add([]byte(document), `a\`)
	}
	f.Fuzz(func(t *testing.T, document []byte, key string) {
		var before map[string]any
		p, ok := jsonfield.New(key)
		if !ok || json.Unmarshal(document, &before) != nil || before == nil || !utf8.ValidString(key) ||
			!utf8.Valid(document) || twice(document) {
			return // no mapping, or none whose fields are all different
		}
		got, err := p.Set(document, []byte(`"new"`))
		if err != nil {
			t.Fatal(err)
		}
		before[key] = "new"
		var after map[string]any
		if err := json.Unmarshal(got, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("set %q in %q: %q, %v", key, document, got, err)
		}
		if got, err = p.Delete(got); err != nil {
			t.Fatal(err)
		}
		delete(before, key)
		after = nil
		if err := json.Unmarshal(got, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("delete %q from %q: %q, %v", key, document, got, err)
		}
	})
}

// FuzzFind finds any field of any document, against a walk through all entries.
func FuzzFind(f *testing.F) {
	for _, path := range []string{
		".a", ".a.b", ".a[1]", "[0].a", `["a\\"]`, `["\"a"]`, `["ü"]`, "[1][0]", ".b",
		`["a:"]`,
	} {
		for _, document := range []string{
			`{"a":1}`, `{"x":"a","a":{"b":[1,{}]}}`, ` { "x" : [ "a" , 1 ] , "a" : [ 1 , "]" ] } `,
			`[[],[{"a":"}"}]]`, `[{"a":-1.5e3},[null]]`,
			`{"a\\":1,"\"a":{"b":2},"\u0061":[3,true],"\u00fc":4}`, `{"x":"\\\"a\":1","a":2,"a":{"b":3}}`,
			`{"a":1} {"a":2}`, `{"a":1`, `{"a" 1}`,
			`{"long text, eight bytes and more":"one \" and more of it \\","a":"12345678"}`, `{"a":{"b":tru}}`,
			`{"a":01}`, `"a"`, `{}`, ``, `{"a:":1}`,
		} {
			f.Add([]byte(document), path)
		}
	}
	f.Fuzz(func(t *testing.T, document []byte, text string) {
		path, err := jsonfield.Parse(text)
		if err != nil || !utf8.Valid(document) || !utf8.ValidString(text) {
			return
		}
		got, ok := path.Find(document)
		if !json.Valid(document) {
			return // that it comes back is enough
		}
		want := gjson.ParseBytes(document)
		for _, key := range keys(text) {
			here := want
			want = gjson.Result{}
			n := 0
			here.ForEach(func(k, v gjson.Result) bool {
				found := here.IsObject() && any(k.String()) == key || here.IsArray() && any(n) == key
				if n++; found {
					want = v
				}
				return !found
			})
		}
		if ok && got != want.Raw {
			t.Fatalf("%s of %q is %q, want %q", text, document, got, want.Raw)
		}
		if changed, err := path.Set(document, []byte(`"new"`)); err == nil {
			if again, ok := path.Find(changed); !json.Valid(changed) || ok && again != `"new"` ||
				!ok && bytes.IndexByte(changed, '}') < 0 {
				t.Fatalf("%s set in %q: %q", text, document, changed)
			}
		} else if want.Exists() {
			t.Fatalf("%s set in %q: %v", text, document, err)
		}
		if changed, err := path.Delete(document); err != nil || !json.Valid(changed) ||
			want.Exists() && bytes.Equal(changed, document) {
			t.Fatalf("%s deleted from %q: %q, %v", text, document, changed, err)
		}
	})
}

// keys returns the keys and indices of a path that is one.
func keys(path string) (all []any) {
	for _, m := range regexp.MustCompile(
		`\.([^.[]+)|\[(\d+|\+\d+|-0)\]|\[("(?:[^"\\]|\\.)*")\]`).FindAllStringSubmatch(path, -1) {
		switch {
		case m[1] != "":
			all = append(all, m[1])
		case m[2] != "":
			n, _ := strconv.Atoi(m[2])
			all = append(all, n)
		default:
			key, _ := strconv.Unquote(m[3])
			all = append(all, key)
		}
	}
	return all
}

// twice reports whether the outermost mapping has a key more than once.
func twice(document []byte) bool {
	d := json.NewDecoder(bytes.NewReader(document))
	seen := make(map[string]bool)
	if _, err := d.Token(); err != nil {
		return true
	}
	for d.More() {
		key, _ := d.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if !ok || seen[name] || d.Decode(&value) != nil {
			return true
		}
		seen[name] = true
	}
	return false
}
