package step_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/step"
)

const readingSchema = `{type: object, required: [c, at],` +
	` properties: {c: {type: number, minimum: -60, maximum: 1.0e3}, at: {format: date-time},` +
	` list: {type: array, uniqueItems: true, items: {type: [integer, "null"]}}, exact: {multipleOf: 0.01},` +
	` kind: {enum: [a, b]}, tag: {const: x}, s: {pattern: "^[a-z]+$", maxLength: 3},` +
	` either: {anyOf: [{type: string}, {type: object, required: [k]}]}, sub: {$ref: "#/$defs/sub"},` +
	` never: false, big: {const: 12345678901234567890123}, map: {additionalProperties: {type: number}}},` +
	` $defs: {sub: {type: object, additionalProperties: false, properties: {"a/b": {type: string}}}}}`

func TestSchema(t *testing.T) {
	for _, c := range []struct{ payload, want string }{
		{`{"c":1,"at":"2026-01-02T03:04:05Z"}`, ""},
		{`{"c":1,"at":1,"list":[1,2,null],"exact":1.10,"kind":"a","tag":"x","s":"abc","either":"x","sub":{"a/b":"x"}}`, ""},
		{`{"c":1,"at":1,"big":12345678901234567890123}`, ""},
		{`{"c":1,"at":1,"big":12345678901234567890124}`, "/big: const"},
		{`{"c":1000.0000000000000000000001,"at":1}`, "/c: maximum"},
		{`{"c":-61,"at":1}`, "/c: minimum"},
		{`{"c":"` + canary + `","at":1}`, "/c: type number"},
		{`{"c":1}`, "the payload: required at"},
		{`{}`, "the payload: required c, at"},
		{`[]`, "the payload: type object"},
		{`{"c":1,"at":"` + canary + `"}`, "/at: format date-time"},
		{`{"c":1,"at":1,"list":[1,1]}`, "/list: uniqueItems"},
		{`{"c":1,"at":1,"list":[1,"` + canary + `"]}`, "/list/1: type integer or null"},
		{`{"c":1,"at":1,"exact":1.001}`, "/exact: multipleOf"},
		{`{"c":1,"at":1,"kind":"` + canary + `","tag":"y"}`, "/kind: enum; /tag: const"},
		{`{"c":1,"at":1,"s":"ABCD"}`, "/s: maxLength; /s: pattern"},
		{`{"c":1,"at":1,"either":{"` + canary + `":1}}`, "/either: anyOf"},
		{`{"c":1,"at":1,"sub":{"a/b":1}}`, "/sub/a~1b: type string"},
		{`{"c":1,"at":1,"sub":{"` + canary + `":1}}`, "/sub: additionalProperties"},
		{`{"c":1,"at":1,"map":{"` + canary + `":"x"}}`, "/map/*: type number"},
		{`{"c":1,"at":1,"map":{"4242":"x"}}`, "/map/*: type number"},
		{`{"c":1,"at":1,"never":1}`, "/never: false"},
		{`{"c":"x","at":"x","list":1,"kind":1,"tag":1}`, "/at: format date-time; /c: type number; /kind: enum; and 2 more"},
		{canary, "the payload is not JSON"},
		{`{"c":1,"at":1} {}`, "the payload is not JSON"},
		{`{"c":1e1000000,"at":1}`, "a number has an exponent beyond 1000"},
		{`{"c":[{"x":[1E-99999999999]}],"at":1}`, "a number has an exponent beyond 1000"},
	} {
		o := process(t, "schema: {formats: true, inline: "+readingSchema+"}", bridge.Message{Payload: []byte(c.payload)})
		got := strings.TrimPrefix(o.Refused.Error(), "schema: ")
		if len(o.Refused) == 0 {
			got = ""
		}
		if got != c.want || len(o.Refused)+len(o.Messages) != 1 || got == "" && string(o.Messages[0].Payload) != c.payload {
			t.Errorf("%s: got %s, want %s", c.payload, got, c.want)
		}
	}
}

// A schema in a file reaches what is in its folder and below, and nothing else.
func TestSchemaFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("outside.json", `{"type":"number"}`)
	write("in/sub/common.json", `{"$defs":{"t":{"type":"number"}}}`)
	write("in/sub/up.json", `{"$ref":"../top.json"}`)
	write("in/top.json", `{"type":"number"}`)
	write("in/a b.json", `{"properties":{"c":{"$ref":"sub/common.json#/$defs/t"},"d":{"$ref":"sub/up.json"}}}`)
	write("in/out.json", `{"$ref":"../outside.json"}`)
	write("in/root.json", `{"$ref":"/etc/passwd"}`)
	write("in/file.json", `{"$ref":"file:///etc/passwd"}`)
	write("in/net.json", `{"$ref":"https://example.com/x.json"}`)
	write("in/gone.json", `{"$ref":"nowhere.json"}`)
	write("in/folder.json", `{"$ref":"sub"}`)
	write("in/broken.json", "{\n \"type\": number}")
	write("in/wrong.json", `{"properties":{"c":{"type":"nummber"}}}`)
	write("in/pattern.json", `{"pattern":"("}`)
	write("in/anchor.json", `{"$ref":"#/$defs/nope"}`)
	write("in/draft.json", `{"$schema":"https://example.com/mine"}`)
	if err := os.Symlink(filepath.Join(dir, "outside.json"), filepath.Join(dir, "in", "link.json")); err != nil {
		t.Fatal(err)
	}
	write("in/linked.json", `{"$ref":"link.json"}`)

	path := func(name string) string { return "schema: '" + filepath.Join(dir, "in", name) + "'" }
	for payload, want := range map[string]string{
		`{"c":1,"d":1}`: "", `{"c":"x","d":"x"}`: "schema: /c: type number; /d: type number",
	} {
		o := process(t, path("a b.json"), bridge.Message{Payload: []byte(payload)})
		if (len(o.Refused) > 0) != (want != "") || want != "" && o.Refused.Error() != want {
			t.Errorf("%s: got %v, want %s", payload, o.Refused, want)
		}
	}
	const only = "only files in the folder of the schema, and below it, are read"
	for name, want := range map[string]string{
		"out.json":     "path: read outside.json: ", // addresses have nothing above the folder
		"root.json":    "path: read etc/passwd: ",
		"file.json":    "path: read file:///etc/passwd: " + only,
		"net.json":     "path: read https://example.com/x.json: " + only,
		"gone.json":    "path: read nowhere.json: ",
		"folder.json":  "path: read sub: it is not a file",
		"linked.json":  "path: read link.json: ",
		"missing.json": "path: read missing.json: ",
		"broken.json":  "path: read broken.json: line 2 is not JSON: ",
		"wrong.json":   "path: wrong.json is no valid JSON Schema: /properties/c/type: value must be one of",
		"pattern.json": "path: ",
		"anchor.json":  "path: ",
		"draft.json":   "path: read https://example.com/mine: " + only,
	} {
		if _, err := build(t, path(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

// Mistakes in a schema that is written in YAML are named where they are.
func TestSchemaMistakes(t *testing.T) {
	for yaml, want := range map[string]string{
		"schema: {}":                         "schema wants either path or inline",
		"schema: {path: x.json, inline: {}}": "schema wants either path or inline",
		"schema: nope.json":                  "path: read nope.json: no such file or directory",
		"schema: {inline: {type: nummber}}": "p.yaml:1:57: inline.type: " +
			"it is no valid JSON Schema: value must be one of",
		"schema: {inline: {properties: {c: {minimum: x}}}}": "p.yaml:1:74: inline.properties.c.minimum: " +
			"it is no valid JSON Schema: got string, want number",
		"schema: {inline: {required: c}}":          "inline.required: it is no valid JSON Schema: got string, want array",
		"schema: {inline: {$ref: other.json}}":     "an inline schema refers to nothing but itself",
		"schema: {inline: {const: '{{ topic }}'}}": "a schema is the same for all messages, and cannot hold {{ }}",
		"schema: {inline: {$ref: '#/$defs/x'}}":    "inline: ",
	} {
		if _, err := build(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", yaml, err, want)
		}
	}
	if _, err := build(t, step.Schema().Example); err != nil {
		t.Error(err)
	}
	if _, err := build(t, step.JQ().Example); err != nil {
		t.Error(err)
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(`{"c":1e400,"at":"2026-01-02T03:04:05Z","list":[1,null]}`)
	s, err := build(f, "schema: {formats: true, inline: "+readingSchema+"}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		o, err := new(bridge.StepRunner).Process(t.Context(), s, 1, batch(payload), false)
		if err != nil || len(o.Messages)+len(o.Refused) != 1 {
			t.Errorf("%s: %+v, %v", payload, o, err)
		}
	})
}
