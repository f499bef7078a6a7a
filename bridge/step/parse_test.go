package step_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
)

// build opens a step as YAML has it, with those that parse, format and split.
func build(t testing.TB, yaml string) (s bridge.Step, err error) {
	t.Helper()
	all, err := endpoints(yaml)
	for _, e := range all {
		if s, err = e.Open(t.Context(), bridgetest.Env(t, "p-step")); err != nil {
			return nil, err
		}
	}
	return s, err
}

// endpoints returns the steps of a pipeline, or of a file with pipelines.
func endpoints(yaml string) (all []bridge.Endpoint[bridge.Step], err error) {
	end := bridge.Connector{
		Name: "stdio",
		Source: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Source, error) {
			return nil, errors.New("not opened here")
		}),
		Sink: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Sink, error) {
			return nil, errors.New("not opened here")
		}),
	}
	registry := bridge.NewRegistry(step.Parse(), step.Format(), step.Decode(), step.Encode(), step.Split(), step.JQ(),
		step.Schema(), end)
	text := yaml
	if !strings.Contains(yaml, "pipelines:") {
		text = "pipelines: {p: {from: stdio, steps: [{" + yaml + "}], to: stdio}}"
	}
	c, err := config.Loader{Registry: registry}.Parse("p.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	for _, p := range c.Pipelines {
		all = append(all, p.Steps...)
	}
	return all, nil
}

func process(t testing.TB, yaml string, in ...bridge.Message) bridge.Outcome {
	t.Helper()
	s, err := build(t, yaml)
	if err != nil {
		t.Fatalf("%s: %v", yaml, err)
	}
	defer func() { _ = s.Close() }()
	o, err := new(bridge.StepRunner).Process(t.Context(), s, 1, in, false)
	if err != nil {
		t.Fatalf("%s: %v", yaml, err)
	}
	return *o
}

// TestText has for each step what becomes of a payload: the payloads, or why it is refused, which
// begins with !.
func TestText(t *testing.T) {
	at := time.Date(2026, 1, 3, 4, 5, 6, 7000, time.UTC)
	for _, c := range []struct {
		step, in string
		want     []string
	}{
		{"parse: json", " {\"b\": 1.50, \"a\":12345678901234567890}\n", []string{`{"b": 1.50, "a":12345678901234567890}`}},
		{"parse: json", "{\"b\":\n 1e999}", []string{`{"b":1e999}`}},
		{"parse: json", "{\"b\":\n xyz}", []string{`!parse json: line 2, column 2: is not JSON from here on`}},
		{"parse: json", "  ", []string{`!parse json: line 1, column 1: is empty, where JSON is wanted`}},
		{"parse: json", "\"\xff\"", []string{`!parse json: it is not UTF-8, which JSON must be`}},
		{"parse: ndjson", "1\n\"\xff\"", []string{`!parse ndjson: line 2: it is not UTF-8, which JSON must be`}},
		{"decode: json", "\"\xff\"", []string{`!decode: json: it is not a JSON string`}},
		{"parse: ndjson", "1\n\n{\"a\":2}\r\n", []string{`[1,{"a":2}]`}},
		{"parse: ndjson", "1\n{\"a\"}", []string{`!parse ndjson: line 2, column 5: is not JSON from here on`}},
		{"parse: lines", "a \"b\"\r\n\nc\n", []string{`["a \"b\"","","c"]`}},
		{"parse: lines", "", []string{`[]`}},
		{"parse: lines", "\xff", []string{`!parse lines: line 1: is not UTF-8, which JSON must be`}},

		{
			"parse: csv", "b,a\n1,007\n\"x \"\"y\"\"\nz\",é\r\n",
			[]string{`[{"b":"1","a":"007"},{"b":"x \"y\"\nz","a":"é"}]`},
		},
		{"parse: csv", "\xef\xbb\xbfa\n", []string{`[]`}},
		{"parse: csv", "", []string{`[]`}},
		{"parse: csv", "a,b\n1,2\n\n3", []string{`!parse csv: line 4, column 2: there are values for 1 of 2 columns`}},
		{"parse: csv", "a,b\n1,2,3", []string{`!parse csv: line 2, column 5: there are more values than the 2 columns`}},
		{"parse: csv", "a,b\n1,x\"y\"", []string{
			`!parse csv: line 2, column 4: a quote stands within a value that does not begin with one; quotes: false allows it`,
		}},
		{
			"parse: csv", "a,b\n\"1\"x,2",
			[]string{`!parse csv: line 2, column 4: something stands between the end of a quoted value and the delimiter`},
		},
		{"parse: csv", "a,b\n1,\"x", []string{`!parse csv: line 2, column 3: the quote that begins here has no end`}},
		{"parse: csv", "a,b\n1,\xff", []string{`!parse csv: line 2, column 3: the value is not UTF-8, which JSON must be`}},
		{
			"parse: csv", "a,a\n1,2",
			[]string{`!parse csv: the row in line 1 has the name of column 2 twice; the setting columns names them otherwise`},
		},
		{"parse: {format: csv, quotes: false}", "a,b\n\"1,x\"y", []string{`[{"a":"\"1","b":"x\"y"}]`}},
		{`parse: {format: csv, delimiter: "\t", types: auto}`, "a\tb\tc\td\te\n-1.50\t007\ttrue\t\t\"1\"", []string{
			`[{"a":-1.50,"b":"007","c":true,"d":"","e":"1"}]`,
		}},
		{
			"parse: {format: csv, columns: [t, n], types: {number: [n]}}", "1,12345678901234567890.10\n",
			[]string{`{"t":"1","n":12345678901234567890.10}`},
		},
		{"parse: {format: csv, columns: [t, n], types: {number: [n], bool: [t]}}", `,""`, []string{`{"t":null,"n":null}`}},
		{
			"parse: {format: csv, columns: [t, n], types: {number: [n]}}", "1,x",
			[]string{`!parse csv: column 3: the value is not a number`},
		},
		{
			"parse: {format: csv, columns: [t, n], types: {bool: [n]}}", "1,1",
			[]string{`!parse csv: column 3: the value is neither true nor false`},
		},
		{"parse: {format: csv, columns: [t, n], types: {default: auto, text: [t]}}", "1,1", []string{`{"t":"1","n":1}`}},
		{"parse: {format: csv, columns: [a]}", "1\n2", []string{
			`!parse csv: it has several rows, and columns are for one; split them before, or let the first row name the columns`,
		}},
		{"parse: csv", "a,b\r1,2\r", []string{`!parse csv: the row in line 1 has carriage returns without line feeds, ` +
			`which end no row here; tr '\r' '\n' makes them line feeds`}},
		{"parse: csv", "a,\"b\r\n\"\r\n1,2\r\n", []string{`[{"a":"1","b\n":"2"}]`}},
		{"parse: {format: csv, max_size: 20}", "name\n1\n2\n", []string{`!parse csv: it would become larger than 20B`}},

		{"parse: logfmt", `level=info msg="a \"b\"\n" dur=1.5ms ok n=` + "7 e=\n", []string{
			`{"level":"info","msg":"a \"b\"\n","dur":"1.5ms","ok":true,"n":"7","e":""}`,
		}},
		{"parse: {format: logfmt, types: auto}", `n=7 q="7" b=false`, []string{`{"n":7,"q":"7","b":false}`}},
		{"parse: logfmt", `a=1 a=2`, []string{`!parse logfmt: column 5: the key that begins here stands twice`}},
		{"parse: logfmt", `a="1`, []string{`!parse logfmt: column 3: the quote that begins here has no end`}},
		{"parse: logfmt", `a="\x1b[0m\u00e9\U0001F600\t\a\"" b="\\"`, []string{`{"a":"\u001b[0mé😀\t\u0007\"","b":"\\"}`}},
		{"parse: logfmt", `a="\xff"`, []string{`!parse logfmt: column 3: the value is not UTF-8, which JSON must be`}},
		{"parse: logfmt", `a="\`, []string{`!parse logfmt: column 3: the quote that begins here has no end`}},
		{"parse: logfmt", `a="\x"`, []string{`!parse logfmt: column 4: a \ stands before what it has no meaning for`}},
		{"parse: logfmt", ` =1`, []string{`!parse logfmt: column 2: a value has no key`}},
		{"parse: logfmt", "a=1\nb=2", []string{`!parse logfmt: column 4: a second line begins; split them before`}},
		{"parse: logfmt", "", []string{`!parse logfmt: there is no key`}},
		{
			`parse: {format: key_value, delimiter: ";", assign: ":"}`, `a: x y ; b:"1;2" ;c;`,
			[]string{`{"a":"x y","b":"1;2","c":true}`},
		},

		{"parse: syslog", `<165>1 2003-10-11T22:14:15.003Z host app - ID47 [x@1 a="1" b="]\"" a="2"][y] ` +
			"\xef\xbb\xbfAn é", []string{
			`{"facility":"local4","facility_code":20,"severity":"notice","severity_code":5,"timestamp":"2003-10-11T22:14:15.003Z",` +
				`"hostname":"host","appname":"app","msgid":"ID47","structured_data":{"x@1":{"a":["1","2"],"b":"]\""},"y":{}},"message":"An é"}`,
		}},
		{
			"parse: syslog", `<34>1 - - - - - -`,
			[]string{`{"facility":"auth","facility_code":4,"severity":"crit","severity_code":2}`},
		},
		{"parse: syslog", "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed\n", []string{
			`{"facility":"auth","facility_code":4,"severity":"crit","severity_code":2,"timestamp":"2025-10-11T22:14:15Z",` +
				`"hostname":"mymachine","appname":"su","procid":"12","message":"'su root' failed"}`,
		}},
		{
			"parse: syslog", "Feb 29 22:14:15 h cron: x",
			[]string{`{"timestamp":"2024-02-29T22:14:15Z","hostname":"h","appname":"cron","message":"x"}`},
		},
		{
			"parse: syslog", "Jan  4 04:05:06 h x",
			[]string{`{"timestamp":"2026-01-04T04:05:06Z","hostname":"h","message":"x"}`},
		},
		{
			"parse: syslog", "Jan  4 04:05:07 h x",
			[]string{`{"timestamp":"2025-01-04T04:05:07Z","hostname":"h","message":"x"}`},
		},
		{"parse: syslog", "2025-10-11T22:14:15+02:00 h last message", []string{
			`{"timestamp":"2025-10-11T22:14:15+02:00","hostname":"h","message":"last message"}`,
		}},
		{
			"parse: syslog", "<13>no time",
			[]string{`{"facility":"user","facility_code":1,"severity":"notice","severity_code":5,"message":"no time"}`},
		},
		{"parse: syslog", "no time", []string{`!parse syslog: column 1: neither a priority nor a time stands here`}},
		{"parse: syslog", "<192>x", []string{`!parse syslog: column 1: the priority must be a number from 0 to 191 in < >`}},
		{"parse: syslog", `<34>1 yesterday`, []string{`!parse syslog: column 7: the timestamp must be as in RFC 3339`}},
		{
			"parse: syslog", `<34>1 - - - - - [x a=1]`,
			[]string{`!parse syslog: column 21: a parameter must be name="value", and an element can have 256`},
		},

		{"format: json", "{\"a\":\n1.0}", []string{`{"a":1.0}`}},
		{"format: ndjson", `[1.0, {"a": "b"}]`, []string{"1.0\n{\"a\":\"b\"}"}},
		{"format: ndjson", `[]`, nil},
		{"format: ndjson", `{}`, []string{`!format ndjson: it is an object, and must be an array`}},
		{"format: lines", `["a","b"]`, []string{"a\nb"}},
		{"format: lines", `["a","b\n"]`, []string{`!format lines: element 2 must be a text of one line`}},
		{"format: csv", `{"b":1.50,"a":"x,\"y","c":null,"d":{"e":[1]}}`, []string{`1.50,"x,""y",,"{""e"":[1]}"`}},
		{"format: {format: csv, header: true}", `[{"b":1,"a":2},{"a":3}]`, []string{"b,a\n1,2\n,3"}},
		{"format: {format: csv, columns: [a], delimiter: ;}", `{"b":1,"a":"2;"}`, []string{`"2;"`}},
		{"format: {format: csv, columns: [a]}", `{}`, []string{`""`}},
		{
			"format: csv", `[{"a":1},{"b":2}]`,
			[]string{`!format csv: row 2 has a key that the first one has not; the setting columns names them`},
		},
		{"format: csv", `[]`, nil},
		{"format: csv", `7`, []string{`!format csv: row 1: it is a number, and must be an object`}},
		{
			"format: logfmt", `{"a":"x y","b":1.0,"c":"","d":true,"e":"q\"\n"}`,
			[]string{`a="x y" b=1.0 c="" d=true e="q\"\n"`},
		},
		{
			"format: logfmt", `{"a b":1}`,
			[]string{`!format logfmt: key 1 is empty, or has a character that a key cannot have`},
		},
		{`format: {format: key_value, delimiter: ",", assign: ":"}`, `{"a":"x,y","b":2}`, []string{`a:"x,y",b:2`}},
		{
			"format: syslog",
			`{"severity":"err","appname":"x","structured_data":{"a@1":{"k":["1","]"]}},"message":"hello"}`,
			[]string{
				`<11>1 2026-01-03T04:05:06.000007Z - x - - [a@1 k="1" k="\]"] hello`,
			},
		},
		{"format: syslog", `{"hostname":"a b"}`, []string{`!format syslog: its hostname cannot stand in a line of syslog`}},
		{
			"format: {format: json, max_size: 3}", `[1,2]`,
			[]string{`!format json: it would become larger than max_size, which is 3B`},
		},

		{"encode: base64", "a\xff", []string{"Yf8="}},
		{"encode: hex", "a\xff", []string{"61ff"}},
		{"encode: json", "a\n\"b\x01", []string{`"a\n\"b\u0001"`}},
		{"encode: json", "\xff", []string{"!encode: json: is not UTF-8, which JSON must be"}},
		{"encode: [hex, base64]", "a", []string{"NjE="}},
		{"decode: base64", "Y\nf8", []string{"a\xff"}},
		{"decode: base64", "-_-_", []string{"\xfb\xff\xbf"}},
		{"decode: base64", "a?b=", []string{"!decode: base64: illegal base64 data at input byte 1"}},
		{"decode: hex", " 61FF\n", []string{"a\xff"}},
		{"decode: hex", "6z", []string{"!decode: hex: it is not an even number of digits 0 to f"}},
		{"decode: json", `"a\n"`, []string{"a\n"}},
		{"decode: json", `7`, []string{"!decode: json: it is not a JSON string"}},
		{"decode: gzip", "no", []string{"!decode: gzip: unexpected EOF"}},
		// As zstd writes what comes through a pipe: for a window of 2 MiB, and of 128 MiB with
		// --long=27.
		{
			"decode: {as: zstd, max_size: 1KiB}", "\x28\xb5\x2f\xfd\x04\x58\x41\x00\x00abababab\x18\xd1\xfe\xeb",
			[]string{"abababab"},
		},
		{
			"decode: zstd", "\x28\xb5\x2f\xfd\x04\x88\x51\x00\x00ababababab\x40\x17\xc8\xe2",
			[]string{"!decode: zstd: it was packed with a window that is larger than max_size"},
		},
		{"decode: zstd", "", []string{"!decode: zstd: unexpected EOF"}},
		{"decode: zstd", "nozstd", []string{"!decode: zstd: invalid input: magic number mismatch"}},
		{
			"decode: {as: hex, max_size: 2}", "616161",
			[]string{"!decode: hex: it would become larger than max_size, which is 2B"},
		},

		{"split: array", `[1.0, {"b":2,"a": [1]},"x"]`, []string{`1.0`, `{"b":2,"a": [1]}`, `"x"`}},
		{"split: array", ` [] `, nil},
		{"split: array", `{}`, []string{"!split: it is an object, and must be an array"}},
		{"split: array", "[1,\n2", []string{"!split: line 2, column 1: is not JSON from here on"}},
		{"split: lines", "a\r\n\nb\n", []string{"a", "", "b"}},
		{"split: lines", "", nil},
		{
			"split: {by: lines, max_messages: 2}", "a\nb\nc",
			[]string{"!split: it would become more messages than max_messages, which is 2"},
		},
		{"split: {max_messages: 2}", "[1,2]", []string{"1", "2"}},
		{
			"split: {max_messages: 2}", "[1,2,3]",
			[]string{"!split: it would become more messages than max_messages, which is 2"},
		},
	} {
		header := map[string]string{"k": "v"}
		in := bridge.Message{ID: "id", Topic: "t", Header: header, Time: at, Payload: []byte(c.in)}
		o := process(t, c.step, in, in)
		var got []string
		for i, m := range o.Messages {
			if i < len(o.Messages)/2 {
				got = append(got, string(m.Payload))
			}
			if m.Topic != "t" || m.Header["k"] != "v" || !m.Time.Equal(at) || m.ID == "" {
				t.Errorf("%s: a message lost something: %+v", c.step, m)
			}
		}
		for _, r := range o.Refused[:len(o.Refused)/2] {
			got = append(got, "!"+r.Err.Error())
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s of %q: (-want +got)\n%s", c.step, c.in, d)
		}
		if c.want == nil && len(o.Dropped) != 2 {
			t.Errorf("%s of %q: %d messages are counted as filtered, want 2", c.step, c.in, len(o.Dropped))
		}
		if string(in.Payload) != c.in {
			t.Errorf("%s of %q has changed it to %q", c.step, c.in, in.Payload)
		}
	}
}

func TestSplitNamesMessages(t *testing.T) {
	o := process(t, "split: array", bridge.Message{ID: "a", Payload: []byte("[1,2,3]")})
	seen := map[string]bool{}
	for _, m := range o.Messages {
		seen[m.ID] = true
	}
	if len(seen) != 3 || seen[""] {
		t.Errorf("the ids are %v", seen)
	}
}

// TestBombsAreRefused: what unpacks to a GiB takes no memory.
func TestBombsAreRefused(t *testing.T) {
	zeros := string(make([]byte, 8<<20))
	for _, form := range []string{"gzip", "zstd", "[gzip, gzip]", "[zstd, gzip]"} {
		o := process(t, fmt.Sprintf("encode: %s", form), bridge.Message{Payload: []byte(zeros)})
		packed := o.Messages[0]
		if len(packed.Payload) > 16<<10 {
			t.Fatalf("%s: %d bytes", form, len(packed.Payload))
		}
		back := map[string]string{"[zstd, gzip]": "[gzip, zstd]"}[form]
		if back == "" {
			back = form
		}
		if o = process(t, fmt.Sprintf("decode: %s", back), packed); string(o.Messages[0].Payload) != zeros {
			t.Errorf("%s: comes back otherwise", form)
		}
		o = process(t, fmt.Sprintf("decode: {as: %s, max_size: 1MiB}", back), packed, packed)
		if len(o.Refused) != 2 || !strings.HasSuffix(o.Refused.Error(), "larger than max_size, which is 1MiB") {
			t.Errorf("%s: refused %v", form, o.Refused)
		}
	}
}

// TestFormsComeBack: what is encoded and decoded, or formatted and parsed, is the same again.
func TestFormsComeBack(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 25 {
		raw := make([]byte, r.IntN(100))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		for _, form := range []string{"base64", "hex", "gzip", "zstd"} {
			o := process(t, "encode: "+form, bridge.Message{Payload: raw})
			if o = process(t, "decode: "+form, o.Messages...); string(o.Messages[0].Payload) != string(raw) {
				t.Fatalf("%s of %x: %x", form, raw, o.Messages[0].Payload)
			}
		}
		text := base64.StdEncoding.EncodeToString(raw)[:r.IntN(len(raw)+1)] + string([]rune("é\t\",= \\")[r.IntN(7)])
		o := process(t, "encode: json", bridge.Message{Payload: []byte(text)})
		object := bridge.Message{Payload: fmt.Appendf(nil, `{"k":%s,"a":"1"}`, o.Messages[0].Payload)}
		for _, form := range []string{
			"logfmt", "{format: csv, columns: [k, a]}",
			"{format: key_value, delimiter: ;, assign: ':'}",
		} {
			o := process(t, "format: "+form, object)
			if o = process(t, "parse: "+form, o.Messages...); len(o.Messages) != 1 ||
				string(o.Messages[0].Payload) != string(object.Payload) {
				t.Fatalf("%s of %s: %+v", form, object.Payload, o)
			}
		}
	}
}

func TestTextSettings(t *testing.T) {
	for yaml, want := range map[string]string{
		"parse: {}":                                             "the key format is missing",
		"parse: xml":                                            "format cannot be",
		"parse: {format: csv, columns: [a, a]}":                 "a name stands twice",
		"parse: {format: csv, delimiter: ab}":                   "must be one character",
		"parse: {format: json, columns: [a]}":                   "are of CSV, and the format is json",
		"parse: {format: logfmt, delimiter: ;}":                 "is of csv and key_value, and the format is logfmt",
		"parse: {format: key_value, assign: ''}":                "must be one character between key and value",
		"parse: {format: csv, types: {number: [a], bool: [a]}}": "a name can have one type only",
		"parse: {format: json, types: auto}":                    "are of csv, logfmt and key_value, and the format is json",
		"parse: {format: logfmt, assign: ':'}":                  "is of key_value, and the format is logfmt",
		"format: {format: csv, quotes: false}":                  "cannot be false",
		"format: {format: json, header: true}":                  "is of CSV, and the format is json",
		"encode: []":                                            "as is an empty list",
		"encode: rot13":                                         "as cannot be",
		"decode: {as: gzip, max_size: 0}":                       "must be from 1 byte to 1GiB",
		"split: {max_messages: 0}":                              "must be at least 1",
	} {
		if _, err := build(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", yaml, err, want)
		}
	}
}

// S50: what a payload may become is not less than what it does become.
func TestS50GrowsByWhatItSays(t *testing.T) {
	long := strings.Repeat("n", 30_000)
	zeros := make([]byte, 16<<20)
	packed := func(form string) string {
		return string(process(t, "encode: "+form, bridge.Message{Payload: zeros}).Messages[0].Payload)
	}
	for text, payload := range map[string]string{
		"decode: gzip": packed("gzip"), "decode: zstd": packed("zstd"),
		"decode: [zstd, gzip]": packed("[gzip, zstd]"),
		"parse: csv":           long + "\n" + strings.Repeat("1\n", 500),
		"format: csv": `[{"` + strings.Join(strings.Split(long[:200], ""), `x":0,"y`) + `":1}` +
			strings.Repeat(",{}", 3000) + "]",
	} {
		all, err := endpoints(text)
		if err != nil {
			t.Fatal(err)
		}
		o := process(t, text, bridge.Message{Payload: []byte(payload)})
		if len(o.Messages) != 1 {
			t.Fatalf("%s: %v", text, o.Refused)
		}
		if said, is := all[0].Grows(len(payload)), len(o.Messages[0].Payload); said < is || said > 16<<20 {
			t.Errorf("%s: %d bytes become %d, and at most %d were said", text, len(payload), is, said)
		}
	}
}
