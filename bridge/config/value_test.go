package config_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

type freeSettings struct {
	Any    bridge.Value            `yaml:"any" doc:"any"`
	Fields bridge.Fields           `yaml:"fields" doc:"fields"`
	List   []bridge.Value          `yaml:"list" doc:"list"`
	Map    map[string]bridge.Value `yaml:"map" doc:"map"`
}

// What a plugin gets of values makes the same values, with digits and order kept.
func TestValuesAsPlain(t *testing.T) {
	const file = `
pipelines:
  p:
    from: {fake: {any: [1.50, "1.50", "{{ json.x }}", "<{{ topic }}>", true, null, {b: 1, a: "{{ '{{' }}"}],
      fields: {z: 1, a.b: "{{ id }}", c: {d: [12345678901234567890123]}}, list: {x: 1}, map: {k: "{{ json.x }}"}}}
    to: fake
`
	var got *freeSettings
	fake := bridge.Connector{
		Name: "fake",
		Source: bridge.NewOpener(freeSettings{},
			func(_ context.Context, s *freeSettings, _ bridge.Env) (bridge.Source, error) {
				got = s
				return nil, nil
			}),
		Sink: bridge.NewOpener(struct{}{}, func(context.Context, *struct{}, bridge.Env) (bridge.Sink, error) {
			return nil, nil
		}),
	}
	c, err := config.Loader{Registry: bridge.NewRegistry(fake)}.Parse("p.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range c.Pipelines[0].Sources() {
		if _, err := source.Open(t.Context(), bridge.Env{}); err != nil {
			t.Fatal(err)
		}
	}
	m := &bridge.Message{Topic: "t", ID: "i", Payload: []byte(`{"x":1.10}`)}
	check := func(s *freeSettings) {
		t.Helper()
		values := []bridge.Value{s.Any, s.List[0], s.Map["k"]}
		for _, f := range s.Fields {
			values = append(values, f.Value)
		}
		var all []string
		for _, v := range values {
			b, err := v.AppendJSON(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		want := []string{
			`[1.50,"1.50",1.10,"<t>",true,null,{"b":1,"a":"{{"}]`, `{"x":1}`, `1.10`,
			`1`, `"i"`, `{"d":[12345678901234567890123]}`,
		}
		if diff := cmp.Diff(want, all); diff != "" || s.Fields[0].Name != "z" || s.Fields[1].Name != "a.b" {
			t.Errorf("%s %v", diff, s.Fields)
		}
	}
	check(got)
	text, err := config.Plain(got)
	if err != nil {
		t.Fatal(err)
	}
	again := new(freeSettings)
	if err := config.DecodePlain(text, again); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	check(again)
}
