package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
)

// onError says in short what o is.
func onError(o *bridge.OnError) string {
	if o == nil {
		return "as around"
	}
	text := fmt.Sprint([]string{"stop", "drop", "dead_letter"}[o.Then], " tries=", o.Tries, " wait=", o.FirstWait,
		"-", o.LongestWait, " most=", o.Most, "/", o.Window)
	if o.DeadLetter.Open != nil {
		text += " to=" + o.DeadLetter.Type
	}
	return text
}

// tree writes a branch, one line for each, with what it has of its own.
func tree(b *engine.Branch, indent string) (lines []string) {
	text := indent + b.Mode.String()
	if len(b.Branches) == 0 {
		text = indent + b.Sink.Type
	}
	if b.When != nil {
		text += fmt.Sprintf(" when=%v", b.When)
	}
	if b.By != nil {
		text += fmt.Sprintf(" by=%v", b.By)
	}
	if b.MaxInFlight != 0 {
		text += fmt.Sprint(" in_flight=", b.MaxInFlight)
	}
	for _, s := range b.Steps {
		text += fmt.Sprintf(" step=%s (%s)", s.Type, onError(s.OnError))
	}
	if b.OnError != nil {
		text += " on_error: " + onError(b.OnError)
	}
	lines = append(lines, text)
	for i := range b.Branches {
		lines = append(lines, tree(&b.Branches[i], indent+"  ")...)
	}
	return lines
}

// What stands beside an entry is of its branch, and what on_error says narrows what is said around
// it, key by key.
func TestTree(t *testing.T) {
	c, err := loader(new(opened)).Parse("f", []byte(`
pipelines:
  p:
    from: [{stdio: {}, on_error: {threshold: {most: 7}}}, stdio]
    steps:
      - pass: topic != "x"
        on_error: drop
      - pass: topic != "y"
    to:
      on_error: {retry: {max: 3}, then: drop}
      route:
        - when: json.alarm
          any:
            - mq: {url: 'a://b', topic: alarms}
            - stdio: {}
              max_in_flight: 4
              steps: []
          on_error: {retry: {initial: 1s}, then: dead_letter}
        - share: [stdio, stdio, {mq: {url: 'a://b', topic: z}, steps: [{pass: "true", on_error: stop}]}]
          by: json.device + "/${HOST}"
          when: topic startsWith "dev"
        - {all: [stdio], steps: [pass: "true"]}
    on_error:
      retry: {initial: 20ms, max_interval: 2s}
      threshold: {most: 5, window: 50}
      dead_letter: stdio
    max_in_flight: 2
    order_by: "{{ topic }}"
`))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pipelines[0]
	got := []string{"pipeline: " + onError(&p.OnError)}
	for _, e := range p.From {
		got = append(got, "from: "+onError(e.OnError))
	}
	for _, e := range p.Steps {
		got = append(got, "step: "+onError(e.OnError))
	}
	got = append(got, tree(&p.To, "")...)
	want := []string{
		"pipeline: stop tries=0 wait=20ms-2s most=5/50 to=stdio",
		"from: stop tries=0 wait=20ms-2s most=7/50 to=stdio",
		"from: as around",
		"step: drop tries=0 wait=20ms-2s most=5/50 to=stdio",
		"step: as around",
		"route on_error: drop tries=3 wait=20ms-2s most=5/50 to=stdio",
		"  any when=json.alarm on_error: dead_letter tries=3 wait=1s-2s most=5/50 to=stdio",
		"    mq",
		"    stdio in_flight=4",
		`  share when=topic startsWith "dev" by={{json.device + "/broker"}}`,
		"    stdio",
		"    stdio",
		"    mq step=pass (stop tries=3 wait=20ms-2s most=5/50 to=stdio)",
		"  all step=pass (as around)",
		"    stdio",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if topic, err := p.OrderBy.Render(&bridge.Message{Topic: "t"}); topic != "t" || err != nil {
		t.Errorf("order_by gives %q, %v", topic, err)
	}
}

// Pipelines of one line, wrong from the column on that is said.
func TestTreeErrors(t *testing.T) {
	const onErrorKeys = "keys here: dead_letter, retry, then, threshold"
	const inAny = "on_error means nothing within any, where what an entry refuses goes to the next one; " +
		"write it beside any: it is about what all of them refuse"
	for _, c := range []struct{ name, text, want string }{
		{
			"misspelt beside", "from: stdio, to: {stdio: {}, whem: topic}",
			`30: "whem" cannot stand beside the connector here; ` +
				"did you mean when? keys that can: by, max_in_flight, on_error, steps, when",
		},
		{
			"misspelt mode", "from: stdio, to: {rout: []}",
			`19: unknown connector "rout"; did you mean route? sinks: mq, stdio; for several: all, route, any, share`,
		},
		{
			"two", "from: stdio, to: {stdio: {}, all: [stdio]}",
			`30: an entry has one connector, and here is a second key "all"; ` +
				"indent the settings under the connector, or write a list",
		},
		{"none", "from: stdio, to: {when: topic == 'x'}", "18: there is no connector here; write {CONNECTOR: {…}}"},
		{
			"when of a source", "from: {stdio: {}, when: topic == 'x'}, to: stdio",
			`19: "when" cannot stand beside the connector here; keys that can: on_error`,
		},
		{
			"on_error of settings", "from: stdio, steps: [pass: {when: 'true', on_eror: stop}], to: stdio",
			`43: unknown key "on_eror"; did you mean on_error? keys here: on_error, when`,
		},
		{
			"on_error within", "from: {mq: {url: 'a://b', topics: t, on_error: drop}}, to: stdio",
			`38: unknown key "on_error"; it stands beside the connector, not among its settings`,
		},
		{
			"unreached", "from: stdio, to: {route: [stdio, {stdio: {}, when: 'true'}, stdio]}",
			"34: this entry is never reached, since one before it takes everything; " +
				"give that one a when, or move it to the end\n" +
				"61: this entry is never reached, since one before it takes everything; " +
				"give that one a when, or move it to the end",
		},
		{
			"when in share", "from: stdio, to: {share: [stdio, {stdio: {}, when: 'true'}]}",
			"46: when cannot stand in share, which spreads everything; write it beside share, or write route",
		},
		{
			"by without share", "from: stdio, to: {all: [stdio], by: topic}",
			"33: by goes with share; write {share: [ … ], by: EXPRESSION}",
		},
		{
			"by of nothing", "from: stdio, to: {share: [stdio], by: topik}",
			"39: unknown name topik; did you mean topic? variables: header, id, json, now, payload, rand, seq, time, " +
				"topic; xrtcbridge help expressions lists the functions",
		},
		{
			"by list", "from: stdio, to: {share: [stdio], by: [a]}",
			"39: an expression is wanted here, not a list; write topic, say, or json.device",
		},
		{"order_by", "from: stdio, to: stdio, order_by: json.a +", "42: the expression is not complete"},
		{"empty modes", "from: stdio, to: {any: []}", "24: any is an empty list; write {CONNECTOR: {…}}"},
		{
			"mode of no list", "from: stdio, to: {route: stdio}",
			"26: route must be a list of entries, not a text; write route: [{CONNECTOR: {…}}, …]",
		},
		{
			"deep", "from: stdio, to: {all: [{any: [{mqq: {}}]}]}",
			`33: unknown connector "mqq"; did you mean mq? sinks: mq, stdio; for several: all, route, any, share`,
		},
		{
			"condition", "from: stdio, to: {stdio: {}, when: topic}",
			"36: a condition must be true or false, and this is a text",
		},
		{
			"steps in from", "from: {stdio: {}, steps: [pass]}, to: stdio",
			"19: steps cannot stand beside the connector here; those of a pipeline stand beside its from and to",
		},
		{
			"step in settings", "from: {every: {pass: 1}}, to: stdio",
			`16: unknown key "pass"; it is a step, and stands in the list steps beside from and to`,
		},
		{
			"two steps in one", "from: stdio, steps: [{pass: topic == 'x', every: 1}], to: stdio",
			`43: a step has one key, and here is a second one, "every"; ` +
				"begin it with - if it is another step, or indent it under the first",
		},
		{"no step", "from: stdio, steps: [{}], to: stdio", "22: there is no step here; write {STEP: {…}}"},
		{"steps of nothing", "from: stdio, steps: , to: stdio", "14: steps is empty; leave it out, or write steps: []"},
		{"steps", "from: stdio, to: {stdio: {}, steps: [pas: 1]}", `38: unknown step "pas"; did you mean pass? steps: pass`},
		{
			"in flight", "from: stdio, to: {stdio: {}, max_in_flight: 100000}",
			`45: max_in_flight must be at most 10000, not "100000"`,
		},
		{
			"on_error text", "from: stdio, to: stdio, on_error: dorp",
			`35: on_error cannot be "dorp"; did you mean drop? allowed: dead_letter, drop, stop`,
		},
		{
			"on_error list", "from: stdio, to: stdio, on_error: [drop]",
			"35: on_error must be a mapping, not a list; write {then: dead_letter, dead_letter: {CONNECTOR: {…}}}",
		},
		{
			"on_error key", "from: {stdio: {}, on_error: {than: drop}}, to: stdio",
			`30: unknown key "than"; did you mean then? ` + onErrorKeys,
		},
		{
			"retry at a source", "from: {stdio: {}, on_error: {retry: {max: 1}}}, to: stdio",
			"30: retry means nothing at a source, which refuses a message once; " +
				"write it in the on_error of the pipeline, of a step or of a sink",
		},
		{
			"on_error in any",
			"from: stdio, to: {on_error: drop, any: [{stdio: {}, on_error: {retry: {max: 3}}}, " +
				"{stdio: {}, steps: [{pass: 'true', on_error: drop}]}]}",
			"53: " + inAny + "\n118: " + inAny,
		},
		{"on_error deep in any", "from: stdio, to: {any: [{all: [{stdio: {}, on_error: drop}]}]}", "44: " + inAny},
		{
			"unused letters", "from: stdio, to: {stdio: {}, on_error: {dead_letter: stdio}}, on_error: drop",
			"54: dead_letter is not used; write then: dead_letter, too",
		},
		{
			"letters with a mode", "from: stdio, to: stdio, on_error: {then: dead_letter, dead_letter: {all: [stdio]}}",
			`69: unknown connector "all"; sinks: mq, stdio`,
		},
		{
			"row 7 initial", "from: stdio, to: stdio, on_error: {retry: {initial: 1ns}}",
			`53: initial must be at least 1ms, not "1ns"`,
		},
		{
			"row 7 max_interval", "from: stdio, to: stdio, on_error: {retry: {max_interval: 1ns}}",
			`58: max_interval must be at least 1ms, not "1ns"`,
		},
		{
			"pause of none", "from: stdio, to: stdio, on_error: {retry: {initial: 0}}",
			`53: initial must be at least 1ms, not "0"`,
		},
		{
			"pauses", "from: stdio, to: stdio, on_error: {retry: {initial: 2s, max_interval: 1s}}",
			"53: initial cannot be more than max_interval, which is 1s",
		},
		{
			"pause and default", "from: stdio, to: stdio, on_error: {retry: {initial: 10s}}",
			"53: initial cannot be more than max_interval, which is 8s",
		},
		{"pause and around", "from: stdio, to: {stdio: {}, on_error: {retry: {max_interval: 1s}}}, " +
			"on_error: {retry: {initial: 2s}}", "63: max_interval cannot be less than initial, which is 2s"},
		{
			"restart text", "from: stdio, to: stdio, restart: never",
			`34: restart cannot be "never"; write off, or {initial: 1s, max_interval: 5m}`,
		},
		{"restart pauses", "from: stdio, to: stdio, restart: {initial: 1us}", `44: initial must be at least 1ms, not "1us"`},
		{
			"restart key", "from: stdio, to: stdio, restart: {max: 3}",
			`35: unknown key "max"; keys here: initial, max_interval`,
		},
		{"threshold", "from: {stdio: {}, on_error: {threshold: {most: 50}}}, to: stdio, " +
			"on_error: {threshold: {most: 5, window: 50}}", "41: threshold: most must be less than window"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []string
			for line := range strings.SplitSeq(c.want, "\n") {
				want = append(want, "f:2:"+line)
			}
			if got := mistakes(t, "pipelines: {p: {\n"+c.text+"}}"); got != strings.Join(want, "\n") {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, strings.Join(want, "\n"))
			}
		})
	}
}

// Pauses at the bounds are taken.
func TestPausesAtTheBounds(t *testing.T) {
	c, err := loader(new(opened)).Parse("f",
		[]byte("pipelines: {p: {from: stdio, to: stdio, restart: {initial: 1ms, max_interval: 1ms}, "+
			"on_error: {retry: {initial: 1ms, max_interval: 1ms}}}}"))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pipelines[0]
	want := []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond}
	if d := cmp.Diff(want, []time.Duration{
		p.Restart.First, p.Restart.Most, p.OnError.FirstWait,
		p.OnError.LongestWait,
	}); d != "" {
		t.Error(d)
	}
}
