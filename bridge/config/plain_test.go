package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
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
	Servers   []server          `yaml:"servers"`
	File      string            `yaml:"file,path"`
	Out       bridge.Template   `yaml:"out,path"`
	inner     `yaml:",inline"`
}

type server struct {
	Name   string              `yaml:"name"`
	Labels map[string][]string `yaml:"labels"`
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

// What is made of the keys of settings has the same keys, and takes what these take.
func TestKeysRoundTrip(t *testing.T) {
	for name, settings := range allSettings() {
		t.Run(name, func(t *testing.T) {
			make, err := config.FromKeys(config.Keys(settings()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(config.Keys(settings()), config.Keys(make())); diff != "" {
				t.Errorf("keys differ (-want +got):\n%s", diff)
			}
			if empty, err := config.Plain(make()); err != nil || string(empty) != "{}" {
				t.Errorf("with nothing set it is %s, %v", empty, err)
			}
			want, err := config.Plain(settings())
			if err != nil {
				t.Fatal(err)
			}
			through := make()
			if slices.ContainsFunc(config.Keys(through),
				func(k config.Key) bool { return k.Required && !strings.Contains(k.Path, ".") }) {
				return // with defaults alone it is not whole
			}
			decodePlain(t, want, through)
			if got, err := config.Plain(through); err != nil || !sameJSON(t, want, got) {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
		})
	}
}

// sameJSON compares but for what is empty, which is not set on the other side.
func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return cmp.Equal(x, y)
}

func decodePlain(t *testing.T, text []byte, target any) {
	t.Helper()
	if err := config.DecodePlain(text, target); err != nil {
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

// What Plain writes is read back as what it was.
func TestPlainRoundTrip(t *testing.T) {
	hard := []string{
		"", " ", "null", "~", "yes", "0123", "1e3", "# no comment", "- a", "{a: b}", "'", `"`, `\`, "a\nb\r\n\tc",
		"\x00\x01\x7f\u0085\u00a0\u2028\ufeff",
		"ä ö 😀 𝄞", "${HOME}", "$${x}", "$", "{{ topic }}", "a: b", "!tag", "&a", "*a", "%", "@", "`", "<&>",
		strings.Repeat("long ", 5000),
	}
	for _, text := range hard {
		s := defaults()
		s.Text, s.Secret, s.ID = text, bridge.NewSecret(text), text
		s.List, s.Map = []string{text, "x"}, map[string]string{"key": text, text: "x"}
		s.Maybe = &inner{ID: text}
		s.Large, s.Small, s.X = -1<<63, 255, 1.7976931348623157e+299
		s.Wait, s.Waits = 25*time.Hour+time.Nanosecond, []time.Duration{0, time.Millisecond}
		s.Servers = []server{{Name: text, Labels: map[string][]string{"a": {text}}}, {}}
		s.URL, _ = bridge.ParseURL("mqtt://user:pa%24ss@host:1883/path?token=a%20b")
		encoded, err := config.Plain(s)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		delete(s.Map, text) // a key of that name may be one that a file cannot have
		got := new(everything)
		if err := config.DecodePlain(encoded, got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		delete(got.Map, text)
		s.Template = got.Template // compared by what it renders, below
		if diff := cmp.Diff(s, got, compareSettings); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// plugged is a connector whose settings are made of a list of keys, as those of a plugin are.
type plugged struct{ settings func() any }

func (p plugged) Settings() any                      { return p.settings() }
func (plugged) Check(_ context.Context, _ any) error { return nil }
func (plugged) Open(_ context.Context, settings any, env bridge.Env) (bridge.Source, error) {
	text, err := config.Plain(settings)
	_, writeErr := env.Stdout.Write(text)
	return nil, errors.Join(err, writeErr)
}

// What a file says reaches a plugin as plain JSON: nothing but what is set, each value in the form
// of its type, ${…} filled in, and what a connection says, too.
func TestSettingsFromKeys(t *testing.T) {
	make, err := config.FromKeys(config.Keys(defaults()))
	if err != nil {
		t.Fatal(err)
	}
	registry := bridge.NewRegistry(bridge.Connector{Name: "every", Source: plugged{make}}, late("end"))
	getenv := func(name string) (string, bool) {
		return map[string]string{"WORD": "kitchen", "HARD": "a\"b: {{ topic }}", "NUMBER": "7"}[name], name != "UNSET"
	}
	for settings, want := range map[string]string{
		`{}`:                                   `{}`,
		`lone`:                                 `{"text":"lone"}`,
		`{text: 0123, yes: "true", n: 4}`:      `{"n":4,"text":"0123","yes":true}`,
		`{n: "${NUMBER}", x: 1.50}`:            `{"n":7,"x":1.5}`,
		`{wait: 1d12h, waits: 90s, size: 1kB}`: `{"size":"1000","wait":"36h0m0s","waits":["1m30s"]}`,
		`{secret: "${HARD}", text: "$${x}"}`:   `{"secret":"a\"b: {{ topic }}","text":"${x}"}`,
		`{template: "${WORD}/{{ topic }}", condition: "topic == '${WORD}'"}`: `{"condition":"topic == 'kitchen'","template":"kitchen/{{ topic }}"}`,
		`{template: "${HARD}"}`:                                                        `{"template":"a\"b: {{\"{{\"}} topic }}"}`,
		`{url: "mqtt://u:p@h", list: [a, b], map: {k: v}}`:                             `{"list":["a","b"],"map":{"k":"v"},"url":"mqtt://u:p@h"}`,
		`{inner: {id: x}, maybe: {count: 0}, servers: {name: a, labels: {l: [1, 2]}}}`: `{"inner":{"id":"x"},"maybe":{"count":0},"servers":[{"labels":{"l":["1","2"]},"name":"a"}]}`,
		`{connection: c, count: 2}`:                                                    `{"count":2,"id":"me-p-from","secret":"s"}`,
		`{connection: c, id: you}`:                                                     `{"count":1,"id":"you","secret":"s"}`,
		`{txt: a}`:                                                                     `f.yaml:3:22: unknown key "txt"; did you mean text?`,
		`{n: 10}`:                                                                      `f.yaml:3:25: n must be at most 9, not "10"`,
		`{n: "${WORD}"}`:                                                               `f.yaml:3:25: n must be a whole number, not "${WORD}"`,
		`{small: 256}`:                                                                 `f.yaml:3:29: small is out of range: "256"`,
		`{choice: three}`:                                                              `f.yaml:3:30: choice cannot be "three"; allowed: one, two`,
		`{wait: 10}`:                                                                   `f.yaml:3:28: wait must be a duration like 10s, not "10"; add a unit`,
		`{text: "${UNSET}"}`:                                                           `f.yaml:3:29: the variable UNSET is not set`,
		`{condition: "topic = '${HARD}'"}`:                                             `f.yaml:3:43: what ${…} stands for is not one plain word or number`,
		`{template: "{{ topik }}"}`:                                                    `f.yaml:3:36: unknown name topik`,
		`{url: nowhere}`:                                                               `f.yaml:3:27: url: not a URL`,
		`{servers: [{nam: x}]}`:                                                        `f.yaml:3:33: unknown key "nam"; did you mean name?`,
		`{inner: x}`:                                                                   `f.yaml:3:29: inner must be a mapping, not a text`,
	} {
		text := "connections: {c: {every: {id: me, count: 1, secret: s}}}\npipelines:\n  p: {from: {every: " +
			settings + "}, to: end}\n"
		c, err := config.Loader{Registry: registry, Getenv: getenv}.Parse("f.yaml", []byte(text))
		got := ""
		if err == nil {
			var out bytes.Buffer
			_, err = c.Pipelines[0].From[0].Open(t.Context(), bridge.Env{Instance: "p-from", Stdout: &out})
			got = out.String()
		}
		if err != nil {
			got = err.Error()
		}
		if got != want && (!strings.HasPrefix(want, "f.yaml") || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: got %s, want %s", settings, got, want)
		}
	}
}

// A path of a plugin is made relative to the folder of the file by the bridge, once.
func TestPathFromKeys(t *testing.T) {
	make, err := config.FromKeys(config.Keys(defaults()))
	if err != nil {
		t.Fatal(err)
	}
	registry := bridge.NewRegistry(bridge.Connector{Name: "every", Source: plugged{make}}, late("end"))
	c, err := config.Loader{Registry: registry}.Parse("conf/f.yaml",
		[]byte("pipelines: {p: {from: {every: {file: x.db, out: 'out/{{ topic }}'}}, to: end}}"))
	if err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	if _, err := c.Pipelines[0].From[0].Open(t.Context(), bridge.Env{Stdout: &sent}); err != nil {
		t.Fatal(err)
	}
	if want := `{"file":"conf/x.db","out":"conf/out/{{ topic }}"}`; sent.String() != want {
		t.Errorf("sent %s, want %s", &sent, want)
	}
	var got everything
	decodePlain(t, sent.Bytes(), &got)
	if got.File != "conf/x.db" || shown(got.Out) != "conf/out/{{ topic }}" {
		t.Errorf("got %s and %s", got.File, shown(got.Out))
	}
	decodePlain(t, []byte(`{"file": "memory", "out": "~/x"}`), &got)
	if text, _ := got.Out.Constant(); got.File != "memory" || text != "~/x" {
		t.Errorf("got %s and %s", got.File, text)
	}
}

// A lone value, and one that is required.
func TestRequiredKey(t *testing.T) {
	make, err := config.FromKeys([]config.Key{
		{Path: "names[]", Required: true, Enum: []string{"a", "b"}},
		{Path: "rate", Kind: "number", Min: new(float64)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"rate": -1, "names": "a"}`: `rate must be at least 0, not "-1"`,
		`{"names": ["c"]}`:           `names cannot be "c"`,
		`{"names": []}`:              "names is an empty list",
		`{}`:                         "the key names is missing; it must be a text or a list of texts",
		`{"names": "a"} {}`:          "more than one",
		`[`:                          "unexpected EOF",
	} {
		if err := config.DecodePlain([]byte(text), make()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

type silent struct{}

func (silent) Render(*bridge.Message) (string, error) { return "", nil }
func (silent) Constant() (string, bool)               { return "", false }
func (silent) Prefix(string) string                   { return "" }

func TestPlainNamesTheKey(t *testing.T) {
	for want, s := range map[string]*everything{
		"template: a config_test.silent does not tell": {Template: silent{}},
		"inner.id: the text is not valid UTF-8":        {Inner: inner{ID: "\xff"}},
		"servers.name: the text is not valid UTF-8":    {Servers: []server{{Name: "\xff"}}},
	} {
		if _, err := config.Plain(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Templates and conditions mean the same on the other side.
func TestPlainCompiled(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                        "plain",
		"a/{{ topic }}/b":              "a/t/b",
		"{{ '{{' }} {{ topic }}":       "{{ t",
		"${x} {{ '${y}' }}":            "${x} ${y}",
		`{{ payload == "p" ? 1 : 2 }}`: "1",
	} {
		first, second := new(everything), new(everything)
		written, _ := json.Marshal(map[string]string{"template": text, "condition": "topic == 'kitchen'"})
		decodePlain(t, written, first)
		encoded, err := config.Plain(first)
		if err != nil {
			t.Fatal(err)
		}
		decodePlain(t, encoded, second)
		m := &bridge.Message{Topic: "t", Payload: []byte("p")}
		if text, err := second.Template.Render(m); text != want || err != nil {
			t.Errorf("%s renders as %q, %v, want %q", encoded, text, err, want)
		}
		if yes, err := second.Condition.Match(&bridge.Message{Topic: "kitchen"}); !yes || err != nil {
			t.Errorf("%s: %t, %v", encoded, yes, err)
		}
	}
}

func TestFromKeysRefuses(t *testing.T) {
	one := 1.0
	for want, keys := range map[string][]config.Key{
		`key "a b": a name has letters`:         {{Path: "a b"}},
		`key "": a name has letters`:            {{}},
		`key "a..b": a name has`:                {{Path: "a..b"}},
		`key "a[": a name has`:                  {{Path: "a["}},
		`key "connection": belongs to the`:      {{Path: "connection"}},
		`key "a": there is no kind "date"`:      {{Path: "a", Kind: "date"}},
		`key "a": paths are texts or templates`: {{Path: "a", Kind: "bool", File: true}},
		`key "a": bounds are for numbers`:       {{Path: "a", Min: &one}},
		`key "a": own and enum are for texts`:   {{Path: "a", Kind: "bool", Own: true}},
		`key "a": enum cannot have "x|y"`:       {{Path: "a", Enum: []string{"x|y"}}},
		`key "a": it is there twice`:            {{Path: "a"}, {Path: "b"}, {Path: "a"}},
		`key "a.b": it is there twice, or as`:   {{Path: "a"}, {Path: "a.b"}},
		`key "a.b": it is there twice, or as `:  {{Path: "a[].c"}, {Path: "a.b"}},
		`key "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a…`: {{Path: strings.Repeat("a.", 20) + "a"}},
		`there are more than 1000 keys`:         make([]config.Key, 1001),
	} {
		if _, err := config.FromKeys(keys); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, "…")) {
			t.Errorf("%v: got %v, want %q", keys[0], err, want)
		}
	}
}

// A list of keys of whatever program makes settings, or an error.
func FuzzFromKeys(f *testing.F) {
	f.Add("topic", "", "x", "a", true, true)
	f.Add("servers[].headers{}", "secret", "a\" yaml:\"b", "", false, false)
	f.Fuzz(func(t *testing.T, path, kind, fallback, enum string, required, short bool) {
		k := config.Key{Path: path, Kind: kind, Default: fallback, Required: required, Short: short, Own: required}
		if enum != "" {
			k.Enum = []string{enum}
		}
		make, err := config.FromKeys([]config.Key{k, {Path: "other"}})
		if err != nil {
			return
		}
		got := config.Keys(make())
		if len(got) != 2 || got[0].Path != path || got[0].Default != fallback || got[0].Required != required ||
			got[0].Short != short {
			t.Errorf("%+v became %+v", k, got)
		}
		if text, err := config.Plain(make()); string(text) != "{}" || err != nil {
			t.Errorf("with nothing set it is %s, %v", text, err)
		}
	})
}
