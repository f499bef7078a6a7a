package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// from returns the settings of a source every with these keys, in flow style.
func from(t *testing.T, keys string) *every {
	t.Helper()
	return open(t, "pipelines: {a: {from: {every: {"+keys+"}}, to: stdio}}")[0].(*every)
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		keys string
		get  func(*every) any
		want any
	}{
		{"text: 0123", func(e *every) any { return e.Text }, "0123"},
		{"text: yes", func(e *every) any { return e.Text }, "yes"},
		{"text: 2001-01-01", func(e *every) any { return e.Text }, "2001-01-01"},
		{`text: ""`, func(e *every) any { return e.Text }, ""},
		{`text: "null"`, func(e *every) any { return e.Text }, "null"},
		{"flag: true", func(e *every) any { return e.Flag }, true},
		{`flag: "false"`, func(e *every) any { return e.Flag }, false},
		{"int: -7", func(e *every) any { return e.Int }, -7},
		{"tiny: -128", func(e *every) any { return e.Tiny }, int8(-128)},
		{"unsigned: 7", func(e *every) any { return e.Unsigned }, uint(7)},
		{"float: 2.5", func(e *every) any { return e.Float }, 2.5},
		{"float: 1e3", func(e *every) any { return e.Float }, 1000.0},
		{"duration: 1.5s", func(e *every) any { return e.Duration }, 1500 * time.Millisecond},
		{"duration: 7d", func(e *every) any { return e.Duration }, 7 * 24 * time.Hour},
		{"duration: 1d12h", func(e *every) any { return e.Duration }, 36 * time.Hour},
		{"duration: 1w2d", func(e *every) any { return e.Duration }, 9 * 24 * time.Hour},
		{"duration: 1.5d", func(e *every) any { return e.Duration }, 36 * time.Hour},
		{"duration: 0", func(e *every) any { return e.Duration }, time.Duration(0)},
		{"size: 64KiB", func(e *every) any { return e.Size }, bridge.Size(65536)},
		{"secret: 007", func(e *every) any { return e.Secret.Reveal() }, "007"},
		{"url: \"tcp://u:p@h:1\"", func(e *every) any { return e.URL.User.String() }, "u:p"},
		{"template: plain", func(e *every) any { s, ok := e.Template.Constant(); return []any{s, ok} }, []any{"plain", true}},
		{"template: \"{{ topic }}\"", func(e *every) any {
			s, _ := e.Template.Render(&bridge.Message{Topic: "t"})
			return s
		}, "t"},
		{"condition: topic == 't'", func(e *every) any {
			y, _ := e.Condition.Match(&bridge.Message{Topic: "t"})
			return y
		}, true},
		{"texts: a", func(e *every) any { return e.Texts }, []string{"a"}},
		{"texts: [a, 1, true]", func(e *every) any { return e.Texts }, []string{"a", "1", "true"}},
		{"texts: []", func(e *every) any { return e.Texts }, []string{}},
		{"urls: [a://b, c://d]", func(e *every) any { return []string{e.URLs[0].Host, e.URLs[1].Host} }, []string{"b", "d"}},
		{"header: {a: 1, b.c: x}", func(e *every) any { return e.Header }, map[string]string{"a": "1", "b.c": "x"}},
		{
			"streams: {s: {subjects: x, storage: file}, t: [y, z]}", func(e *every) any { return e.Streams },
			map[string]*stream{"s": {[]string{"x"}, "file"}, "t": {[]string{"y", "z"}, ""}},
		},
		{"rotate: 1kB", func(e *every) any { return *e.Rotate }, rotation{Size: 1000, Keep: 1}},
		{"rotate: {age: 1h}", func(e *every) any { return *e.Rotate }, rotation{Size: 5, Keep: 1, Age: time.Hour}},
		{"limit: 9", func(e *every) any { return *e.Limit }, 9},
		{
			"list: [{subjects: a}, b]", func(e *every) any { return e.List },
			[]stream{{[]string{"a"}, ""}, {[]string{"b"}, ""}},
		},
		{"list: {subjects: a}", func(e *every) any { return e.List }, []stream{{[]string{"a"}, ""}}},
		{"lists: {a: b, c: [d, e]}", func(e *every) any { return e.Lists }, map[string][]string{"a": {"b"}, "c": {"d", "e"}}},
	} {
		if diff := cmp.Diff(c.want, c.get(from(t, c.keys))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.keys, diff)
		}
	}
}

// The defaults that a connector hands out must survive what files say.
func TestDefaultsAreNotShared(t *testing.T) {
	o := new(opened)
	l := loader(o)
	for _, keys := range []string{"header: {x: y}, rotate: {keep: 9}, limit: 1, texts: z", "int: 1"} {
		c, err := l.Parse("p.yaml", []byte("pipelines: {a: {from: {every: {"+keys+"}}, to: stdio}}"))
		if err != nil {
			t.Fatal(err)
		}
		openAll(t, c)
	}
	got, want := o.settings[2].(*every), everyDefaults()
	if diff := cmp.Diff([]any{want.Header, want.Rotate, want.Limit, want.Texts},
		[]any{got.Header, got.Rotate, got.Limit, got.Texts}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExpansion(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{"${HOST}", "broker"},
		{"a-${HOST}:${PORT}-b", "a-broker:1883-b"},
		{"${NOPE:-x:-y}", "x:-y"},
		{"${EMPTY:-x}", "x"},
		{"${EMPTY}", ""},
		{"${HOST:-x}", "broker"},
		{"$${HOST}", "${HOST}"},
		{"$HOST $ {HOST} $$", "$HOST $ {HOST} $$"},
		{"${INJECT}", "x\n    to: {stdio: {}}"},
	} {
		if got := from(t, `text: "`+c.written+`"`).Text; got != c.want {
			t.Errorf("%s: got %q, want %q", c.written, got, c.want)
		}
	}
	if got := from(t, "int: \"${PORT}\", secret: \"${HOST}\", texts: [\"${HOST}\"]"); got.Int != 1883 ||
		got.Secret.Reveal() != "broker" || got.Texts[0] != "broker" {
		t.Errorf("got %+v", got)
	}
}

// What a variable holds is text, never template or expression.
func TestExpansionInExpressions(t *testing.T) {
	m := &bridge.Message{Topic: "broker", Payload: []byte(`{"c":21}`)}
	for _, c := range []struct{ written, want string }{
		{"${HOST}/{{ topic }}", "broker/broker"},
		{"${BRACES}/{{ topic }}", "{{ topic }}/broker"},
		{"${BRACES}", "{{ topic }}"},
		{"{{ topic + '-${HOST}' }}", "broker-broker"},
		{"{{ json.c + ${LIMIT} }}", "41"},
	} {
		tmpl := from(t, `template: "`+c.written+`"`).Template
		if got, err := tmpl.Render(m); got != c.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", c.written, got, err, c.want)
		}
	}
	if yes, err := from(t, `condition: "json.c > ${LIMIT} && topic == '${HOST}'"`).Condition.Match(m); !yes || err != nil {
		t.Errorf("condition: got %v, %v", yes, err)
	}
}

func TestExpansionOfFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"unix": "one\ntwo\n", "dos": "one\r\n", "bare": "one", "braces": "${HOST}\n",
		"p.yaml": `pipelines: {a: {from: {every: {texts: ["${file:unix}", "${file:dos}", "${file:bare}", "${file:braces}", "${file:` +
			dir + `/bare}"]}}, to: stdio}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := new(opened)
	c, err := loader(o).Load(filepath.Join(dir, "p.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
	if diff := cmp.Diff([]string{"one\ntwo", "one", "one", "${HOST}", "one"}, o.settings[0].(*every).Texts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPipelineShapes(t *testing.T) {
	c, err := loader(new(opened)).Parse("p.yaml", []byte(`
fail_fast: true
drain_timeout: 3s
pipelines:
  b1:
    from: stdio
    to: stdio
    restart: off
  A-2:
    from: [stdio, {stdio: }]
    steps: [pass: topic == 'x', {pass: {when: topic != 'y', on_error: drop}}]
    to: {all: [stdio, {stdio: {}}]}
    max_in_flight: 4
    max_batch: 10
    order_by: json.device
    restart: {initial: 10ms, max_interval: 1m}
    stale_after: 5m
    optional: true
`))
	if err != nil {
		t.Fatal(err)
	}
	type counts struct {
		Name                             string
		From, Steps, To, InFlight, Batch int
		Drain                            time.Duration
		Restart                          engine.Restart
		StaleAfter                       time.Duration
		Optional                         bool
	}
	var got []counts
	for _, p := range c.Pipelines {
		got = append(got, counts{
			p.Name, len(p.From), len(p.Steps), len(p.To.Branches), p.MaxInFlight, p.MaxBatch,
			p.DrainTimeout, p.Restart, p.StaleAfter, p.Optional,
		})
	}
	want := []counts{
		{"b1", 1, 0, 0, 0, 0, 3 * time.Second, engine.Restart{Off: true}, 0, false},
		{
			"A-2", 2, 2, 2, 4, 10, 3 * time.Second,
			engine.Restart{First: 10 * time.Millisecond, Most: time.Minute},
			5 * time.Minute, true,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || !c.FailFast {
		t.Errorf("fail_fast %v (-want +got):\n%s", c.FailFast, diff)
	}
	if got := c.Pipelines[1].To.Branches[0].Sink.Type; got != "stdio" {
		t.Errorf("type %q", got)
	}
	if got, err := c.Pipelines[1].OrderBy.Render(
		&bridge.Message{Payload: []byte(`{"device":"d7"}`)}); got != "d7" || err != nil {
		t.Errorf("order_by: %q, %v", got, err)
	}
}
