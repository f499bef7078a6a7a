package expr_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tooMuch = "it takes more steps or memory than a message of this size may; let it go through less"

// canary is in the payload under the key secret, and must not be in any error.
// convert is the hint where a text and a number do not go together.
const convert = "; float(…) makes a number of a text, and string(…) the other way"

const canary = "hunter2-canary"

func message() *bridge.Message {
	return &bridge.Message{
		ID:    "42",
		Topic: "site/kitchen/temp",
		Payload: []byte(`{"c":21.5,"n":3,"big":9007199254740993,"huge":18446744073709551615,"e":1e3,"tiny":1e-9,` +
			`"s":"x","l":[1,{"a":"<b>"}],"secret":"` + canary + `","t":true,"nil":null}`),
		Header: map[string]string{"h": "v"},
		Time:   time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	}
}

func TestTemplateRenders(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"plain", "plain"},
		{"", ""},
		{"one } two }} three { four", "one } two }} three { four"},
		{"{{ topic }}", "site/kitchen/temp"},
		{"{{topic}}", "site/kitchen/temp"},
		{"a.{{ topic }}.b.{{ id }}", "a.site/kitchen/temp.b.42"},
		{"{{ toSubject(topic) }}", "site.kitchen.temp"},
		{"x.{{ toSubject('a/b') }}", "x.a.b"},
		{"{{ toTopic('a.b') }}", "a/b"},
		{"{{ segment(topic, 0) }}-{{ segment(topic, 1) }}-{{ segment(topic, -1) }}", "site-kitchen-temp"},
		{"{{ json.c }}", "21.5"},
		{"{{ json.n }}", "3"},
		{"{{ json.n / 2 }} {{ json.n % 2 }}", "1.5 1"},
		{"{{ json.big }}", "9007199254740993"},
		{"{{ json.huge }}", "18446744073709551615"},
		{"{{ json.e }}", "1e3"}, // as it stands there
		{"{{ json.tiny }}", "1e-9"},
		{"{{ json.t }}", "true"},
		{"{{ json.l }}", `[1,{"a":"<b>"}]`},
		{"{{ json.l[1].a }}", "<b>"},
		{"{{ {'a': {'b': 1}}}}", `{"a":{"b":1}}`},
		{"{{ json.nope ?? 'none' }}", "none"},
		{"{{ header.h }}{{ header.no ?? '-' }}", "v-"},
		{"{{ time }}", "2026-01-02T03:04:05.000006Z"},
		{"{{ time.Year() }}", "2026"},
		{"{{ duration('90s') }}", "1m30s"},
		{`{{ "{{" }}x{{ '}}' }}`, "{{x}}"},
		{"{{ upper(topic) }}", "SITE/KITCHEN/TEMP"},
		{"{{ split(topic, '/') | first() }}", "site"},
		{"{{ let x = topic; x + '!' }}", "site/kitchen/temp!"},
		{"{{ len(filter(json.l, # == 1)) }}", "1"},
		{"{{ rand >= 0 && rand < 1 }}", "true"},
		{"{{ now.Year() >= 2025 }}", "true"},
		{"{{ len(payload) > 10 }}", "true"},
		{"{{ toJSON(json.l) }}", `[1,{"a":"<b>"}]`},
		{
			"{{ toJSON({'topic': topic, 'big': json.big, 'time': time}) }}",
			`{"big":9007199254740993,"time":"2026-01-02T03:04:05.000006Z","topic":"site/kitchen/temp"}`,
		},
		{"{{ toJSON(json.nil) }}{{ toJSON('a\"b') }}{{ toJSON(1.5) }}", `null"a\"b"1.5`},
		{"{{ string(json.l) + '!' }}", `[1,{"a":"<b>"}]!`},
		{"{{ string(json.e) + string(time) + string(json.big) }}", "10002026-01-02T03:04:05.000006Z9007199254740993"},
		{"{{ fromJSON('{\"a\": 9007199254740993}').a }}", "9007199254740993"},
		{"{{ json.huge ?? 0 }}", "18446744073709551615"},
		{"{{ toJSON([json.huge]) }}", "[18446744073709551615]"},
		{"{{ string(json.huge) }}", "18446744073709551615"},
		{"{{ json.huge == -1 }} {{ json.huge in [-1] }} {{ json.huge == json.huge }}", "false false true"},
		{"{{ float(json.huge) > 5 }} {{ float(json.huge) / 2 }} {{ float(json.n) }}", "true 9223372036854776000 3"},
		{"{{ fromJSON('123456789012345678901234') > 5 }}", "true"},
	} {
		got, err := render(t, c.text, message())
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func render(t *testing.T, text string, m *bridge.Message) (string, error) {
	t.Helper()
	tmpl, err := expr.Template(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tmpl.Render(m)
}

func TestTemplateConstant(t *testing.T) {
	for text, want := range map[string]bool{"": true, "plain": true, "{{ topic }}": false, "{{ 'x' }}": false} {
		tmpl, err := expr.Template(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := tmpl.Constant(); ok != want || ok && got != text {
			t.Errorf("%q: got %q, %v, want %v", text, got, ok, want)
		}
	}
}

func TestRenderErrorsShowNoPayload(t *testing.T) {
	const optional = "; write ?. in place of . if what stands before it may be missing"
	for _, c := range []struct{ text, want string }{
		{"{{ json.nope }}", `evaluate json.nope: the value is nil; write (… ?? "text") if it may be missing`},
		{"{{ header.nope }}", `evaluate header.nope: the value is nil; write (… ?? "text") if it may be missing`},
		{"{{ json.a.b }}", "evaluate json.a.b: there is no b in nil" + optional},
		{"{{ json[json.secret].x }}", "evaluate json[json.secret].x: there is no x in nil" + optional},
		{"{{ json.l[json.secret] }}", "evaluate json.l[json.secret]: int() is given what is not a number"},
		{"{{ json.n[json.secret] }}", "evaluate json.n[json.secret]: there is no such item in a number"},
		{"{{ json.secret + 1 }}", "evaluate json.secret + 1: a text + a number means nothing" + convert},
		{
			"{{ json.huge > 5 }}",
			"evaluate json.huge > 5: a number > a number means nothing; write float(…) to compute with a whole number " +
				"above 2⁶³",
		},
		{
			"{{ 1 + json.huge }}",
			"evaluate 1 + json.huge: a number + a number means nothing; write float(…) to compute with a whole number " +
				"above 2⁶³",
		},
		{"{{ max(json.huge, 5) }}", "evaluate max(json.huge, 5): invalid argument for max (type json.Number)"},
		{"{{ int(json.secret) }}", "evaluate int(json.secret): int() is given what is not a number"},
		{"{{ float(json.secret) }}", "evaluate float(json.secret): float() is given what is not a number"},
		{"{{ duration(json.secret) }}", "evaluate duration(json.secret): it has no value for this message"},
		{"{{ fromJSON(json.secret) }}", "evaluate fromJSON(json.secret): the text is not JSON"},
		{"{{ split(topic, '/')[7] }}", "evaluate split(topic, '/')[7]: index out of range: 7 (array length is 3)"},
		{"{{ segment(topic, 3) }}", "evaluate segment(topic, 3): the topic has not so many segments"},
		{"{{ segment(json.n, 3) }}", "evaluate segment(json.n, 3): segment wants a text and a whole number"},
		{"{{ toSubject(json.n) }}", "evaluate toSubject(json.n): the function wants a text"},
		{"{{ 1/0 }}", "evaluate 1/0: the value is not a finite number, as after a division by 0"},
		{"{{ json.n % 0 }}", "evaluate json.n % 0: integer divide by zero"},
		{"{{ map(1..1000000, #) }}", "evaluate map(1..1000000, #): " + tooMuch},
		{"{{ repeat(topic, 1000000) }}", "evaluate repeat(topic, 1000000): " + tooMuch},
		{"{{ json.secret ? 1 : 2 }}", "evaluate json.secret ? 1 : 2: a text stands where true or false is wanted"},
		{
			"{{ string(json.nope) }}",
			`evaluate string(json.nope): the value is nil; write (… ?? "text") if it may be missing`,
		},
		{"{{ fromPairs([[json.secret]]) }}", "evaluate fromPairs([[json.secret]]): it has no value for this message"},
	} {
		got, err := render(t, c.text, message())
		if err == nil {
			t.Errorf("%s: got %q, want an error", c.text, got)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.text, err, c.want)
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error shows the payload: %v", c.text, err)
		}
	}
}

func TestPayloadThatIsNotJSON(t *testing.T) {
	for _, payload := range []string{"", canary, `{"a":1} {"a":2}`, `{"a":1`, "\xff"} {
		_, err := render(t, "{{ json.a }}", &bridge.Message{Payload: []byte(payload)})
		if err == nil || err.Error() != "evaluate json.a: the payload is not JSON" {
			t.Errorf("%q: got %v", payload, err)
		}
		if _, err := render(t, "{{ len(payload) }}", &bridge.Message{Payload: []byte(payload)}); err != nil {
			t.Errorf("%q is parsed without being asked for: %v", payload, err)
		}
	}
}

// What decides without the JSON decides for a payload that is none, too, as where devices send JSON
// and plain words on the same topics.
func TestJSONIsWantedWhereItIsReadOnly(t *testing.T) {
	const none = "the payload is not JSON"
	for text, want := range map[string]string{
		`payload startsWith "{" && json.a > 1`:                         "false",
		`payload == "Online" || json.a > 1`:                            "true",
		`payload startsWith "{" ? json.a : "off"`:                      "off",
		`payload startsWith "{" && any(json.list, # == json.a)`:        "false",
		`payload startsWith "{" && "a" in json`:                        "false",
		`any([1, 2], # == 1) || json.a > 1`:                            "true",
		`let on = payload == "Online"; on ? topic : json[topic]`:       "a",
		`all([topic, "b"], # == "a" || json.a)`:                        none,
		`payload startsWith "O" && json.a > 1`:                         none,
		`json.a ?? "none"`:                                             none,
		`json?.a ?? "none"`:                                            none,
		`json`:                                                         none,
		`toJSON(json)`:                                                 none,
		`payload endsWith "}" || payload != "" && type(json) != "nil"`: none,
	} {
		got, err := render(t, "{{ "+text+" }}", &bridge.Message{Topic: "a", Payload: []byte("Online")})
		switch {
		case err == nil && got != want:
			t.Errorf("%s: got %q, want %q", text, got, want)
		case err != nil && (want != none || !strings.HasSuffix(err.Error(), ": "+none)):
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	const constant = "the pattern of matches must be a text in quotes; a message could choose one that takes very long"
	const known = "variables: header, id, json, now, payload, rand, seq, time, topic; " +
		"xrtcbridge help expressions lists the functions"
	for _, c := range []struct {
		text   string
		offset int
		want   string
	}{
		{"x {{ topic", 2, "{{ has no closing }}"},
		{`{{ "}}`, 0, "{{ has no closing }}"},
		{"{{ }}", 2, "the expression is empty"},
		{"{{ topik }}", 3, "unknown name topik; did you mean topic? " + known},
		{"äöü {{ toSubjec(topic) }}", 7, "unknown name toSubjec; did you mean toSubject? " + known},
		{"{{ topic }}{{ uper(topic) }}", 14, "unknown name uper; did you mean upper? " + known},
		{`{{ type(topic) == "strng" }}`, 18, `type() never says "strng"; did you mean string? it says nil, bool, number, ` +
			"string, bytes, array, map, time, duration"},
		{`{{ 1 > 0 && "int" != type(json.a) }}`, 12, `type() never says "int"; did you mean number? it says nil, bool, number, ` +
			"string, bytes, array, map, time, duration"},
		{"{{ xyzzy }}", 3, "unknown name xyzzy; " + known + "; a text is written in quotes"},
		{"{{ $env.topic }}", 3, "unknown name $ENV; did you mean env? " + known},
		{"{{ now() }}", 3, "time.Time is not callable; variables are written without ()"},
		{"ü {{ 1 + }}", 8, "the expression is not complete"},
		{"{{ topic.foo }}", 9, "a text has no field foo"},
		{"{{ topic == 1 }}", 9, "a text == a number means nothing" + convert},
		{"{{ " + strings.Repeat("(", 9000) + " }}", 2, "the expression is longer than 8192 bytes"},
		{"{{ [" + strings.Repeat("1,", 1500) + "1] }}", -1, "compilation failed: expression exceeds maximum allowed nodes"},
		{"{{ '\xff' }}", 2, "the expression is not UTF-8"},
		{"{{ topic matches json.pattern }}", 22, constant},
		{"{{ topic matches '^' + header.h }}", 21, constant},
		{"{{ count(json.l, # matches topic) }}", 27, constant},
		{"{{ let p = 'a'; topic matches p }}", 30, constant},
		{"{{ count(filter(map(json, .x), # matches topic) | map(# matches topic), #) }}", -1, constant},
		{"{{ topic matches '(' + 'a' }}", -1, "error parsing regexp: missing closing ): `(a`"},
	} {
		_, err := expr.Template(c.text)
		var e *expr.Error
		if !errors.As(err, &e) {
			t.Errorf("%.40s: got %v, want an *expr.Error", c.text, err)
			continue
		}
		if e.Error() != c.want || e.Offset != c.offset && c.offset >= 0 {
			t.Errorf("%.40s:\n got %d %s\nwant %d %s", c.text, e.Offset, e, c.offset, c.want)
		}
	}
}

// What people write who come from other languages, or from YAML, is answered with what to write
// here.
func TestCompileErrorsSayTheMend(t *testing.T) {
	for text, want := range map[string]string{
		"payload.temp > 3":              "write json.temp for a field of the payload's JSON",
		"this.temp > 3":                 "write json for the payload's JSON, or payload for its bytes as text",
		".temp > 3":                     "write json.x for a field of the payload's JSON",
		"json.temp = 3":                 "write == to compare",
		"json.temp <> 3":                "write != for what differs",
		"json.temp is 3":                "write ==",
		"topic =~ '^a'":                 "operators for texts are contains, startsWith, endsWith and matches",
		"topic like 'a%'":               "operators for texts are contains, startsWith, endsWith and matches",
		"topic.contains('a')":           `it is an operator: x contains "text"`,
		"topic.split('/')[0] == 'a'":    "it is a function: split(x)",
		"json.temp.round(1) > 3":        "which are written round(x, 1) and not x.round(1)",
		"json.list[0].round(1) > 3":     "which are written round(x, 1) and not x.round(1)",
		"json.a > 3 AND json.b < 2":     "write and",
		"json.temp != null":             "write nil",
		"json.temp == undefined":        "write nil",
		"exists(json.temp)":             "write json.x != nil",
		"length(topic) > 3":             "write len(x)",
		"Math.round(json.temp) > 3":     "write round(x, n), floor(x) or abs(x)",
		"json.on == on":                 "a text is written in quotes",
		"json.state == ON":              "a text is written in quotes",
		"json.room-temp > 3":            `write ["room-temp"] in place of .room-temp, since - is minus`,
		`header.content-type == "json"`: `write ["content-type"] in place of .content-type, since - is minus`,
		"json.list.0 > 3":               "an item of a list is written [0]",
		"if json.a > 3 then 1 else 2":   "write condition ? a : b",
		"json.a ?? 0 > 3":               "Wrap either by parentheses.",
	} {
		_, err := expr.Condition(text)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestConditionMatches(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"json.c > 20", true},
		{"json.c > 21.5", false},
		{"json.t", true},
		{"!json.t", false},
		{"topic startsWith 'site/'", true},
		{"topic matches '^site/[a-z]+/temp$'", true},
		{"topic matches '^site/' + '[a-z]+/temp$'", true},
		{"count(json.l, topic matches '^site/') == 2", true},
		{"count(json.l, header.no matches '^site/') == 0", true},
		{"payload contains 'canary'", true},
		{"json.s in ['x', 'y'] && json.n == 3", true},
		{"header.no == nil", true},
		{"json.nope?.deeper == nil", true},
		{"seq == 1", true},
	} {
		cond, err := expr.Condition(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got, err := cond.Match(message()); got != c.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

func TestConditionErrors(t *testing.T) {
	for _, c := range []struct{ text, compile, match string }{
		{"topic", "a condition must be true or false, and this is a text", ""},
		{"json.c > ", "the expression is not complete", ""},
		{"{{ json.c > 3 }}", "an expression is written without {{ }} here; leave the braces out", ""},
		{"json.c > {{ json.n }}", "an expression is written without {{ }} here; leave the braces out", ""},
		{"len(topic)", "a condition must be true or false, and this is a number", ""},
		{"json.alram", "", "evaluate json.alram: the value is nil, neither true nor false"},
		{"json.s", "", "evaluate json.s: the value is a text, neither true nor false"},
		{"json.secret > 3", "", "evaluate json.secret > 3: a text > a number means nothing" + convert},
		{"json.nope > 3", "", "evaluate json.nope > 3: nil > a number means nothing; write (… ?? 0) if it may be missing"},
		{
			"!json.nope", "",
			"evaluate !json.nope: nil stands where true or false is wanted; write (… ?? false) if it may be missing",
		},
	} {
		cond, err := expr.Condition(c.text)
		if c.compile != "" {
			if err == nil || err.Error() != c.compile {
				t.Errorf("%s: got %v, want %s", c.text, err, c.compile)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got, err := cond.Match(message()); got || err == nil || err.Error() != c.match {
			t.Errorf("%s: got %v, %v, want %s", c.text, got, err, c.match)
		}
	}
}

func TestSourceStandsForTextInErrors(t *testing.T) {
	_, err := expr.Part{Text: "topic == " + canary, Code: true, Source: "topic == ${X}"}.Condition()
	if want := "the expression does not compile with its ${…} filled in"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	cond, err := expr.Part{Text: "json.n > '" + canary + "'", Code: true, Source: "json.n > '${X}'"}.Condition()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cond.Match(message()); err == nil ||
		err.Error() != "evaluate json.n > '${X}': a number > a text means nothing"+convert {
		t.Errorf("got %v", err)
	}
}

func TestSeqCountsMessages(t *testing.T) {
	tmpl, err := expr.Template("{{ seq }}.{{ seq }}")
	if err != nil {
		t.Fatal(err)
	}
	const each, workers = 200, 4
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				s, err := tmpl.Render(message())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[s] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != each*workers || !seen["1.1"] || !seen["800.800"] {
		t.Errorf("got %d different numbers, want %d from 1.1 to 800.800", len(seen), each*workers)
	}
}

// A machine from the pool must not bring values of the message before.
func TestRenderingsAreIndependent(t *testing.T) {
	tmpl, err := expr.Template("{{ json.a ?? 'none' }}")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ payload, want string }{{`{"a":"1"}`, "1"}, {`{}`, "none"}, {`x`, ""}, {`{"a":2}`, "2"}} {
		if got, _ := tmpl.Render(&bridge.Message{Payload: []byte(c.payload)}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.payload, got, c.want)
		}
	}
}

func TestTemplatePrefix(t *testing.T) {
	for _, c := range []struct{ text, topic, want string }{
		{"{{ topic }}", "east/", "east"},
		{"from/{{ topic }}/x", "a/b", "from/a/b"},
		{"{{toSubject(topic)}}", "a/b/", "a.b"},
		{"{{ toTopic(topic) }}", "a.b.", "a/b"},
		{"x/{{ payload }}/y", "a", "x/"},
		{"{{ portalid(topic) }}", "a", ""},
		{"{{ topic + 'x' }}", "a", ""},
		{"{{ id }}{{ topic }}", "a", ""},
	} {
		tmpl, err := expr.Template(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := tmpl.Prefix(c.topic); got != c.want {
			t.Errorf("%q begins with %q, want %q", c.text, got, c.want)
		}
	}
}
