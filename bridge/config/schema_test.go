package config_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// everything has a field of each type that settings may have.
type everything struct {
	Text      string            `yaml:"text,short"`
	Choice    string            `yaml:"choice" enum:"one|two"`
	Yes       bool              `yaml:"yes"`
	N         int               `yaml:"n" min:"1" max:"9"`
	Small     uint8             `yaml:"small"`
	Large     int64             `yaml:"large"`
	X         float64           `yaml:"x" max:"1e300"`
	Wait      time.Duration     `yaml:"wait"`
	Size      bridge.Size       `yaml:"size"`
	Secret    bridge.Secret     `yaml:"secret"`
	URL       bridge.URL        `yaml:"url"`
	Template  bridge.Template   `yaml:"template"`
	Condition bridge.Condition  `yaml:"condition"`
	List      []string          `yaml:"list"`
	Waits     []time.Duration   `yaml:"waits"`
	Map       map[string]string `yaml:"map"`
	Inner     inner             `yaml:"inner"`
	Maybe     *inner            `yaml:"maybe"`
	inner     `yaml:",inline"`
}

type inner struct {
	ID    string `yaml:"id,own"`
	Count int    `yaml:"count"`
}

func defaults() *everything {
	return &everything{
		Text: "x", Choice: "two", N: 3, X: 0.5, Wait: 90 * time.Second, Size: 64 << 10, Template: bridge.Text("a/b"),
		List: []string{"p", "q"}, Map: map[string]string{"k": "v"}, Inner: inner{"id", 7},
	}
}

// allSettings returns new settings of each built-in connector in each role, and our own.
func allSettings() map[string]func() any {
	all := map[string]func() any{"everything": func() any { return defaults() }}
	for _, c := range connectors.Builtin() {
		if c.Source != nil {
			all[c.Name+" source"] = c.Source.Settings
		}
		if c.Sink != nil {
			all[c.Name+" sink"] = c.Sink.Settings
		}
		if c.Step != nil {
			all[c.Name+" step"] = c.Step.Settings
		}
	}
	return all
}

// What is made of a schema has the same keys as the settings that the schema is of, and the same
// text.
func TestSchemaRoundTrip(t *testing.T) {
	for name, settings := range allSettings() {
		t.Run(name, func(t *testing.T) {
			schema := config.Schema(settings())
			if !json.Valid(schema) {
				t.Fatalf("no JSON: %s", schema)
			}
			make, err := config.FromSchema(schema)
			if err != nil {
				t.Fatalf("%v\n%s", err, schema)
			}
			if diff := cmp.Diff(config.Keys(settings()), config.Keys(make())); diff != "" {
				t.Errorf("keys differ (-want +got):\n%s\n%s", diff, schema)
			}
			if again := config.Schema(make()); string(again) != string(schema) {
				t.Errorf("another schema:\n%s\n%s", schema, again)
			}
			want, err := config.Encode(settings())
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Encode(make())
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != string(got) {
				t.Errorf("encoded\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func decodeText(t *testing.T, text []byte, target any) {
	t.Helper()
	none := func(string) (string, bool) { return "", false }
	if err := (config.Loader{Getenv: none}).DecodeText("settings", text, target); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

var compareSettings = cmp.Options{
	cmp.Exporter(func(reflect.Type) bool { return true }),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b bridge.Template) bool { return shown(a) == shown(b) }),
	cmp.Comparer(func(a, b bridge.Condition) bool { return shown(a) == shown(b) }),
}

func shown(v any) string {
	s, ok := v.(interface{ String() string })
	if !ok {
		return "nil"
	}
	return s.String()
}

// What Encode writes is read back as what it was.
func TestEncodeRoundTrip(t *testing.T) {
	hard := []string{
		"", " ", "null", "~", "yes", "0123", "1e3", "# no comment", "- a", "{a: b}", "'", `"`, `\`, "a\nb\r\n\tc", "\x00\x01\x7f\u0085\u00a0\u2028\ufeff",
		"ä ö 😀 𝄞", "${HOME}", "$${x}", "$", "{{ topic }}", "a: b", "!tag", "&a", "*a", "%", "@", "`", strings.Repeat("long ", 5000),
	}
	for _, text := range hard {
		s := defaults()
		s.Text, s.Secret, s.ID = text, bridge.NewSecret(text), text
		s.List, s.Map = []string{text, "x"}, map[string]string{"key": text}
		s.Maybe = &inner{ID: text}
		s.Large, s.Small, s.X = -1<<63, 255, 1.7976931348623157e+299
		s.Wait, s.Waits = 25*time.Hour+time.Nanosecond, []time.Duration{0, time.Millisecond}
		s.URL, _ = bridge.ParseURL("mqtt://user:pa%24ss@host:1883/path?token=a%20b")
		encoded, err := config.Encode(s)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if !json.Valid(encoded) {
			t.Fatalf("no JSON: %s", encoded)
		}
		got := new(everything)
		decodeText(t, encoded, got)
		s.Template = got.Template // compared by what it renders, below
		if diff := cmp.Diff(s, got, compareSettings); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// Templates and conditions mean the same on the other side.
func TestEncodeCompiled(t *testing.T) {
	t.Setenv("WORD", "kitchen")
	for text, want := range map[string]string{
		"plain":                          "plain",
		"a/{{ topic }}/b":                "a/t/b",
		"{{ '{{' }} {{ topic }}":         "{{ t",
		"$${x} {{ '$${y}' }}":            "${x} ${y}",
		"${WORD}/{{ topic + '${WORD}'}}": "kitchen/tkitchen",
		`{{ payload == "p" ? 1 : 2 }}`:   "1",
	} {
		var s everything
		if err := (config.Loader{}).DecodeText("settings", []byte(`{"template": `+quote(text)+`, "condition": "topic == '${WORD}'"}`), &s); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		encoded, err := config.Encode(&s)
		if err != nil {
			t.Fatal(err)
		}
		var got everything
		decodeText(t, encoded, &got)
		m := &bridge.Message{Topic: "t", Payload: []byte("p")}
		if text, err := got.Template.Render(m); text != want || err != nil {
			t.Errorf("%s renders as %q, %v, want %q", encoded, text, err, want)
		}
		if yes, err := got.Condition.Match(&bridge.Message{Topic: "kitchen"}); !yes || err != nil {
			t.Errorf("%s: %t, %v", encoded, yes, err)
		}
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

type silent struct{}

func (silent) Render(*bridge.Message) (string, error) { return "", nil }
func (silent) Constant() (string, bool)               { return "", false }
func (silent) Prefix(string) string                   { return "" }

func TestEncodeNamesTheKey(t *testing.T) {
	for want, s := range map[string]*everything{
		"template: a config_test.silent does not tell": {Template: silent{}},
		"inner.id: the text is not valid UTF-8":        {Inner: inner{ID: "\xff"}},
	} {
		if _, err := config.Encode(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestFromSchemaRefuses(t *testing.T) {
	property := func(s string) string { return `{"type":"object","properties":{"a":` + s + `}}` }
	for schema, want := range map[string]string{
		"":                     "EOF",
		"[]":                   "not a JSON object",
		`{"type":"object"} {}`: "more than one",
		`{"type":"string"}`:    `settings: type must be "object"`,
		`{"type":"object","additionalProperties":{"type":"string"}}`: "must have properties",
		property(`7`):                                                                              "settings.a: it must be an object",
		property(`{"type":"null"}`):                                                                "settings.a: type must be one of",
		property(`{"type":["string","null"]}`):                                                     "settings.a: type must be one of",
		property(`{"type":"string","pattern":"x"}`):                                                `keyword "pattern" is not understood`,
		property(`{"oneOf":[]}`):                                                                   `keyword "oneOf"`,
		property(`{"type":"array"}`):                                                               "an array needs items",
		property(`{"type":"integer","default":"x"}`):                                               "the default is not a whole number",
		property(`{"type":"integer","minimum":"1"}`):                                               "minimum is a number",
		property(`{"type":"integer","minimum":2,"default":1}`):                                     "the default is not",
		property(`{"type":"string","enum":["a|b"]}`):                                               "enum cannot have",
		property(`{"type":"string","enum":["a\" yaml:\"b"]}`):                                      "enum cannot have",
		property(`{"type":"string","enum":[1]}`):                                                   "enum must be a list of texts",
		property(`{"type":"boolean","x-own":true}`):                                                "x-own is for texts",
		`{"type":"object","properties":{"a\" x:\"":{"type":"string"}}}`:                            "letters, digits",
		`{"type":"object","properties":{"a,required":{"type":"string"}}}`:                          "letters, digits",
		`{"type":"object","properties":{"connection":{"type":"string"}}}`:                          "belongs to the bridge",
		`{"type":"object","properties":{"a":{"type":"string"},"a":{"type":"string"}}}`:             "twice",
		`{"type":"object","properties":{},"required":["b"]}`:                                       `required names "b"`,
		strings.Repeat(`{"type":"object","properties":{"a":`, 40) + "1" + strings.Repeat("}}", 40): "nested more than 16",
		`{"type":"object","x":"` + strings.Repeat("y", 1<<20) + `"}`:                               "more than 1048576 bytes",
	} {
		if _, err := config.FromSchema([]byte(schema)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: got %v, want %q", schema, err, want)
		}
	}
}

// A schema written by hand gives the errors that a struct gives.
func TestFromSchemaChecksValues(t *testing.T) {
	make, err := config.FromSchema([]byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Port","type":"object",
		"properties":{"port":{"type":"integer","minimum":1,"maximum":65535,"default":80,"description":"of the server \ud83d\ude00"},
		"rate":{"type":"number","minimum":0.5},"names":{"type":"array","items":{"type":"string","enum":["a","b"]}}},"required":["names"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"port": 0, "names": ["a"]}`:     "settings:1:10: port must be at least 1, not",
		`{"port": 65536, "names": ["a"]}`: "port must be at most 65535, not",
		`{"rate": 0.4, "names": ["a"]}`:   "rate must be at least 0.5, not",
		`{"names": ["c"]}`:                `names cannot be "c"`,
		`{}`:                              "the key names is missing",
		`{"names": "a", "prot": 1}`:       `unknown key "prot"; did you mean port`,
	} {
		err := (config.Loader{}).DecodeText("settings", []byte(text), make())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func FuzzFromSchema(f *testing.F) {
	for _, settings := range allSettings() {
		f.Add(config.Schema(settings()))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		make, err := config.FromSchema(schema)
		if err != nil {
			return
		}
		config.Keys(make())
		text, err := config.Encode(make())
		if err != nil {
			t.Fatalf("%v\n%s", err, schema)
		}
		if _, err := config.FromSchema(config.Schema(make())); err != nil {
			t.Fatalf("%v\n%s\n%s", err, schema, text)
		}
	})
}
