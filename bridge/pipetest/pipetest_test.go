package pipetest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/pipetest"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// pipelines are what most tests are about.
const pipelines = `pipelines:
  one:
    from: {mqtt: {url: "${BROKER:-mqtt://127.0.0.1}", topics: ["a/#"], qos: 1, client_id: one}}
    steps:
      - filter: json.t > 20
      - dedupe: {key: "{{ topic }}", age: 1m}
    to:
      all:
        - nats: {url: "nats://127.0.0.1", subject: "x.{{ json.room }}"}
        - file: {path: "out/{{ topic }}.ndjson"}
          on_error: {retry: {max: 3, initial: 1s, max_interval: 1s}, then: drop}
    on_error: dead_letter
    max_in_flight: 4
  two:
    from:
      - {mqtt: {url: "mqtt://127.0.0.1", topics: ["b/#"], client_id: two}}
      - {mqtt: {url: "mqtt://127.0.0.1", topics: ["c/#"], client_id: two-c}}
      - nats: {url: "nats://127.0.0.1", subject: b}
    to: {any: [{nats: {url: "nats://127.0.0.1", subject: y}}, {file: {path: a}}, {file: {path: b}}]}
    buffer: disk
  three:
    from: {mqtt: {url: "mqtt://127.0.0.1", topics: ["d/#"], qos: 1, client_id: three}}
    steps: [{batch: {count: 3, period: 10s, output: lines}}]
    to: {nats: {url: "nats://127.0.0.1", subject: z}}
`

// load reads files with a registry.
func load(reg *bridge.Registry) func([]string, func(*config.Loader)) (*config.Config, error) {
	return func(files []string, adjust func(*config.Loader)) (*config.Config, error) {
		l := config.Loader{Registry: reg, Getenv: func(string) (string, bool) { return "", false }}
		adjust(&l)
		return l.Load(files...)
	}
}

// write puts a test file beside one with pipelines, and returns its name.
func write(t *testing.T, pipelines, tests string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"p.yaml": pipelines, "p_test.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "p_test.yaml")
}

// run runs the tests in a file.
func run(t *testing.T, name string, o pipetest.Options) ([]pipetest.Result, error) {
	t.Helper()
	if o.Load == nil {
		o.Load = load(bridge.NewRegistry(connectors.Builtin()...))
	}
	return pipetest.Run(t.Context(), name, o)
}

// plain returns text without the folder of the test.
func plain(name, text string) string { return strings.ReplaceAll(text, filepath.Dir(name)+"/", "") }

// Each is what is expected of some messages, and what is said if that is wrong; nothing if it is
// right.
func TestExpectations(t *testing.T) {
	const (
		hot   = `{topic: a/1, json: {t: 21, room: k}}`
		other = `{topic: a/2, json: {t: 22, room: k}}`
		cold  = `{topic: a/3, json: {t: 20}}`
		bad   = `{topic: a/4, payload: x}`
	)
	for _, c := range []struct{ name, messages, rest, expect, want string }{
		{"in order", hot + "," + other, ``, `{sinks: {nats: [{topic: a/1}, {topic: a/2}], file: {count: 2}}}`, ""},
		{
			"in another order", hot + "," + other, ``, `{sinks: {nats: [{topic: a/2}, {topic: a/1}], file: {count: 2}}}`,
			"sink nats: got 2 messages, not as wanted",
		},
		{
			"as a set", hot + "," + other, ``,
			`{sinks: {nats: {any_order: true, messages: [{topic: a/2}, {topic: a/1}]}, file: {count: 2}}}`, "",
		},
		{
			"a set where greed is wrong", hot + "," + other, ``,
			`{sinks: {file: {any_order: true, messages: [{json: {t: 21, room: k}}, {topic: a/1}]}, nats: {count: 2}}}`,
			"-{topic: \"a/1\"}",
		},
		{
			"a set with a choice", hot + "," + other, ``,
			`{sinks: {file: {any_order: true, messages: [{settings: {path: out/a/1.ndjson}}, {header: {}}]}, nats: {count: 2}}}`, "",
		},
		{"one too few", hot, ``, `{sinks: {nats: [{topic: a/1}, {topic: a/1}], file: {count: 1}}}`, `-{topic: "a/1"}`},
		{
			"one too many", hot + "," + other, ``,
			`{sinks: {nats: [{topic: a/1}], file: {count: 2}}}`,
			`+{topic: "a/2", json: {"t":22,"room":"k"}, settings: {"subject": "x.k"}}`,
		},
		{"matches nothing", cold, ``, `{sinks: {nats: [{topic: a/1}]}}`, "got 0 messages, want 1"},
		{"count", hot, ``, `{sinks: {nats: {count: 2}, file: {count: 1}}}`, "got 1 message, want 2"},
		{"none", cold, ``, `{sinks: {nats: []}}`, ""},
		{"none, but one", hot, ``, `{sinks: {nats: [], file: {count: 1}}}`, "got 1 message, want 0"},
		{"a sink that is not named", hot, ``, `{sinks: {nats: {count: 1}}}`, "sink file: it is not named, and got 1 message"},
		{"by place", hot, ``, `{sinks: {to: {count: 1}, to-2: {count: 1}}}`, ""},
		{"topic", hot, ``, `{sinks: {nats: [{topic: a}], file: {count: 1}}}`, `+{topic: "a/1"}`},
		{"text", hot, ``, `{sinks: {nats: [{payload: '{"t":21,"room":"k"}'}], file: {count: 1}}}`, ""},
		{"other text", hot, ``, `{sinks: {nats: [{payload: '{"t":21, "room":"k"}'}], file: {count: 1}}}`, "sink nats"},
		{"base64", hot, ``, `{sinks: {nats: [{base64: "eyJ0IjoyMSwicm9vbSI6ImsifQ=="}], file: {count: 1}}}`, ""},
		{"JSON in another order", hot, ``, `{sinks: {nats: [{json: {room: k, t: 21}}], file: {count: 1}}}`, ""},
		{
			"digits", `{topic: a/1, json: {t: 21.50, room: k}}`,
			``, `{sinks: {nats: [{json: {room: k, t: 21.5}}], file: {count: 1}}}`, `"t":21.50`,
		},
		{
			"digits beyond a float", `{topic: a/1, json: {t: 12345678901234567890123, room: k}}`, ``,
			`{sinks: {nats: [{json: {room: k, t: 12345678901234567890123}}], file: {count: 1}}}`, "",
		},
		{
			"a number for a text", `{topic: a/1, json: {t: 21, room: "7"}}`,
			``, `{sinks: {nats: [{json: {room: 7, t: 21}}], file: {count: 1}}}`, "sink nats",
		},
		{
			"header", `{topic: a/1, header: {h: x}, json: {t: 21, room: k}}`,
			``, `{sinks: {nats: [{header: {h: x}}], file: {count: 1}}}`, "",
		},
		{
			"no header", `{topic: a/1, header: {h: x}, json: {t: 21, room: k}}`,
			``, `{sinks: {nats: [{header: {}}], file: {count: 1}}}`, `{header: {"h": "x"}}`,
		},
		{"settings", hot, ``, `{sinks: {nats: [{settings: {subject: x.k}}], file: [{settings: {path: out/a/1.ndjson}}]}}`, ""},
		{
			"other settings", hot, ``,
			`{sinks: {nats: [{settings: {subject: x.l}}], file: {count: 1}}}`, `+{settings: {"subject": "x.k"}}`,
		},
		{"settings that are none", hot, ``, `{sinks: {nats: [{settings: {subjet: x.k}}], file: {count: 1}}}`, "sink nats"},
		{
			"a template that fails refuses", `{topic: a/1, json: {t: 21}}`,
			``, `{sinks: {file: {count: 1}}, dead_letters: [{at: to, reason: room}]}`, "",
		},
		{
			"filtered instead of delivered", cold, ``, `{sinks: {nats: {count: 1}}}`,
			"steps have left out:\n    filter step: {topic: ",
		},
		{"filtered", hot + "," + cold + "," + hot, ``, `{filtered: 2}`, ""},
		{"filtered, but fewer", hot + "," + cold, ``, `{filtered: 2}`, "filtered: 1, want 2"},
		{"a dead letter", bad, ``, `{dead_letters: [{topic: a/4, payload: x, at: step, reason: not JSON}]}`, ""},
		{
			"a dead letter of another reason", bad, ``,
			`{dead_letters: [{reason: too large}]}`, `+{reason: "evaluate json.t > 20: the payload is not JSON"}`,
		},
		{"a dead letter that nobody expects", bad, ``, `{filtered: 0}`, "got 1 dead letter, want 0"},
		{"a dead letter that does not come", hot, ``, `{dead_letters: [{topic: a/4}]}`, "got 0 dead letters, want 1"},
		{"refused", bad + "," + bad, ``, `{refused: 2, dead_letters: [{topic: a/4}, {topic: a/4}]}`, ""},
		{"dropped", hot, `sinks: {file: {refuse: json.t == 21}}`, `{dropped: 1, refused: 1}`, ""},
		{
			"dropped, which nobody expects", hot, `sinks: {file: {refuse: json.t == 21}}`,
			`{filtered: 0}`, "refused and dropped: 1, want 0",
		},
		{
			"a sink that refuses", hot, `sinks: {nats: {refuse: json.t == 21}}`,
			`{dead_letters: [{at: to, reason: the test has this sink refuse it}]}`, "",
		},
		{
			"a sink that fails twice", hot + ",{after: 10s}", `sinks: {file: {fail: {times: 2}}}`,
			`{sinks: {nats: {count: 1}, file: {count: 1}}}`, "",
		},
		{
			"a sink that fails too often", hot + ",{after: 10s}", `sinks: {file: {fail: {times: 4}}}`,
			`{sinks: {nats: {count: 1}, file: []}, dropped: 1}`, "",
		},
		{"a sink that fails still", hot, `sinks: {nats: {fail: {times: 9}}}`, `{held: 1}`, ""},
		{
			"held, which nobody expects", hot, `sinks: {nats: {fail: {times: 9}}}`,
			`{filtered: 0}`, "yet to be read, let go by a step, or taken by a sink: 1, want 0",
		},
		{"a sink that is not there yet", hot, `sinks: {nats: {fail: {for: 1m}}}`, `{held: 1, sinks: {file: []}}`, ""},
		{
			"a sink that comes", hot + ",{after: 70s}", `sinks: {nats: {fail: {for: 1m}}}`,
			`{sinks: {nats: {count: 1}, file: {count: 1}}}`, "",
		},
		{
			"time", hot + "," + hot + ",{after: 61s, topic: a/1, json: {t: 21, room: k}}", ``,
			`{sinks: {nats: {count: 2}, file: {count: 2}}, filtered: 1}`, "",
		},
		{
			"time that is short", hot + ",{after: 59s, topic: a/1, json: {t: 21, room: k}}", ``,
			`{sinks: {nats: {count: 1}, file: {count: 1}}}`, "",
		},
		{"does not fail", hot, ``, `{fails: x}`, "the pipeline has not stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := write(t, pipelines,
				fmt.Sprintf("tests:\n  - name: it\n    pipeline: one\n    messages: [%s]\n    %s\n    expect: %s\n",
					c.messages, c.rest, c.expect))
			results, err := run(t, name, pipetest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(results[0].Failures, "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got\n%s\nwant %q", got, c.want)
			}
		})
	}
}

// At the end of the input a rate is kept, so that what stands behind it gets the messages one by
// one.
func TestEndKeepsTheRate(t *testing.T) {
	name := write(t, `pipelines:
  slow:
    from: {mqtt: {url: mqtt://localhost, topics: ["#"]}}
    steps: [{throttle: {rate: 1, per: 1m}}, {batch: {count: 9, period: 30s, output: lines}}]
    to: stdio
`, `tests:
  - name: one by one
    messages: [{payload: a}, {payload: b}, {payload: c}]
    end: true
    expect: {sinks: {stdio: [{payload: a}, {payload: b}, {payload: c}]}}
`)
	results, err := run(t, name, pipetest.Options{})
	if err != nil || len(results) != 1 || len(results[0].Failures) > 0 {
		t.Errorf("%v, %v", results, err)
	}
}

// A step that holds, the end of the input, and a pipeline that stops.
func TestHoldAndStop(t *testing.T) {
	name := write(t, pipelines, `tests:
  - name: what is held
    pipeline: three
    messages: [{payload: a}, {payload: b}, {payload: c}, {payload: d}]
    expect: {sinks: {nats: [{payload: "a\nb\nc"}]}, held: 1, merged: 3}
  - name: what time lets go
    pipeline: three
    messages: [{payload: a}, {after: 9s, payload: b}, {after: 1s}]
    expect: {sinks: {nats: [{payload: "a\nb"}]}, merged: 2}
  - name: what the end lets go
    pipeline: three
    messages: [{payload: a}]
    end: true
    expect: {sinks: {nats: [{payload: "a"}]}}
  - name: a stop
    pipeline: three
    sinks: {nats: {refuse: payload contains "b"}}
    messages: [{payload: b}, {payload: b}, {payload: b}]
    expect: {sinks: {nats: []}, fails: "the test has this sink refuse it"}
  - name: fallback, several sources and a buffer
    pipeline: two
    sinks: {nats: {fail: {times: 1}}}
    messages: [{from: nats, payload: a}, {after: 1s, from: from-2, payload: b}, {from: from, payload: c}]
    expect: {sinks: {to-2: [{payload: a}], nats: [{payload: b}, {payload: c}]}}
`)
	results, err := run(t, name, pipetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if len(r.Failures) > 0 {
			t.Errorf("%s: %s", r.Name, strings.Join(r.Failures, "\n"))
		}
	}
}

// Mistakes in a file are found before anything runs, with their places.
func TestMistakes(t *testing.T) {
	const good = "tests:\n  - name: a\n    pipeline: one\n    messages: [{topic: a/1}]\n    expect: {filtered: 0}\n"
	for _, c := range []struct{ old, with, want string }{
		{"filtered: 0", "filtred: 0", `p_test.yaml:5:14: unknown key "filtred"; did you mean filtered?`},
		{"filtered: 0", "", `p_test.yaml:5:5: this test expects nothing; write what is to arrive`},
		{"filtered: 0", "sinks: {}", `p_test.yaml:5:5: this test expects nothing`},
		{"    expect: {filtered: 0}\n", "", "p_test.yaml:2:5: the key tests.expect is missing"},
		{"filtered: 0", "sinks: {nats: {any_order: true}}", "p_test.yaml:5:28: this expects nothing"},
		{"filtered: 0", "sinks: {nats: [{}]}", "p_test.yaml:5:29: this expects nothing of the message"},
		{
			"filtered: 0", "sinks: {nat: []}",
			`p_test.yaml:5:22: the pipeline has no sink "nat"; did you mean nats? sinks: file, nats, to, to-2`,
		},
		{"filtered: 0", "sinks: {nats: [], to: []}", `the sink "to" is named twice`},
		{
			"pipeline: one", "pipeline: on",
			`p_test.yaml:3:5: there is no pipeline "on"; did you mean one? pipelines: one, two, three`,
		},
		{
			"    pipeline: one\n", "",
			"p_test.yaml:2:5: the key pipeline is missing, since there are several; pipelines: one, two, three",
		},
		{"[{topic: a/1}]", "[]", "messages is an empty list"},
		{"{topic: a/1}", "{}", "p_test.yaml:4:16: this is no message: write topic, payload or json"},
		{
			"{topic: a/1}", "{payload: a, json: 1}",
			"p_test.yaml:4:17: payload: a payload is given by one of payload, json, base64 and file",
		},
		{"{topic: a/1}", "{payload: a, lines: b}", "a payload is given by one of payload, json, base64, file and lines"},
		{"{topic: a/1}", "{base64: a}", "p_test.yaml:4:17: base64: this is no base64"},
		{"{topic: a/1}", "{time: now}", "p_test.yaml:4:17: time: this is no time like"},
		{"{topic: a/1}", "{lines: none.txt}", "p_test.yaml:4:17: lines: "},
		{"{topic: a/1}", "{lines: " + os.DevNull + "}", "p_test.yaml:4:17: lines: " + os.DevNull + " is not a regular file"},
		{"{topic: a/1}", "{file: " + os.DevNull + "}", "p_test.yaml:4:17: file: " + os.DevNull + " is not a regular file"},
		{
			"{topic: a/1}", "{from: nats, topic: a}",
			`p_test.yaml:4:17: the pipeline has no source "nats"; sources: from, mqtt`,
		},
		{
			"pipeline: one", "pipeline: two",
			"p_test.yaml:4:16: the key from is missing, since there are several sources; sources: from, from-2, from-3",
		},
		{
			"    messages", "    sinks: {nats: {fail: {}}}\n    messages",
			"p_test.yaml:4:26: times: how often, or for how long",
		},
		{"    messages", "    sinks: {nats: {refuse: json.}}\n    messages", "p_test.yaml:4:"},
		{
			"    messages", "    sinks: {stdio: {refuse: json.x}}\n    messages",
			`p_test.yaml:4:13: the pipeline has no sink "stdio"`,
		},
		{"tests:\n", "files: none.yaml\ntests:\n", "none.yaml: no such file"},
		{"tests:\n", "env: {BROKER: \"http://x\"}\ntests:\n", "p.yaml:3:"},
	} {
		name := write(t, pipelines, strings.Replace(good, c.old, c.with, 1))
		_, err := run(t, name, pipetest.Options{})
		if err == nil || !strings.Contains(plain(name, err.Error()), c.want) {
			t.Errorf("%s: got %v, want %s", c.with, err, c.want)
		}
	}
	name := write(t, pipelines,
		good+"  - name: a\n    pipeline: two\n    messages: [{from: fro, payload: a}]\n    expect: {sinks: {file: []}}\n")
	_, err := run(t, name, pipetest.Options{})
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(`p_test.yaml:6:5: there is a test "a" already; it is at p_test.yaml:2:5
p_test.yaml:8:17: the pipeline has no source "fro"; did you mean from? sources: from, from-2, from-3, nats
p_test.yaml:9:22: several sinks are called "file"; write its place: to, to-2, to-3`, plain(name, err.Error())); diff != "" {
		t.Error(diff)
	}
}

// What update writes passes, and is all that changes.
func TestUpdate(t *testing.T) {
	const text = `# all
tests:
  - name: first
    pipeline: one
    messages:
      - {topic: a/1, json: {room: "ü\"", t: 21.50}}
      - {topic: a/2, base64: "/w=="}
      - {topic: a/3, header: {h: x}, json: {t: 30, room: k}}
    expect: {}   # anything

  # between
  - expect:
      filtered: 3
      # gone with it
    name: second
    pipeline: three
    messages: [{payload: a}, {payload: b}]   # stays
  - name: third
    pipeline: three
    sinks: {nats: {refuse: "true"}}
    messages: [{payload: a}, {payload: a}, {payload: a}]
    expect:
      held: 1
  - {name: fourth, pipeline: three, messages: [{payload: a}], expect: {held: 1}}
`
	const want = `# all
tests:
  - name: first
    pipeline: one
    messages:
      - {topic: a/1, json: {room: "ü\"", t: 21.50}}
      - {topic: a/2, base64: "/w=="}
      - {topic: a/3, header: {h: x}, json: {t: 30, room: k}}
    expect:
      sinks:
        nats:
          - {topic: "a/1", json: {"room":"ü\"","t":21.50}, settings: {"subject": 'x.ü"'}}
          - {topic: "a/3", header: {"h": "x"}, json: {"t":30,"room":"k"}, settings: {"subject": "x.k"}}
        file:
          - {topic: "a/1", json: {"room":"ü\"","t":21.50}, settings: {"path": "out/a/1.ndjson"}}
          - {topic: "a/3", header: {"h": "x"}, json: {"t":30,"room":"k"}, settings: {"path": "out/a/3.ndjson"}}
      dead_letters:
        - {at: "step", reason: "evaluate json.t > 20: the payload is not JSON", topic: "a/2", base64: "/w=="}

  # between
  - expect:
      sinks:
        nats: []
      held: 2
    name: second
    pipeline: three
    messages: [{payload: a}, {payload: b}]   # stays
`
	name := write(t, pipelines, text)
	for round := range 2 {
		results, err := run(t, name, pipetest.Options{Update: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if i < 3 && r.Updated != (round == 0) {
				t.Errorf("round %d: %s: updated is %t", round, r.Name, r.Updated)
			}
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(got), "  - name: third")
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(rest, "the test has this sink refuse it") || !strings.Contains(rest, "  - {name: fourth") {
		t.Error(rest)
	}
	if err := os.WriteFile(name, []byte("tests:\n"+strings.Replace(text[strings.Index(text, "  - {name"):], "held: 1",
		"held: 2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, name, pipetest.Options{Update: true}); err == nil ||
		!strings.Contains(err.Error(), "write expect: on a line of its own") {
		t.Error(err)
	}
}

// A step that computes, or waits for something outside, is waited for, while no time passes for the
// pipeline.
func TestRest(t *testing.T) {
	slow := bridge.Connector{Name: "slow", Step: bridge.NewOpener(struct{}{},
		func(context.Context, *struct{}, bridge.Env) (bridge.Step, error) {
			return slowStep{}, nil
		})}
	reg := bridge.NewRegistry(append(connectors.Builtin(), slow)...)
	name := write(t, strings.Replace(pipelines, "- filter: json.t > 20", "- slow", 1), `tests:
  - name: both are waited for
    pipeline: one
    messages: [{payload: wait, topic: a}, {payload: compute, topic: b}, {after: 1m, payload: wait, topic: c}]
    expect: {sinks: {file: {count: 3}}, dead_letters: [{topic: a}, {topic: b}, {topic: c}]}
`)
	results, err := run(t, name, pipetest.Options{Load: load(reg)})
	if err != nil || len(results[0].Failures) > 0 {
		t.Error(err, results)
	}
}

type slowStep struct{}

func (slowStep) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	for i, m := range b {
		switch string(m.Payload) {
		case "wait":
			<-time.After(50 * time.Millisecond)
		case "compute":
			for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
				_ = regexp.MustCompile("a+b+")
			}
		}
		out.Pass(i)
	}
	return nil
}

func (slowStep) Close() error { return nil }

// The same messages give the same, whatever is at the same time.
func TestSameEachTime(t *testing.T) {
	name := write(t, pipelines, `tests:
  - name: it
    pipeline: one
    sinks: {nats: {fail: {times: 2}}, file: {fail: {for: 90s}}}
    messages:
      - {topic: a/1, json: {t: 21, room: k}}
      - {topic: a/2, json: {t: 22, room: k}}
      - {after: 1m, topic: a/1, json: {t: 23, room: k}}
      - {after: 1m, topic: a/3, json: {t: 24, room: k}}
      - {after: 1h}
    expect: {sinks: {nats: {count: 3}, file: {count: 3}}, filtered: 1}
`)
	for range 10 {
		results, err := run(t, name, pipetest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if f := results[0].Failures; len(f) > 0 {
			t.Fatal(strings.Join(f, "\n"))
		}
	}
}

// A step that fails has what its source delivers again, or has lost it.
func TestStepThatFails(t *testing.T) {
	failed := 0
	fails := bridge.Connector{Name: "fails", Step: bridge.NewOpener(struct{}{},
		func(context.Context, *struct{}, bridge.Env) (bridge.Step, error) {
			return failingStep{&failed}, nil
		})}
	reg := bridge.NewRegistry(append(connectors.Builtin(), fails)...)
	for qos, expect := range []string{
		"{sinks: {nats: [{payload: b}]}, dropped: 1}",
		"{sinks: {nats: [{payload: a}, {payload: b}]}}",
	} {
		failed = 0
		name := write(t, fmt.Sprintf(`pipelines:
  p: {from: {mqtt: {url: "mqtt://127.0.0.1", topics: a, qos: %d, client_id: p}}, steps: [fails], to: {nats: {url: "nats://127.0.0.1", subject: z}}}
`, qos), `tests:
  - name: it
    messages: [{payload: a}, {after: 1m, payload: b}]
    expect: `+expect+"\n")
		results, err := run(t, name, pipetest.Options{Load: load(reg)})
		if err != nil || len(results[0].Failures) > 0 {
			t.Error(qos, err, results)
		}
	}
}

type failingStep struct{ failed *int }

func (s failingStep) Process(_ context.Context, b bridge.Batch, out *bridge.Output) error {
	if *s.failed++; *s.failed == 1 {
		return errors.New("for once")
	}
	for i := range b {
		out.Pass(i)
	}
	return nil
}

func (failingStep) Close() error { return nil }

func TestPayloadsFromFiles(t *testing.T) {
	name := write(t, pipelines, `tests:
  - name: it
    pipeline: three
    messages: [{lines: in.txt, topic: a}]
    expect: {sinks: {nats: [{payload: "a\n\nb"}]}}
  - name: it whole
    pipeline: two
    messages: [{from: nats, file: in.txt, header: {h: x}, id: one, time: 2026-01-01T00:00:01Z}]
    expect: {sinks: {nats: [{payload: "a\n\nb\n", header: {h: x}}]}}
`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(name), "in.txt"), []byte("a\n\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	results, err := run(t, name, pipetest.Options{})
	if err != nil || len(results[0].Failures)+len(results[1].Failures) > 0 {
		t.Error(err, results)
	}
}

// Expressions see the time of the test, and the same chance each time.
func TestWorldOfExpressions(t *testing.T) {
	name := write(t, strings.Replace(pipelines, "- filter: json.t > 20",
		`- set: {json.now: "{{ now }}", json.rand: "{{ rand < 0.5 }}", json.uuid: "{{ uuid() }}"}`, 1), `tests:
  - name: it
    pipeline: one
    now: 2026-02-03T04:05:06Z
    messages:
      - {topic: a, json: {room: k}}
      - {after: 1m, topic: b, json: {room: k}}
    expect:
      sinks:
        file: {count: 2}
        nats:
          - {json: {room: k, now: "2026-02-03T04:05:06Z", rand: true, uuid: 00000000-0000-4000-8000-000000000001}}
          - {json: {room: k, now: "2026-02-03T04:06:06Z", rand: false, uuid: 00000000-0000-4000-8000-000000000002}}
`)
	for range 3 {
		results, err := run(t, name, pipetest.Options{})
		if err != nil || len(results[0].Failures) > 0 {
			t.Fatal(err, results)
		}
	}
}

func TestRunAndFind(t *testing.T) {
	name := write(t, pipelines, `tests:
  - {name: ab, pipeline: three, messages: [{payload: a}], expect: {held: 1}}
  - {name: bc, pipeline: three, messages: [{payload: a}], expect: {held: 1}}
`)
	results, err := run(t, name, pipetest.Options{Run: regexp.MustCompile("^b")})
	if err != nil || len(results) != 1 || results[0].Name != "bc" || plain(name, results[0].Place) != "p_test.yaml:3:6" {
		t.Error(err, results)
	}
	dir := filepath.Dir(name)
	for _, of := range []string{dir, name, filepath.Join(dir, "p.yaml")} {
		if found, err := pipetest.Find(of, true); err != nil || !cmp.Equal(found, []string{name}) {
			t.Errorf("%s: %v %v", of, found, err)
		}
	}
	if _, err := pipetest.Find(t.TempDir(), true); err == nil {
		t.Error("an empty folder has tests")
	}
	above := t.TempDir()
	var below []string
	for _, sub := range []string{"a/b", "a/.git", "c"} {
		folder := filepath.Join(above, sub)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, "p_test.yml")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if sub != "a/.git" {
			below = append(below, file)
		}
	}
	if found, err := pipetest.Find(above, true); err != nil || !cmp.Equal(found, below) {
		t.Errorf("below there is %v %v", found, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, deep := range []bool{false, true} {
		found, err := pipetest.Find(link, deep)
		if err != nil || !cmp.Equal(found, []string{filepath.Join(link, "p_test.yaml")}) {
			t.Errorf("behind a link there is %v, %v", found, err)
		}
	}
	if found, err := pipetest.Find(above, false); err == nil {
		t.Errorf("in the folder there is %v", found)
	}
	if _, err := pipetest.Find(filepath.Join(dir, "x.yaml"), true); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
