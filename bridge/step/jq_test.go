package step_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

const canary = "hunter2-canary"

func TestJQ(t *testing.T) {
	const payload = `{"n":1.10,"big":12345678901234567890123,"e":1e3,"list":[1,2,3],"s":"` + canary +
		`","z":null,"a":"<&>"}`
	for _, c := range []struct{ program, want string }{
		{".", `{"a":"<&>","big":12345678901234567890123,"e":1e3,"list":[1,2,3],"n":1.10,"s":"` + canary + `","z":null}`},
		{".n", "1.10"},
		{
			".n + 1, .big + 1, .big * .big, .e",
			"2.1|12345678901234567890124|152415787532388367504942236884722755800955129|1e3",
		},
		{"9007199254740993 + 0, 6 / 3, 7 / 2", "9007199254740993|2|3.5"},
		{".list[]", "1|2|3"},
		{".list[] | select(. > 5)", ""},
		{"empty", ""},
		{".a", "<&>"},
		{".a | tojson", `"<&>"`},
		{".z", "null"},
		{"$topic, $time, $header.unit, ($header | type)", "home/kitchen|2026-01-02T03:04:05.000000006Z|C|object"},
		{"now > 1767225600.5", "true"},
		{"def now: 1; now", "1"},
		{"1, halt, 2", "1"},
		{`try error("x") catch .`, "x"},
		{`.s | test("^hunter")`, "true"},
		{"[limit(3; repeat(1))]", "[1,1,1]"},
		{"nan, infinite", "null|1.7976931348623157e+308"},

		{".s + 1", "!cannot add: string"},
		{".s[]", "!cannot iterate over: string"},
		{".s.x", "!expected an object but got: string"},
		{".list | tonumber", "!tonumber cannot be applied to: array"},
		{".s | fromjson", "!the program fails for this message"},
		{".list | ltrimstr(1) | implode | .[.s]", "!the program fails for this message"},
		{"1 / (.list[0] - 1)", "!cannot divide by zero"},
		{"error(.s)", "!the program gives an error"},
		{"error", "!the program gives an error"},
		{"1, error(.s)", "!the program gives an error"},
		{".s | halt_error", "!the program gives an error"},
		{"last(repeat(1))", "!the program takes more than max_steps for this message"},
		{"def f: f; f", "!the program takes more than max_steps for this message"},
		{"try last(repeat(1)) catch 1", "!the program takes more than max_steps for this message"},
		{"range(20000)", "!the program makes more than max_messages of this message"},
		{`"x" * 17000000`, "!the program makes more than max_output of this message, or nests it too deep"},
		{
			"reduce range(60) as $i ([]; [., .])",
			"!the program makes more than max_output of this message, or nests it too deep",
		},
		{
			"reduce range(20000) as $i (0; [.])",
			"!the program makes more than max_output of this message, or nests it too deep",
		},
		{"reduce range(10) as $i (9; . * . * .) | tostring | length | . > 50000", "true"},
	} {
		m := bridge.Message{
			ID: "7", Topic: "home/kitchen", Payload: []byte(payload), Header: map[string]string{"unit": "C"},
			Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		}
		o := process(t, fmt.Sprintf("jq: %q", c.program), m)
		got := strings.Join(payloads(o.Messages), "|")
		if len(o.Refused) > 0 {
			got = "!" + strings.TrimPrefix(o.Refused.Error(), "jq: ")
		}
		if got != c.want || (got == "") != (len(o.Dropped) == 1) {
			t.Errorf("%s: got %s (%+v), want %s", c.program, got, o, c.want)
		}
		if strings.Contains(o.Refused.Error(), canary) {
			t.Errorf("%s: the reason shows the payload", c.program)
		}
	}
}

// Messages that go on have identities of their own, topic, headers and time of theirs, and what was
// refused leaves the others alone.
func TestJQMessages(t *testing.T) {
	in := batch(`[1,2]`, "no JSON", `[]`, `[3] [4]`, `[5]`)
	for i := range in {
		in[i].ID, in[i].Topic, in[i].Header = fmt.Sprint("m", i), "t", map[string]string{"h": fmt.Sprint(i)}
	}
	o := process(t, "jq: '.[]'", in...)
	var got []string
	for _, m := range o.Messages {
		got = append(got, m.Topic+m.Header["h"]+string(m.Payload))
	}
	if diff := cmp.Diff([]string{"t01", "t02", "t45"}, got); diff != "" {
		t.Error(diff)
	}
	if o.Messages[0].ID != "m0" || o.Messages[1].ID == "" || o.Messages[1].ID == "m0" || o.Messages[2].ID != "m4" {
		t.Errorf("%+v", o.Messages)
	}
	if len(o.Dropped) != 1 || o.Dropped[0] != 2 || len(o.Refused) != 2 ||
		o.Refused[0].Err.Error() != "jq: the payload is not JSON" {
		t.Errorf("%+v", o)
	}
}

// Programs that are made to ask the meter do what they would do without.
func TestJQIsMeteredUnseen(t *testing.T) {
	const payload = `{"a":[1,2,3],"b":[2],"i":1,"n":2,"s":"a-b--c","o":{"x":{"y":1}},"rows":[[1,2],[3]],"p":["o","x"],"t":1732788000}`
	for _, text := range []string{
		"[(1,2) * (3,4)], [(1,2) - (3,4)], [(1,2) + (3,4)]", "[.a[] * .a[]], [.a[] - .a[]], [.a[] + .a[]]",
		".n += 5, .n -= .i, .n *= .n, .n += (1,2)", ".a - .b, .a + .b, .o * {x: {z: 2}}, .s + .s, .s * 3, .n * .s, null + .n",
		".s * 0, .s * 0.5, [.a[] | . * 1.5]", "try (.a - .o) catch ., try (.s * .s) catch ., try (.o + 1) catch .",
		".a[.i], .a[.i] = 9, .a[.i:] = [7], (.a | .[-1]), .[\"a\"], .a[.b], path(.a[.i]), del(.a[.i])",
		".a[5] = 1, .a[.i + 5] = 1",
		"[.s | match(\"-\"; \"g\").offset], (.s | sub(\"-\"; \"+\"), gsub(\"-\"; \"+\"), gsub(\"A\"; \"x\"; \"i\"))",
		"[.s | scan(\"[a-c]\")], (.s | test(\"b\"), test([\"B\", \"i\"]), split(\"-+\"; " +
			"null), [splits(\"-\")], capture(\"(?<x>b)\"))",
		"(try (.s | test(\"(\")) catch .), (try (.n | test(\"a\")) catch .)", ".rows | transpose",
		".b as $b | .a | contains($b), indices($b), index(2), rindex(2), (.[0:1] | inside([1,2]))",
		"getpath(.p), setpath(.p; 1), (.a | nth(1), nth(1; .[])), fromstream(tostream), [paths], [limit(2; .a[])]",
		"[.a | reverse, sort, unique, keys, flatten, add, flatten(1), tojson, tostring, @json][0:9], (.rows | flatten, add)",
		"(.s | explode | implode), (.s | ascii_upcase, @base64, split(\"-\"), split(\"-\", \"b\"), . / \"-\")",
		"[(6,8) / (1,2)], (.n / .i), (try (.n / .s) catch .), (.n /= .i), (.o | keys[0]), (.a | sort[0], add / length)",
		"def keys: 5; def add: 6; keys, add, ([1,2] | reverse[0])",
		"def contains(x): 5; def transpose: 6; def f(match): match; contains(1), transpose, f(.n)",
		"[.[] | .. | numbers] | add", "-(.n), -.n - -1",
		"reduce .a[] as $x (0; . + $x), [foreach .a[] as $x (0; . - $x)], (.a | map(. * 2)), ([.a[] | {k: (. - 1)}])",
		"\"\\(.n * 2) and \\(.s + \"x\")\", @base64 \"\\(.s + .s)\", {(.s + \"k\"): 1}, " +
			"(if .n - 2 == 0 then .n * 2 else . end), .o?.x[\"y\" + \"\"]",
	} {
		var value any
		if err := json.Unmarshal([]byte(payload), &value); err != nil {
			t.Fatal(err)
		}
		program, err := gojq.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for outputs := program.Run(value); ; {
			v, more := outputs.Next()
			if !more {
				break
			}
			if err, failed := v.(error); failed {
				t.Fatalf("%s: %v", text, err)
			}
			b, err := gojq.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, string(b))
		}
		o := process(t, fmt.Sprintf("jq: %q", "("+text+") | tojson"), bridge.Message{Payload: []byte(payload)})
		if diff := cmp.Diff(want, payloads(o.Messages)); diff != "" || len(o.Refused) > 0 {
			t.Errorf("%s: %v\n%s", text, o.Refused, diff)
		}
	}
}

func TestJQMistakes(t *testing.T) {
	for yaml, want := range map[string]string{
		"jq: ''":            "p.yaml:1:43: program: missing query",
		"jq: '.a ||'":       `p.yaml:1:43: program: unexpected token "|" at line 1, character 5 of the program`,
		"jq: '{a: }'":       `unexpected token "}" at line 1, character 5 of the program`,
		"jq: '.a['":         "unexpected EOF at line 1, character 4 of the program",
		"jq: \".a\\n| öö\"": "at line 2, character 3 of the program",
		"jq: 'foo(1)'":      "function not defined: foo/1",
		"jq: '$__loc__'":    "variable not defined: $__loc__",
		"jq: '$x'":          "variable not defined: $x",
		"jq: '$ENV.HOME'": "the program asks for the environment, which it cannot see; " +
			"write ${NAME} in its place",
		"jq: 'env | keys'":                     "the program asks for the environment",
		"jq: 'input'":                          "input(s)/0 is not allowed",
		"jq: '[inputs]'":                       "input(s)/0 is not allowed",
		"jq: 'import \"a\" as a; .'":           "the program asks for a module, and there are none here",
		"jq: 'include \"a\"; .'":               "the program asks for a module",
		"jq: 'import \"/etc/passwd\" as $p;.'": "the program asks for a module",
		"jq: {program: ., max_steps: 1}":       "max_steps must be at least 1000",
		"jq: {program: ., max_output: 0}":      "must be more than 0",
		"jq: {}":                               "the key program is missing",
	} {
		if _, err := build(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", yaml, err, want)
		}
	}
}

// Values that a program nests as deep as its steps allow do not end the process.
func TestJQDeepestValue(t *testing.T) {
	one := bridge.Message{Payload: []byte("1")}
	o := process(t, "jq: {max_steps: 3000000, program: 'reduce range(150000) as $i (0; [.]) | tojson | length'}", one)
	if got := payloads(o.Messages); len(got) != 1 || got[0] != "300001" {
		t.Errorf("%v, %v", got, o.Refused)
	}
}

func BenchmarkJQ(b *testing.B) {
	s, err := build(b, "jq: '{room: ($topic | split(\"/\")[1]), t: .celsius}'")
	if err != nil {
		b.Fatal(err)
	}
	in := make(bridge.Batch, 256)
	var r bridge.StepRunner
	b.ReportAllocs()
	for b.Loop() {
		for i := range in {
			in[i] = bridge.Message{Topic: "home/kitchen", Payload: []byte(`{"celsius":21.5,"room":"kitchen","n":3}`)}
		}
		if _, err := r.Process(b.Context(), s, 1, in, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(in)), "ns/message")
}
