package expr

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// shapes are expressions that need no machine.
func shapes() []string {
	return []string{
		"json.a > 20", "json.a >= json.b", "json.a < 20.5", "json.a <= 20", "json.a == 'on'", "json.a != nil",
		"json.a == true", "20 < json.a",
		"json.a > 10 && json.b < 20", "json.a or json.b", "!(json.a == json.b)", "not json.a", "json.a ?? 'none'",
		"json.a ?? json.b ?? 0",
		"json.a in ['on', 'off']", "json.a in [1, 2, 3]", "json.a in json.b", "json.a contains 'n'",
		"topic startsWith 's/'", "json.a endsWith topic",
		"json.a + json.b", "json.a + 1", "(json.a - 32) / 1.8", "json.a * json.b", "json.a - json.b",
		"round((json.a - 32) / 1.8, 1)", "json.a / json.b",
		"json.a[1]", "json.a[0] == 1", "json['a']", "json.a > 0 ? 'high' : 'low'", "segment(topic, 1)",
		"segment(topic, -1) == 'b'", "segment(topic, json.a)",
		"toSubject(topic) + '.x'", "portalid(topic)", "header.unit == 'C'", "header['no'] ?? 'none'",
		"payload == '{}'", "payload + topic", "id != ''", "unix(time)",
		"default(json.a, 1)", "format(time, '15:04')", "hex(topic)", "1.5", "'text'", "nil", "true",
	}
}

// others are some that do.
func others() []string {
	return []string{
		"seq", "now", "rand", "uuid()", "json", "filter(json.a, # > 1)", "let x = json.a; x == json.b", "header",
		"json.a.b.c matches 'x'",
		"json[topic]", "string(json.a)", "lower(topic)", "[json.a]", "{'a': json.a}", "repeat(topic, 2)",
		"json?.a?.b", "header[topic]", "1..3", "json.a % 2",
		"json.a == 1 || json.a == 2 || json.a == 3",
	}
}

func TestShortExpressionsNeedNoMachine(t *testing.T) {
	for want, texts := range map[bool][]string{true: shapes(), false: others()} {
		for _, text := range texts {
			p, err := compile(Part{Text: text, Code: true})
			if err != nil {
				t.Fatal(text, err)
			}
			if got := p.direct != nil; got != want {
				t.Errorf("%s: evaluated without the machine: %v, want %v", text, got, want)
			}
		}
	}
}

func someJSON() []string {
	return []string{
		"21", "21.5", "-0", "1e2", "1e400", "9007199254740993", "12345678901234567890",
		"123456789012345678901234567890", `"on"`, `""`, `"\u00e9\n"`, `"20"`,
		"true", "false", "null", "[1,2]", "[]", `["on"]`, `{"on":1}`, "nonsense", "", "0", "1", "01",
	}
}

// What needs no machine has the value that the machine gives it.
func TestDirectIsWhatTheMachineSays(t *testing.T) {
	for _, text := range append(shapes(), others()...) {
		p, err := compile(Part{Text: text, Code: true})
		if err != nil {
			t.Fatal(text, err)
		}
		for _, a := range someJSON() {
			for _, b := range someJSON() {
				compareDirect(t, p, a, b)
			}
		}
	}
}

func FuzzDirect(f *testing.F) {
	for i, text := range append(shapes(), others()...) {
		f.Add(text, someJSON()[i%len(someJSON())], "2")
	}
	f.Fuzz(func(t *testing.T, text, a, b string) {
		if strings.Contains(a+b, "{") {
			return // a key may be there twice, where the machine may take the last one
		}
		if p, err := compile(Part{Text: text, Code: true}); err == nil {
			compareDirect(t, p, a, b)
		}
	})
}

func compareDirect(t *testing.T, p *program, a, b string) {
	m := &bridge.Message{
		Topic: "s/b", ID: "7", Time: time.Unix(1e9, 5e8).UTC(), Header: map[string]string{"unit": "C"},
		Payload: []byte(`{"x":[{}],"a":` + a + `,"b":` + b + `}`),
	}
	got, ok := p.direct.try(m)
	if !ok || !json.Valid(m.Payload) {
		return // the machine says what is wrong; or nothing that is used is
	}
	machine := &program{source: p.source, code: p.code, lazy: p.lazy, fields: p.fields}
	machine.pool.New = p.pool.New
	want, err := machine.run(m, 0)
	if err != nil || fmt.Sprintf("%T %#v", got, got) != fmt.Sprintf("%T %#v", want, want) {
		t.Errorf("%s of %s: %#v, and the machine says %#v, %v", p.source, m.Payload, got, want, err)
	}
}
