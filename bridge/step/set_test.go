package step_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// shape runs one step, written as in a file, on a message. An error is that of the file, or the
// reason why the message was refused.
func shape(t *testing.T, written string, m bridge.Message) (bridge.Message, error) {
	t.Helper()
	c, err := load(t, "pipelines:\n  p:\n    from: stdio\n    to: stdio\n    steps:\n      - "+
		strings.ReplaceAll(strings.TrimSpace(written), "\n", "\n        "))
	if err != nil {
		return m, err
	}
	s, err := c.Pipelines[0].Steps[0].Open(t.Context(), bridgetest.Env(t, "p.steps.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o, err := new(bridge.StepRunner).Process(t.Context(), s, 1, bridge.Batch{m}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Refused) > 0 {
		return m, o.Refused
	}
	return o.Messages[0], nil
}

func reading() bridge.Message {
	return bridge.Message{
		ID: "7", Topic: "home/kitchen/temp", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Header: map[string]string{"trace": "1", "unit": "F"},
		Payload: []byte(`{"temp_f":212,"room":"kitchen","big":12345678901234567890123,"cost":1.10,"n":null,` +
			`"deep":{"z":1,"a":[1,2.50]},"debug":true}`),
	}
}

func TestShape(t *testing.T) {
	payload := func(p string) func(*bridge.Message) { return func(m *bridge.Message) { m.Payload = []byte(p) } }
	replaced := func(old, new string) func(*bridge.Message) {
		return func(m *bridge.Message) { m.Payload = []byte(strings.Replace(string(m.Payload), old, new, 1)) }
	}
	end := `"debug":true`
	for _, c := range []struct {
		step string
		want func(*bridge.Message)
	}{
		{`set: {topic: "rooms/{{ segment(topic, 1) }}"}`, func(m *bridge.Message) { m.Topic = "rooms/kitchen" }},
		{`set: {topic: rooms}`, func(m *bridge.Message) { m.Topic = "rooms" }},
		{`set: {header.unit: C, header.a.b: "{{ json.temp_f }}"}`, func(m *bridge.Message) {
			m.Header = map[string]string{"trace": "1", "unit": "C", "a.b": "212"}
		}},
		{`set: {time: "2026-02-03T04:05:06Z"}`, func(m *bridge.Message) {
			m.Time = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
		}},
		{`set: {json.temp_c: "{{ (json.temp_f - 32) / 1.8 }}"}`, replaced(end, end+`,"temp_c":100`)},
		{`set: {json.temp_f: "{{ json.temp_f }}"}`, replaced("", "")},
		{`set: {json.temp_f: " {{ json.temp_f }}"}`, replaced("212", `" 212"`)},
		{`set: {json.x: "{{ json.big }}"}`, replaced(end, end+`,"x":12345678901234567890123`)},
		{`set: {json.x: "{{ json.cost }}", json.y: "<{{ json.cost }}>"}`, replaced(end, end+`,"x":1.10,"y":"<1.10>"`)},
		{`set: {json.x: "{{ json.deep }}"}`, replaced(end, end+`,"x":{"z":1,"a":[1,2.50]}`)},
		{`set: {json.x: "{{ json.deep.a[1] }}"}`, replaced(end, end+`,"x":2.50`)},
		{`set: {json.x: "{{ json.n }}"}`, replaced(end, end+`,"x":null`)},
		{`set: {json.x: "{{ json.nix ?? 'none' }}"}`, replaced(end, end+`,"x":"none"`)},
		{
			`set: {json.site: {name: kitchen, floor: 2, tags: [a, "{{ topic }}", 1.50], on: true, no: null}}`,
			replaced(end, end+`,"site":{"name":"kitchen","floor":2,"tags":["a","home/kitchen/temp",1.50],"on":true,"no":null}`),
		},
		{
			`set: {json.v: "2", json.w: 2, json.x: 1e3, json.y: yes, json.z: 0}`,
			replaced(end, end+`,"v":"2","w":2,"x":1e3,"y":"yes","z":0`),
		},
		{`set: {json.deep.a: 5, json.deep.z: "{{ json.deep.a[0] + 1 }}"}`, replaced(`{"z":1,"a":[1,2.50]}`, `{"z":2,"a":5}`)},
		{`set: {'json["a.b"].c': 1}`, replaced(end, end+`,"a.b":{"c":1}`)},
		{`set: {payload: "{{ json.room }}"}`, payload("kitchen")},
		{`set: {payload: "{{ json.deep }}"}`, payload(`{"z":1,"a":[1,2.50]}`)},
		{`set: {payload: {a: 1}}`, payload(`{"a":1}`)},
		{`set: {fields: 1, topic: x}`, nil}, // no part of a message
		{`unset: [json.debug, header.trace, json.nix, header.nix, json.deep.a]`, func(m *bridge.Message) {
			replaced(`,"debug":true`, "")(m)
			replaced(`,"a":[1,2.50]`, "")(m)
			m.Header = map[string]string{"unit": "F"}
		}},
		{`unset: [topic, payload, time]`, func(m *bridge.Message) { m.Topic, m.Payload, m.Time = "", nil, time.Time{} }},
		{`unset: ["json.deep.a[0]", "json.deep.a[1]", json.deep.z]`, replaced(`{"z":1,"a":[1,2.50]}`, `{"a":[]}`)},
		{`unset: {parts: json.temp_f}`, replaced(`"temp_f":212,`, "")},
		{
			"map:\n  room: \"{{ segment(topic, 1) }}\"\n  b: \"{{ json.big }}\"\n  at: \"{{ time }}\"\n  a: {}\n",
			payload(`{"room":"kitchen","b":12345678901234567890123,"at":"2026-01-02T03:04:05Z","a":{}}`),
		},
		{`map: ["{{ json.cost }}", "{{ json.deep.a }}", null]`, payload(`[1.10,[1,2.50],null]`)},
		{`map: "{{ json.room }};{{ json.cost }}"`, payload("kitchen;1.10")},
		{`map: "{{ {(topic): 1} }}"`, payload(`{"home/kitchen/temp":1}`)},
		{`map: "{{ json.deep }}"`, payload(`{"z":1,"a":[1,2.50]}`)},
		{`map: 5`, payload("5")},
		{`map: {payload: 1}`, payload(`{"payload":1}`)},
	} {
		m, want := reading(), reading()
		got, err := shape(t, c.step, m)
		if c.want == nil {
			if err == nil {
				t.Errorf("%s is taken", c.step)
			}
			continue
		}
		c.want(&want)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", c.step, err, diff)
		}
		if diff := cmp.Diff(reading(), m); diff != "" {
			t.Errorf("%s: the message itself has changed: %s", c.step, diff)
		}
	}
}

// A message that a step cannot shape is refused, with what to do and nothing of its content.
func TestShapeRefuses(t *testing.T) {
	for _, c := range []struct{ step, payload, want string }{
		{
			`set: {json.a: "{{ json.b }}"}`, `{"a":"secret"}`,
			`set json.a: evaluate json.b: the value is nil; write (… ?? "text") if it may be missing`,
		},
		{
			`set: {json.a: "{{ json.b.c }}"}`, `{"a":"secret"}`,
			"set json.a: evaluate json.b.c: there is no c in nil; write ?. in place of . " +
				"if what stands before it may be missing",
		},
		{
			`set: {json.a: "{{ json.b / 2 }}"}`, `{"b":"secret"}`,
			"set json.a: evaluate json.b / 2: a text / a number means nothing; " +
				"float(…) makes a number of a text, and string(…) the other way",
		},
		{`set: {json.a: "{{ 1 % json.b }}"}`, `{"b":0}`, "set json.a: evaluate 1 % json.b: integer divide by zero"},
		{
			`set: {json.a: "{{ 1 / json.b }}"}`, `{"b":0}`,
			"set json.a: evaluate 1 / json.b: the value is not a finite number, as after a division by 0",
		},
		{`set: {json.a: 1}`, "secret", "set json.a: the payload is not JSON"},
		{`set: {json.a: "{{ json.b }}"}`, "secret", "set json.a: evaluate json.b: the payload is not JSON"},
		{`set: {json.a: "{{ json.b }}"}`, `{"b":"\q"}`, "set json.a: evaluate json.b: the payload is not JSON"},
		{`set: {json.a.b: 1}`, `{"a":"secret"}`, "set json.a.b: a is a text"},
		{`set: {time: "{{ json.a }}"}`, `{"a":"secret"}`, "set time: the value is no time like 2026-01-02T15:04:05Z"},
		{`unset: json.a`, "secret", "unset json.a: the payload is not JSON"},
		{
			`map: {a: "{{ json.b }}"}`, `{"a":"secret"}`,
			`map: evaluate json.b: the value is nil; write (… ?? "text") if it may be missing`,
		},
	} {
		m := reading()
		m.Payload = []byte(c.payload)
		if _, err := shape(t, c.step, m); err == nil || err.Error() != c.want {
			t.Errorf("%s of %s:\n got %v\nwant %s", c.step, c.payload, err, c.want)
		}
	}
}

// Mistakes in the settings are found before the start, each with its place.
func TestShapeMistakes(t *testing.T) {
	for _, c := range []struct{ step, want string }{
		{`set: {}`, "set says nothing to be set"},
		{
			`set: {jsn.a: 1}`,
			`6:14: jsn.a: "jsn.a" is no part of a message: write topic, payload, time, header.NAME or json.FIELD`,
		},
		{`set: {json: 1}`, "the payload as a whole is written payload"},
		{`set: {id: 1}`, "the id is its source's, and cannot be changed"},
		{`set: {json.a: "{{ jsn.b }}"}`, "unknown name jsn"},
		{`set: {json.a: {b: ["{{ jsn.b }}"]}}`, "unknown name jsn"},
		{`set: {json.a: 0x1F}`, `"0x1F" is not written as a number of JSON`},
		{`set: {json.a: 1, json.a.b: 2}`, "json.a.b and json.a are the same or part of each other"},
		{`set: {json.a: 1, payload: x}`, "payload and json.a are the same or part of each other"},
		{`set: {'json[-1]': 1}`, "a key is empty, or an index below zero"},
		{`set: [topic]`, "must be a mapping of names to any values"},
		{`unset: [jsn.a]`, `"jsn.a" is no part of a message`},
		{`unset: json.a, json.b`, `several are a list, [json.a, json.b]`},
		{`unset: header.a header.b`, `several are a list, [json.a, json.b]`},
		{`unset: [json.*]`, `other keys are written json["a key"]`},
		{`set: {json.a key: 1}`, `other keys are written json["a key"]`},
		{`map: {a: {"{{ topic }}": 1}}`, "{{ … }} is not filled in within keys"},
		{`map: {a: "{{ }}"}`, "the expression is empty"},
		{`map:`, "the key payload is missing"},
	} {
		_, err := shape(t, c.step, reading())
		all, ok := err.(config.Errors)
		if !ok || len(all) != 1 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.step, err, c.want)
		}
	}
}

func BenchmarkSet(b *testing.B) {
	var doc strings.Builder
	doc.WriteString(`{"temp":21.5`)
	for i := range 40 {
		fmt.Fprintf(&doc, `,"reading_%02d":"%d"`, i, 100_000+i)
	}
	doc.WriteString("}")
	c, err := config.Loader{Registry: registry()}.Parse("p.yaml",
		[]byte("pipelines: {p: {from: stdio, to: stdio, steps: [{set: {json.temp: '{{ json.reading_20 }}'}}]}}"))
	if err != nil {
		b.Fatal(err)
	}
	s, err := c.Pipelines[0].Steps[0].Open(b.Context(), bridge.Env{})
	if err != nil {
		b.Fatal(err)
	}
	batch, payload := make(bridge.Batch, 1000), []byte(doc.String())
	var runner bridge.StepRunner
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for i := range batch {
			batch[i].Payload = payload
		}
		if o, err := runner.Process(b.Context(), s, 1, batch, false); err != nil || len(o.Refused) > 0 {
			b.Fatal(err, o.Refused)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/msg")
}
