package expr_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// Payloads of 170 kB, the worst of their kinds.
var (
	letters = strings.Repeat("x", 170_000)
	ones    = "[" + strings.Repeat("1,", 85_000) + "1]"
	texts   = `["` + strings.Repeat(`abcdefg","`, 17_000) + `x"]`
	empties = "[" + strings.Repeat("{},", 56_000) + "{}]"
	nested  = strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)
	escapes = `{"s":"` + strings.Repeat(`\u0001`, 28_000) + `"}`
	alike   = `{"a":"` + strings.Repeat("x", 85_000) + `a","b":"` + strings.Repeat("x", 85_000) + `b"}`
)

// chained returns 60 variables, each made of the one before.
func chained(first, next string) string {
	b := "let a0 = " + first + "; "
	for i := 1; i <= 60; i++ {
		b += fmt.Sprintf("let a%d = ", i) + strings.ReplaceAll(next, "_", "a"+strconv.Itoa(i-1)) + "; "
	}
	return b
}

func within(name string) string {
	return strings.Repeat(name+"(", 60) + "payload" + strings.Repeat(")", 60)
}

// What a message can make of an expression is refused, and takes neither time nor memory.
func TestS46WhatAnEvaluationMayDoIsBounded(t *testing.T) {
	pairs, sums := chained("[payload, payload]", "[_, _]"), chained("payload", "_ + _")
	for payload, list := range map[string][]string{
		ones: {
			"count(json, count(json, # > 0) > 0)",
			"count(json, any(json, # > 1) && none(json, # > 1))",
			"count(json, find(json, # > 1) == 1)", "count(json, findLastIndex(json, # > 0) == 1)",
			"count(json, sum(json) > 1)", "count(json, max(json) > 1)", "count(json, mean(json) > 1)",
			"count(json, median(json) > 1)",
			"reduce(json, #acc + len(filter(json, # > 0)), 0)",
			"map(filter(json, count(json, # > 0) > 0), count(json, # > 0))",
			"map(filter(json, # > 0), count(json, # > 0))",
			"let c = count(json, # > 0); count(json, count(json, # > 0) == c)",
			"map(json, map(json, #))", "map(json, json)", "toJSON(map(json, json))", "toJSON(map(json, payload))",
			"count(json, 2 in json)", "count(json, json == json)", "count(json, len(reverse(json)) > 0)",
			"count(json, payload contains 'yy')", "count(json, payload matches 'y+z')", "count(json, len(payload) == 1)",
			"count(json, payload == payload + 'a')", "uniq(map(json, #index))", "groupBy(map(json, #index), #)",
			"count(json, len(concat(json, json)) > 0)", "count(json, len(sort(json)) > 0)",
			"count(json, len(flatten([json])) > 0)",
			"count(json, type(fromJSON(payload)) == 'map')", "sortBy(json, payload + '')",
		},
		letters: {
			"replace(payload, '', payload)", "replace(payload, 'x', payload)", "replace(payload, 'x', payload, 100000)",
			"join(split(payload, ''), payload)", "trim(payload, payload + 'y')",
			"join(splitAfter(payload, 'x'), payload)", "uniq(split(payload, ''))",
			"repeat(payload, 100000)", "len(repeat('x', 100000000))", "toJSON(map(1..1000, payload))",
			"reduce(1..100000, #acc + payload, '')", "map(1..100000, payload + 'x')", "map(1..100000, upper(payload))",
			"payload matches '(x|xx|xxx){1,200}y'", "payload matches '^([a-z]{1,100}){1,9}y'",
			pairs + "a60", pairs + "toJSON(a60)", pairs + "string(a60)", pairs + "flatten(a60)", pairs +
				"a60 == a59", pairs + "a60 in a59",
			pairs + "header.x[a60]", pairs + "topic[header.x ?? a60:]", pairs + "fromPairs(a60)", pairs + "min(a60)",
			pairs + "median(a60)", pairs + "{(a60): 1}", pairs + "header.x?.Format(a60)",
			sums + "a60", sums + "len(a60)", within("base64"), within("hex"), within("toJSON"),
		},
		alike: {
			"count(1..100000, json.a < json.b)", "count(1..100000, json.a == json.b)", "count(1..100000, json.a in ['x'])",
			"count(1..100000, json.a startsWith json.b)", "count(1..100000, json.a endsWith json.b)",
			"count(1..100000, upper(json.a) == 'x')",
			"count(1..100000, json.a in header)", "count(1..100000, ({(json.a): 1}) == nil)",
			"count(1..100000, header[json.a] == nil)",
			"count(1..100000, get(header, json.a) == 'b')", "count(1..100000, indexOf(json.a, 'b') == 1)",
			"count(1..100000, trim(json.a) == 'b')",
			"count(1..100000, time.Format(json.a) == 'b')", "count(1..100000, segment(json.a, 0) == 'b')",
			"count(1..100000, portalid(json.a) == 'b')", "count(1..100000, toSubject(json.a) == 'b')",
			"count(1..100000, toTopic(json.a) == 'b')",
			"count(1..100000, base64(json.a) == 'b')", "count(1..100000, sha256(json.a) == 'b')",
			"count(1..100000, hex(json.a) == 'b')",
			"count(1..100000, crc32(json.a) == 1)", "count(1..100000, len(bytes(json.a)) == 1)", "map(1..100000, bytes(json.a))",
			"count(1..100000, capture(json.a, '(y)') == nil)", "map(1..1000000, uuid())",
			"count(1..100000, len(split(json.a, '')) == 1)",
			"count(1..100000, timezone('Europe/Berlin') == nil)", "count(1..100000, string(timezone('Europe/Berlin')) == '')",
			"sortBy(1..100000, # % 2 == 0 ? json.a : json.b)", "groupBy(1..100000, # % 2 == 0 ? json.a : json.b)",
			"sort(map(1..100000, # % 2 == 0 ? json.a : json.b))", "uniq(map(1..100000, # % 2 == 0 ? json.a : json.b))",
		},
		texts:   {"join(json, payload)", "uniq(json)", "count(json, join(json) == 'x')", "count(json, # in json)"},
		escapes: {"toJSON(map(1..1000, json))", within("toJSON")},
		empties: {"map(json, ({'a': ({'b': #})}))", "count(json, json == [])"},
		nested:  {"count(1..100000, len(flatten(json)) > 0)", "count(1..100000, toJSON(json) == '')"},
		"[]": {
			"1..1000000000", "count(1..1000000, true)", "map(1..1000000, ({}))", "groupBy(1..1000000, #)",
			"1..9223372036854775807",
			"count(1..1000, count(1..1000, count(1..1000, true) > 0) > 0)",
			"reduce(1..100000, [#acc])", "toJSON(reduce(1..100000, [#acc, #acc]))", "string(reduce(1..100000, ({'a': #acc})))",
			"reduce(1..30, [#acc, #acc]) == reduce(1..30, [#acc, #acc])", "reduce(1..100000, concat(#acc, #acc), [1])",
			"reduce(1..100000, #acc + #acc, 'x')", "reduce(1..100000, toJSON(#acc))", "reduce(1..100, repeat(#acc, 100), 'x')",
		},
	} {
		for _, text := range list {
			bounded(t, text, payload, func(err error) bool { return err != nil && strings.HasSuffix(err.Error(), tooMuch) })
		}
	}
}

// What goes through a message a few times is done.
func TestS46WhatIsInProportionIsDone(t *testing.T) {
	for payload, list := range map[string][]string{
		ones: {
			"count(json, # > 0)", "filter(json, # > 0) | map(# + 1) | sum()", "sort(json)", "json", "toJSON(json)",
			"len(uniq(take(json, 1000)))",
			"reduce(json, #acc + #, 0)", "count(json, # in [1, 2, 3])", "count(json, string(#) == '1')",
			"count(take(json, 100), count(take(json, 100), # == 1) > 0)",
		},
		letters: {
			"upper(payload)", "payload + payload", "replace(payload, 'x', 'yyyy')", "len(split(payload, 'y'))",
			"payload matches '(x+x+)+y'",
			"payload contains 'y'", "base64(payload)", "hex(payload)", "sha256(payload)",
			"unbase64(payload)", "capture(payload, '(x+)')[1]",
			"len(bytes(payload))", "map(1..10000, uint16be(payload, #))",
			"len(toJSON(payload))", "repeat(payload, 10)", "let p = payload; p + p",
		},
		alike: {"json.a == json.b", "json.a < json.b", "uniq([json.a, json.b])", "json.a matches '^x*a$'"},
		texts: {
			"sort(json)", "len(join(json, ', '))", "count(json, # startsWith 'a' && # != 'b')",
			"len(uniq(json[:1000]))",
		},
		escapes: {"json", "toJSON(json)", "len(toJSON(toJSON(json)))"},
		empties: {"json", "map(json, len(#))"},
		nested:  {"json", "toJSON(json)", "json == json", "flatten(json)"},
		"{}":    {"map(1..100000, #)", "repeat(topic, 100000)", "reduce(1..100, #acc + string(#), '')"},
	} {
		for _, text := range list {
			bounded(t, text, payload, func(err error) bool { return err == nil })
		}
	}
}

// bounded evaluates text within the bounds that everything has.
func bounded(t *testing.T, text, payload string, right func(error) bool) {
	t.Helper()
	const (
		mostBytes = 256 << 20       // most of which is not there at the same time
		mostTime  = 5 * time.Second // of the processor, in a build that looks for races; it is 0.3 s otherwise
	)
	tmpl, err := expr.Template("{{ " + text + " }}")
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return
	}
	m := &bridge.Message{Topic: "a/b", Payload: []byte(payload), Header: map[string]string{"h": "v"}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := bridgetest.CPU()
	_, err = tmpl.Render(m)
	took := bridgetest.CPU() - began
	runtime.ReadMemStats(&after)
	if !right(err) {
		t.Errorf("%s: got %v", text[max(0, len(text)-80):], err)
	}
	if made := after.TotalAlloc - before.TotalAlloc; made > mostBytes || took > mostTime {
		t.Errorf("%s: made %d MiB in %v", text[max(0, len(text)-80):], made>>20, took)
	}
}

// As short as its values may be written, JSON does not grow without bound when it is parsed.
func TestS46ManyValues(t *testing.T) {
	for payload, want := range map[string]string{
		"[" + strings.Repeat("{},", 1<<20) + "{}]": "evaluate len(json): the JSON has too many values; " +
			"split it up before it comes here",
		"[" + strings.Repeat("0,", 5<<20) + "0]": "evaluate len(json): the JSON has too many values; " +
			"split it up before it comes here",
		`["` + strings.Repeat(`,{\"[`, 2<<20) + `",1]`:       "",
		"[" + strings.Repeat(`"0123456789",`, 1<<18) + "{}]": "",
	} {
		cond, err := expr.Condition("len(json) > 1")
		if err != nil {
			t.Fatal(err)
		}
		yes, err := cond.Match(&bridge.Message{Payload: []byte(payload)})
		if got := errorText(err); yes != (want == "") || got != strings.Replace(want, "len(json)", "len(json) > 1", 1) {
			t.Errorf("%.20s: got %v, %s", payload, yes, got)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The next message is evaluated as if the one before had not been there, and pays nothing for it.
func TestS46TheNextMessageIsNotAffected(t *testing.T) {
	tmpl, err := expr.Template("{{ len(map(json, # + 1)) }} {{ count(json, count(json, # == 1) == 2) }}")
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := tmpl.Render(&bridge.Message{Payload: []byte(ones)}); err == nil {
			t.Fatal("got no error")
		}
		if got, err := tmpl.Render(&bridge.Message{Payload: []byte("[1,2,1]")}); got != "3 3" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	made := testing.AllocsPerRun(100, func() { _, _ = tmpl.Render(&bridge.Message{Payload: []byte("[1,2,1]")}) })
	if made > 150 {
		t.Errorf("got %v allocations", made)
	}
}

// Expressions of any kind, over payloads of the worst kinds, keep to the bounds.
func TestS47ExpressionsByChance(t *testing.T) {
	count := 600
	if faulttest.Nightly {
		count = 200_000
	}
	w := writer{faulttest.Rand(t)}
	compiled := 0
	for range count {
		text := "{{ " + w.list(0) + " }}"
		if _, err := expr.Template(text); err != nil {
			continue
		}
		compiled++
		payload := w.pick(letters, ones, texts, empties, nested, escapes, alike, "[]", "{}")
		bounded(t, strings.TrimSuffix(strings.TrimPrefix(text, "{{ "), " }}"), payload, func(error) bool { return true })
	}
	if compiled < count/20 {
		t.Errorf("%d of %d expressions compiled", compiled, count)
	}
}

// writer writes expressions.
type writer struct{ *rand.Rand }

func (w writer) pick(from ...string) string { return from[w.IntN(len(from))] }

// value is one of any type, text mostly; list one that there are loops over.
func (w writer) value(depth int) string {
	if depth > 4 {
		return w.pick("payload", "#", "json.a", "json.b", "json", "1", "'x'", "''", "#index", "topic", "nil", "b")
	}
	one, other := w.value(depth+1), w.value(depth+1)
	switch w.IntN(14) {
	case 0:
		return one + w.pick(" + ", " == ", " != ", " < ", " contains ", " startsWith ", " in ", " ?? ", " * ", " && ") + other
	case 1:
		return "(" + one + ") matches " + w.pick("'(a|b|x*)*y'", "'x{1,500}'", "'.*.*.*z'")
	case 2:
		return w.pick("len", "upper", "lower", "trim", "toJSON", "string", "fromJSON", "base64", "hex", "unhex",
			"unbase64", "bytes",
			"sha256", "crc32", "round", "fromUnix", "toSubject",
			"portalid", "first", "type", "float") + "(" + one + ")"
	case 3:
		return w.pick("split", "repeat", "join", "indexOf", "trimPrefix", "hasSuffix", "default", "uint32le", "get",
			"splitAfter",
			"segment") + "(" + one + ", " + other + ")"
	case 4:
		return "replace(" + one + ", " + other + ", " + w.value(depth+1) + ")"
	case 5:
		return w.pick("count", "all", "any", "none", "one", "find", "findIndex", "findLast", "sum") + "(" +
			w.list(depth+1) + ", " + one + " == " + other + ")"
	case 6:
		return "reduce(" + w.list(depth+1) + ", " +
			w.pick("#acc", "string(#acc)", "[#acc, #acc]", "concat(#acc, #acc)", "#acc + "+one) + ", " + other + ")"
	case 7:
		return "(let b = " + one + "; " + other + ")"
	case 8:
		return w.pick("max", "min", "mean", "median", "join", "len", "toJSON") + "(" + w.list(depth+1) + ")"
	case 9:
		return "({(string(" + one + ")): " + other + "})"
	case 10:
		return "(" + one + ")[" + other + "]"
	case 11:
		return "(" + w.list(depth+1) + ")" + w.pick("[0]", "[-1]", "[1:]")
	default:
		return w.value(5)
	}
}

func (w writer) list(depth int) string {
	if depth > 4 {
		return w.pick("json", "1..1000", "1..100000", "split(payload, '')", "[payload, payload]", "b", "#")
	}
	inner := w.list(depth + 1)
	switch w.IntN(8) {
	case 0:
		return "map(" + inner + ", " + w.value(depth+1) + ")"
	case 1:
		return "filter(" + inner + ", " + w.value(depth+1) + " != " + w.value(depth+1) + ")"
	case 2:
		return w.pick("sort", "uniq", "reverse", "flatten", "toPairs", "keys", "values") + "(" + inner + ")"
	case 3:
		return w.pick("sortBy", "groupBy") + "(" + inner + ", " + w.value(depth+1) + ")"
	case 4:
		return "concat(" + inner + ", " + w.list(depth+1) + ")"
	case 5:
		return "[" + inner + ", " + w.value(depth+1) + "]"
	case 6:
		return "(let b = " + inner + "; " + w.list(depth+1) + ")"
	default:
		return w.list(5)
	}
}
