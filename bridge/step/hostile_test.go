package step_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// hostile is a message of about a MiB at most that is made to be dear, and why it is refused; empty
// if it goes on.
type hostile struct{ name, step, payload, want string }

// run processes each, and an ordinary message behind it. No more than so many bytes may be
// allocated for one, whether they are in use at a time or not.
func (h hostile) run(t *testing.T, most uint64) {
	t.Helper()
	var before, after runtime.MemStats
	s, err := build(t, h.step)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&before)
	o, err := new(bridge.StepRunner).Process(t.Context(), s, 1, bridge.Batch{
		{Topic: "hostile", Payload: []byte(h.payload)}, {Topic: "next", Payload: []byte(`{"a":1}`)},
	}, true)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if len(o.Refused) > 0 && o.Refused[0].Index == 0 {
		got = o.Refused[0].Err.Error()
	}
	if h.want == "" && got != "" || !strings.Contains(got, h.want) {
		t.Errorf("%s: got %q, want %q", h.name, got, h.want)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > most {
		t.Errorf("%s: %d MiB were allocated, and %d MiB are enough", h.name, n>>20, most>>20)
	}
}

const mib = 1 << 20

// S49: what a payload makes a schema look at is bounded in time and memory.
func TestS49SchemaOfHostilePayloads(t *testing.T) {
	const (
		number    = `schema: {inline: {additionalProperties: {type: integer, multipleOf: 7}, items: {type: number, multipleOf: 0.01}}}`
		text      = `schema: {inline: {items: {type: string}, additionalProperties: {type: number}}}`
		recursive = `schema: {inline: {$ref: "#/$defs/n", $defs: {n: {type: [array, object], items: {$ref: "#/$defs/n"}}}}}`
		either    = `schema: {inline: {$ref: "#/$defs/n", $defs: {n: {oneOf: [{properties: {op: {const: and}, ` +
			`of: {$ref: "#/$defs/n"}}}, {properties: {op: {const: or}, of: {$ref: "#/$defs/n"}}}]}}}}`
		digits, visits = "its numbers have too many digits", "schemas would look at its values too many times"
		large          = "the payload does not fit, and is too large to say where"
	)
	for _, h := range []hostile{
		{"a number", number, `{"a":` + strings.Repeat("9", mib) + "}", digits},
		{"a fraction", number, `[0.` + strings.Repeat("1", mib) + "]", digits},
		{"exponents", number, `[` + strings.Repeat("1e-1000,", mib/8) + "1]", digits},
		{"one exponent", number, `[1e-1001]`, "a number has an exponent beyond 1000"},
		{"numbers of any kind", number, `[` + strings.Repeat("12345678901234.25,", mib/18) + "1]", ""},
		{"a long number", number, `[` + strings.Repeat("9", 10_000) + "]", ""},
		{"many mistakes", text, `[` + strings.Repeat("1,", mib/2-1) + "1]", large},
		{
			"some mistakes", text, `[` + strings.Repeat("1,", 10_000) + "1]",
			"schema: /0: type string; /10000: type string; /1000: type string; and 9998 more",
		},
		{"deep", recursive, strings.Repeat("[", 9000) + "1" + strings.Repeat("]", 9000), large},
		{"deep, and fits", recursive, strings.Repeat("[", 9000) + strings.Repeat("]", 9000), ""},
		{"alternatives", either, strings.Repeat(`{"op":"xor","of":`, 60) + "{}" + strings.Repeat("}", 60), visits},
		{"alternatives that fit", either, strings.Repeat(`{"op":"and","of":`, 3) + `{"op":"or"}` +
			strings.Repeat("}", 3), ""},
	} {
		h.run(t, 320*mib)
	}
}

// held returns the bytes in use after f, and what f returned until it is looked at.
func held(f func() any) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// S50: keys that messages write cost a step what its settings say, whatever their size.
func TestS50KeysOfMessages(t *testing.T) {
	const most = 12 * mib
	for _, text := range []string{
		`{sample: {every: 2, key: "{{ topic }}"}}`, `{sample: {period: 1h, key: "{{ topic }}"}}`, `{dedupe: "{{ topic }}"}`,
		`{throttle: {rate: 0.001, excess: drop, key: "{{ topic }}"}}`, `{conflate: {period: 1h, max_bytes: 8MiB}}`,
		`{window: {every: 1h, key: "{{ topic }}", max_bytes: 8MiB}}`,
		`{batch: {period: 1h, key: "{{ topic }}", max_bytes: 8MiB}}`,
	} {
		n := held(func() any {
			s := openStep(t, text, nil)
			var r bridge.StepRunner
			for i := range 64 {
				one := bridge.Batch{{Topic: strings.Repeat(fmt.Sprint(i), mib/2), Payload: []byte("1")}}
				if _, err := r.Process(t.Context(), s, uint64(i+1), one, false); err != nil {
					t.Fatal(err)
				}
			}
			return s
		})
		if n > most {
			t.Errorf("%s: %d MiB of 64 MiB of keys are held", text, n>>20)
		}
	}
}

// S50: what is made of small messages is in memory once.
func TestS50LargeResults(t *testing.T) {
	in := make(bridge.Batch, 64)
	for i := range in {
		in[i].Payload = make([]byte, mib/2)
	}
	s, err := build(t, "encode: hex")
	if err != nil {
		t.Fatal(err)
	}
	n := held(func() any {
		o, err := new(bridge.StepRunner).Process(t.Context(), s, 1, in, false)
		if err != nil || len(o.Messages) != len(in) {
			t.Fatal(err)
		}
		return o
	})
	if n > 96*mib {
		t.Errorf("%d MiB are held of 64 MiB", n>>20)
	}
}

// S50: rows that have none of many columns are not written beyond max_size.
func TestS50ColumnsOfManyRows(t *testing.T) {
	names := make([]string, 50_000)
	for i := range names {
		names[i] = fmt.Sprintf(`"%x":0`, i)
	}
	payload := "[{" + strings.Join(names, ",") + "}" + strings.Repeat(",{}", 150_000) + "]"
	hostile{"rows", "format: csv", payload, "it would become larger than 16MiB"}.run(t, 256*mib)
}

// S51: what a program of jq does in one step with what a payload has is bounded as its steps are.
func TestS51JQOfHostilePayloads(t *testing.T) {
	const steps, index = "the program takes more than max_steps", "the program writes to an index far beyond the size"
	list := func(n int) string { return "[" + strings.Repeat("0,", n) + "1]" }
	text := `{"s":"` + strings.Repeat("a", mib-100) + `"}`
	two := `{"a":` + list(mib/4) + `,"b":` + list(mib/5) + `}`
	stream := `[[["l",500000000],1],[["l"]]]`
	for _, c := range []struct{ program, payload, want string }{
		{`.s | gsub("a"; "b") | length`, text, steps},
		{`.s | gsub("A"; "b"; "i") | length`, text, steps},
		{`.s | gsub("b"; "a") | length`, text, ""},
		{`[.s | match("a"; "g")] | length`, text, steps},
		{`[.s | match(["a", "g"])] | length`, text, steps},
		{`[.s | scan("a")] | length`, text, steps},
		{`.s | split("a+?"; null) | length`, text, steps},
		{`.s | split("a") | length`, text, ""},
		{`.s | test("a+b")`, text, ""},
		{`. as {$s} | $s | test($s)`, text, steps},
		{`"x" * .n | length`, `{"n":2000000000}`, steps},
		{`.n * "x" | length`, `{"n":2000000000}`, steps},
		{`.s *= 1000 | length`, text, steps},
		{`"x" * .n | length`, `{"n":1000}`, ""},
		{`.a * .b | length`, `{"a":` + strings.Repeat("9", mib/2) + `,"b":1}`, "its numbers have too many digits"},
		{`reduce range(60) as $i (.s; . + .) | length`, text, steps},
		{`reduce range(60) as $i (.; .s += .s) | length`, text, steps},
		{`reduce .[] as $x ([]; . + [$x]) | length`, list(mib / 3), steps},
		{`reduce range(50000) as $i ({}; . + {($i | tostring): 1}) | length`, "0", steps},
		{`reduce range(50000) as $i ({}; {($i | tostring): 1} * .) | length`, "0", steps},
		{`.a - .b | length`, two, steps},
		{`.b as $b | .a | contains($b)`, two, steps},
		{`.a as $a | .b | inside($a)`, two, steps},
		{`.b as $b | .a | indices($b)`, two, steps},
		{`.a[.b] | length`, `{"a":[` + strings.Repeat("0,", mib/4) + `1],"b":` + list(mib/5) + `}`, steps},
		{`.a[.b]`, `{"a":[1,2,1,2],"b":[1,2]}`, ""},
		{`getpath(["a", .b]) | length`, two, steps},
		{`[JOIN(.a; .b | [[0], .]; .[1])] | length`, two, steps},
		{`.a as $a | .b as $b | [[0]] | JOIN($a; $b) | length`, two, steps},
		{
			`.l | join(.[0]) | length`,
			`{"l":["` + strings.Repeat("a", mib/2) + `"` + strings.Repeat(`,""`, mib/6) + "]}", steps,
		},
		{`.l | join(", ")`, `{"l":["a","b"]}`, ""},
		{`reduce .[] as $x (""; "\(.)\($x)--------") | length`, list(mib / 3), steps},
		{`"a \(.n) \("b \(.s | length)")"`, `{"n":1,"s":"x"}`, ""},
		{`@base64 "\(.s)" | length`, text, ""},
		{`{"a \(.n)": 1}`, `{"n":1}`, ""},
		{`transpose | length`, "[" + list(mib/3) + strings.Repeat(",[]", mib/10) + "]", steps},
		{`.s | tonumber > 1`, `{"s":"` + strings.Repeat("9", mib-100) + `"}`, steps},
		{`.s | fromjson > 1`, `{"s":"` + strings.Repeat("9", mib-100) + `"}`, steps},
		{`.s | fromjson > 1`, `{"s":"` + strings.Repeat("9", 1000) + `"}`, ""},
		{`.l[.n] = 1 | length`, `{"n":500000000,"l":[]}`, index},
		{`.l[.n] |= 1 | length`, `{"n":500000000,"l":[]}`, index},
		{`setpath(.p; 1) | length`, `{"p":["l",500000000]}`, index},
		{`getpath(.p) = 1 | length`, `{"p":["l",500000000]}`, index},
		{`.n as $n | [] | nth($n) = 1 | length`, `{"n":500000000}`, index},
		{`[fromstream(.[])] | length`, stream, index},
		{`[paths] | length`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000), steps},
		{`try (.l[.n] = 1) catch "none"`, `{"n":500000000,"l":[]}`, ""},
		{`try ("x" * .n) catch "none"`, `{"n":2000000000}`, steps},
	} {
		hostile{c.program, fmt.Sprintf("jq: %q", c.program), c.payload, c.want}.run(t, 384*mib)
	}
}

// S51: what copies a value costs steps by its size, so that no memory is held of many copies.
func TestS51JQCopies(t *testing.T) {
	const steps = "the program takes more " // than max_steps; or time, below the race detector
	list := func(n int) string { return "[" + strings.Repeat("0,", n) + "1]" }
	text := `{"s":"` + strings.Repeat("a", mib-100) + `"}`
	for _, c := range []struct{ program, payload, want string }{
		{`. as $m | [.[] | $m | tojson] | length`, list(mib / 16), steps},
		{`. as $m | [.[] | $m | @text] | length`, list(mib / 16), steps},
		{`. as $m | [.[] | "\($m)"] | length`, "[" + list(8) + strings.Repeat(",[0,1]", mib/16) + "]", steps},
		{`. as $m | [.[] | $m | reverse] | length`, list(mib / 16), steps},
		{`. as $m | [.[] | $m | keys] | length`, list(mib / 16), steps},
		{`. as $m | [.[] | $m | add] | length`, "[[" + list(mib/16) + strings.Repeat("],[1", 999) + "]]", steps},
		{`.s as $s | [range(9999) | $s | explode] | length`, text, steps},
		{`.s as $s | [range(9999) | $s | split("a")] | length`, text, steps},
		{`.s as $s | [range(9999) | $s / "a"] | length`, text, steps},
		{`.s as $s | [range(9999) | $s | @base64] | length`, text, steps},
		{`reduce range(60) as $i ([]; [., .]) | flatten | length`, "0", steps},
		{`reduce range(60) as $i ([]; [., .]) | flatten(70) | length`, "0", steps},
		{`reduce range(60) as $i ([]; [., .]) | tojson | length`, "0", steps},
	} {
		hostile{c.program, fmt.Sprintf("jq: %q", c.program), c.payload, c.want}.run(t, 704*mib)
	}
}

// S51: what takes long in steps that nothing is known of ends by time, and costs as much of a
// processor as max_steps says; a busy machine costs nothing.
func TestS51JQEndsByTime(t *testing.T) {
	const most = 6 * time.Second // of one that does little else: 2.5 s, and a collector beside
	join := func(n int, format string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = strings.ReplaceAll(format, "#", fmt.Sprint(i))
		}
		return strings.Join(items, ",")
	}
	objects, object := "["+join(20_000, `{"k":"k#","v":#}`)+"]", "{"+join(30_000, `"key#":#`)+"}"
	list := "[" + join(30_000, "#") + "]"
	const late = "the program takes more time for this message than max_steps allows"
	for _, c := range []struct{ program, payload string }{
		{`reduce .[] as $x ({}; .[$x.k] = $x.v) | length`, objects},
		{`INDEX(.k) | length`, objects},
		{`reduce keys[] as $k (.; del(.[$k])) | length`, object},
		{`. as $m | [.[] | $m | first(.[])] | length`, list},
		{`. as $m | [.[] | $m == $m] | length`, list},
	} {
		began := bridgetest.CPU()
		hostile{c.program, fmt.Sprintf("jq: %q", c.program), c.payload, late}.run(t, 8192*mib)
		if took := bridgetest.CPU() - began; took > most {
			t.Errorf("%s: took %v of a processor", c.program, took)
		}
	}
}
