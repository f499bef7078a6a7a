package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// mistakes parses text as the file f and returns its errors, one a line.
func mistakes(t *testing.T, text string) string {
	t.Helper()
	c, err := loader(new(opened)).Parse("f", []byte(text))
	if err == nil {
		t.Fatalf("%s\nis accepted: %+v", text, c)
	}
	if _, ok := err.(config.Errors); !ok {
		t.Fatalf("got %T, want config.Errors", err)
	}
	return err.Error()
}

func TestDocumentErrors(t *testing.T) {
	const fine = "pipelines: {a: {from: stdio, to: stdio}}\n"
	const shape = "write pipelines: and under it NAME: {from: …, to: …}"
	for _, c := range []struct{ name, text, want string }{
		{"Y5 empty", "", "f:1:1: the file is empty; " + shape},
		{"Y5 only a comment", "# x\n", "f:1:1: the file is empty; " + shape},
		{
			"Y5 two documents", fine + "---\n" + fine,
			"f:2:1: a second document begins here; write one document per file: remove the line ---",
		},
		{
			"Y5 broken second document", fine + "---\na: [\n",
			"f:2:1: a second document begins here; write one document per file: remove the line ---\n" +
				"f:3:4: not YAML: did not find expected node content; a { or [ is not closed, or has an entry without value",
		},
		{"list", "- a\n", "f:1:1: a configuration must be a mapping, not a list; " + shape},
		{"text", "hello\n", "f:1:1: a configuration must be a mapping, not a text; " + shape},
		{"null", "~\n", "f:1:1: a configuration must be a mapping, not nothing; " + shape},
		{
			"Y3 duplicate", fine + "fail_fast: true\nfail_fast: false\n",
			`f:3:1: duplicate key "fail_fast"; it is set in line 2 already`,
		},
		{
			"Y3 duplicate deep", "pipelines:\n  a: {from: {every: {int: 1, int: 2}}, to: stdio}\n",
			`f:2:30: duplicate key "int"; it is set in line 2 already`,
		},
		{
			"Y4 tag", fine + "drain_timeout: !!str 3s\n",
			"f:2:16: tags (!name) are not supported; quote a text that begins with !",
		},
		{
			"Y4 own tag", fine + "drain_timeout: !secret x\n",
			"f:2:16: tags (!name) are not supported; quote a text that begins with !",
		},
		{"mapping as key", fine + "{a: b}: c\n", "f:2:1: a key must be a text; quote a value that begins with { or ["},
		{"Y6 UTF-16", "\xff\xfep\x00", "f:1:1: this is not UTF-8; save the file as UTF-8"},
		{"Y6 Latin-1", "# ü\npipelines: \xfc\n", "f:2:12: this is not UTF-8; save the file as UTF-8"},
		{"Y6 NUL", "a: \x00", "f:1:4: a NUL byte is not text; save the file as UTF-8"},
		{"Y6 tab", "pipelines:\n\ta:\n", "f:2:1: a tab indents this line; indent with spaces; " +
			"lines 1 to 2 are not checked before that"},
		{
			"Y6 tab after spaces", "pipelines:\n  a:\n  \tfrom: stdio\n  \tto: stdio\n",
			"f:3:3: a tab indents this line; indent with spaces; lines 2 to 4 are not checked before that",
		},
		{
			"no-break space in the indentation", "pipelines:\n  a:\n\u00a0   from: stdio\n    to: stdio\n",
			"f:3:1: this looks like a space and is none to YAML (U+00A0); type a plain space; " +
				"lines 2 to 4 are not checked before that",
		},
		{
			"no-break space behind a colon", "pipelines:\n  a:\n    from:\u00a0stdio\n    to: stdio\n",
			"f:3:10: this looks like a space and is none to YAML (U+00A0); type a plain space",
		},
		{
			"no-break space in a flow", "pipelines: {a: {from: stdio, to:\u202fstdio}}\n",
			"f:1:33: this looks like a space and is none to YAML (U+202F); type a plain space",
		},
		{
			"no-break space in front of a key", "pipelines: {a: {from: stdio,\u00a0to: stdio}}\n",
			"f:1:29: this looks like a space and is none to YAML (U+00A0); type a plain space",
		},
		{
			"no-break space in a text", "pipelines: {a: {from: {every: {text: \"a: \u00a0b\"}}, to: no\u00a0where}}\n",
			`f:1:53: unknown connector "no…"; sinks: mq, stdio; for several: all, route, any, share`,
		},
		{"size", strings.Repeat("#", 1<<20+1), "f: the file is larger than 1048576 bytes; split it: run takes several files"},
		{
			"depth", "pipelines: " + strings.Repeat("[", 80) + strings.Repeat("]", 80),
			"f:1:12: pipelines must be a mapping, not a list; write NAME: {from: …, to: …}\n" +
				"f:1:75: values are nested more than 64 deep",
		},
		{
			"syntax: colon in value", "pipelines: a: b\n",
			`f:1:13: not YAML: mapping values are not allowed in this context; quote a value that holds ": ", and check the indentation`,
		},
		{
			"syntax: indentation", "pipelines:\n  a:\n    from: stdio\n   to: stdio\n",
			"f:4:4: not YAML: did not find expected key; check the indentation; lines 2 to 4 are not checked before that",
		},
		{
			"syntax: behind a quote",
			"pipelines:\n  a:\n    from: stdio\n    steps:\n      - pass: \"a\" in json\n    to: stdio\n",
			"f:5:19: not YAML: something follows a closing quote or bracket; put the whole value in quotes",
		},
		{
			"syntax: behind a bracket", "pipelines:\n  a:\n    from: [1] b\n    to: stdio\n",
			"f:3:15: not YAML: something follows a closing quote or bracket; put the whole value in quotes",
		},
		{
			"syntax: unclosed list", "pipelines:\n  a:\n    from: [stdio\n    to: stdio\n",
			"f:3:11: not YAML: did not find expected ',' or ']'; a { or [ is not closed, a comma is missing, " +
				"or a value with ?, [, ], # or ${…} needs quotes",
		},
		{
			"syntax: variable in flow", "pipelines: {a: {from: {every: {int: ${PORT}, flag: true}}, to: stdio}}\n",
			"f:1:38: not YAML: did not find expected ',' or '}'; a { or [ is not closed, a comma is missing, " +
				"or a value with ?, [, ], # or ${…} needs quotes",
		},
		{
			"syntax: question mark in flow", "pipelines: {a: {from: stdio, steps: [{filter: json.t ?? 0}], to: stdio}}\n",
			"f:1:54: not YAML: did not find expected ',' or '}'; a { or [ is not closed, a comma is missing, " +
				"or a value with ?, [, ], # or ${…} needs quotes",
		},
		{
			"syntax: unclosed quote", "pipelines: 'a\nb: 2\n",
			"f:1:12: not YAML: found unexpected end of stream; a quote is not closed\n" +
				`f:2:1: unknown key "b"; keys here: connections, drain_timeout, fail_fast, pipelines`,
		},
		{
			"syntax: no value", "pipelines\na: 2\n",
			"f:1:1: a colon is missing behind this key; a key is followed by a colon and a space\n" +
				`f:2:1: unknown key "a"; keys here: connections, drain_timeout, fail_fast, pipelines`,
		},
		{
			"syntax: escape", "a: \"\\q\"\n",
			`f:1:5: not YAML: found unknown escape character; write \\ for a backslash, or use single quotes`,
		},
		{"syntax: reserved", "a: @x\n", "f:1:4: not YAML: found character that cannot start any token; quote the value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistakes(t, c.text); got != c.want {
				t.Errorf("%.200s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

func TestTooManyKeys(t *testing.T) {
	var b strings.Builder
	b.WriteString("pipelines:\n")
	for i := range 10_001 {
		b.WriteString("  k" + string(rune('0'+i%10)) + strings.Repeat("x", i/1000) + ": {}\n")
	}
	if got, want := mistakes(t, b.String()),
		"f:2:3: there are more than 10000 entries; split them over several files"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	text := "pipelines: {a: {from: stdio, to: stdio}}\n" + strings.Repeat("? []\n: 1\n", 3000)
	_, err := loader(new(opened)).Parse("f", []byte(text))
	es, _ := err.(config.Errors)
	if len(es) != 1001 || !strings.Contains(err.Error(), "this is mistake 1001, and the last that is shown") {
		t.Errorf("got %d errors", len(es))
	}
}

func TestShapeErrors(t *testing.T) {
	const entry = "write {CONNECTOR: {…}}"
	for _, c := range []struct{ name, text, want string }{
		{
			"no pipelines", "fail_fast: true\n",
			"f:1:1: there is no pipeline; write pipelines: and under it NAME: {from: …, to: …}",
		},
		{
			"pipelines empty", "pipelines: {}\n",
			"f:1:1: there is no pipeline; write pipelines: and under it NAME: {from: …, to: …}",
		},
		{
			"pipelines null", "pipelines:\n",
			"f:1:1: pipelines must be a mapping, not nothing; write NAME: {from: …, to: …}",
		},
		{
			"unknown top key", "pipeline: {}\n",
			`f:1:1: unknown key "pipeline"; did you mean pipelines? keys here: connections, drain_timeout, fail_fast, pipelines`,
		},
		{
			"wrong types at the top", "pipelines: {a: {from: stdio, to: stdio}}\nfail_fast: yes\ndrain_timeout: 10\n",
			"f:2:12: fail_fast must be true or false, not \"yes\"; write true\n" +
				"f:3:16: drain_timeout must be a duration like 10s, not \"10\"; add a unit: ms, s, m, h, d or w",
		},
		{
			"name", "pipelines: {-a b: {from: stdio, to: stdio}}\n",
			`f:1:13: a pipeline cannot be called "-a b"; a name has letters, digits, - and _, and begins with a letter or digit`,
		},
		{
			"pipeline null", "pipelines:\n  a:\n",
			`f:2:3: pipeline "a" must be a mapping, not nothing; write from: and to: under it`,
		},
		{"from and to missing", "pipelines:\n  a: {}\n", "f:2:6: the key from is missing; " +
			"write from: {CONNECTOR: {…}}\nf:2:6: the key to is missing; write to: {CONNECTOR: {…}}"},
		{
			"from misspelt", "pipelines:\n  a: {form: stdio, to: stdio}\n",
			`f:2:7: unknown key "form"; did you mean from? keys here: ` +
				"buffer, description, enabled, from, max_batch, max_in_flight, on_error, optional, order_by, restart, " +
				"stale_after, steps, to",
		},
		{
			"later key", "pipelines:\n  a: {from: stdio, to: stdio, schedule: daily}\n",
			`f:2:31: unknown key "schedule"; keys here: ` +
				"buffer, description, enabled, from, max_batch, max_in_flight, on_error, optional, order_by, restart, " +
				"stale_after, steps, to",
		},
		{
			"buffer of nothing", "pipelines:\n  a: {from: stdio, to: stdio, buffer: dsik}\n",
			`f:2:39: buffer must be memory or disk, not "dsik"; did you mean disk? values: disk, memory`,
		},
		{
			"buffer misspelt", "pipelines:\n  a: {from: stdio, to: stdio, buffer: {disc: {}}}\n",
			`f:2:40: unknown key "disc"; write memory, disk, or {disk: {max_bytes: 1GiB, when_full: block}}`,
		},
		{"buffer settings", "pipelines:\n  a: {from: stdio, to: stdio, buffer: {disk: {max_bytes: lots, " +
			"when_full: panic}}}\n", "f:2:58: max_bytes must be a size like 100MB, not \"lots\"; " +
			"units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB\nf:2:75: when_full cannot be \"panic\"; " +
			"allowed: block, drop_oldest, reject"},
		{"from empty", "pipelines:\n  a: {from: [], to: stdio}\n", "f:2:13: from is an empty list; " + entry},
		{"from null", "pipelines:\n  a:\n    from:\n    to: stdio\n", "f:3:5: there is no connector here; " + entry},
		{"from nothing", "pipelines:\n  a: {from: {}, to: stdio}\n", "f:2:13: there is no connector here; " + entry},
		{
			"from two", "pipelines:\n  a:\n    from:\n      stdio:\n      qos: 1\n    to: stdio\n",
			`f:5:7: an entry has one connector, and here is a second key "qos"; indent the settings under the connector, or write a list`,
		},
		{
			"from list of lists", "pipelines:\n  a: {from: [[stdio]], to: stdio}\n",
			"f:2:14: one entry is wanted here, not a list; " + entry,
		},
		{
			"to list", "pipelines:\n  a: {from: stdio, to: [stdio]}\n",
			"f:2:24: to must be one entry, not a list; for several sinks write to: {all: [ … ]}",
		},
		{"all empty", "pipelines:\n  a: {from: stdio, to: {all: []}}\n", "f:2:30: all is an empty list; " + entry},
		{
			"all mapping", "pipelines:\n  a: {from: stdio, to: {all: {stdio: {}}}}\n",
			"f:2:30: all must be a list of entries, not a mapping; write all: [{CONNECTOR: {…}}, …]",
		},
		{
			"unknown connector", "pipelines:\n  a: {from: sdtio, steps: [pas], to: {some: []}}\n",
			"f:2:13: unknown connector \"sdtio\"; did you mean stdio? sources: every, mq, stdio\n" +
				"f:2:28: unknown step \"pas\"; did you mean pass? steps: pass\n" +
				"f:2:39: unknown connector \"some\"; sinks: mq, stdio; for several: all, route, any, share",
		},
		{
			"wrong role", "pipelines:\n  a: {from: pass, steps: [mq], to: {every: {}}}\n",
			"f:2:13: connector \"pass\" cannot be a source; sources: every, mq, stdio\n" +
				"f:2:27: connector \"mq\" cannot be a step; steps: pass\n" +
				"f:2:37: connector \"every\" cannot be a sink; sinks: mq, stdio",
		},
		{
			"retry is a number", "pipelines:\n  a: {from: stdio, to: stdio, on_error: {retry: 3}}\n",
			"f:2:49: retry must be a mapping, not a number; its keys: initial, max, max_interval",
		},
		{
			"restart is true", "pipelines:\n  a: {from: stdio, to: stdio, on_error: {threshold: true}}\n",
			"f:2:53: threshold must be a mapping, not true; write threshold: {most: …}",
		},
		{
			"condition in braces", "pipelines:\n  a: {from: stdio, to: {route: [{stdio: {}, when: '{{ json.x }}'}]}}\n",
			"f:2:52: an expression is written without {{ }} here; leave the braces out",
		},
		{
			"bounds", "pipelines:\n  a: {from: stdio, to: stdio, max_in_flight: 0, max_batch: 2000000}\n",
			"f:2:46: max_in_flight must be at least 1, not \"0\"\nf:2:60: max_batch must be at most 1000000, not \"2000000\"",
		},
		{
			"what looks at it", "pipelines:\n  a: {from: stdio, to: stdio, stale_after: 5, optional: yes}\n",
			"f:2:44: stale_after must be a duration like 10s, not \"5\"; add a unit: ms, s, m, h, d or w\n" +
				"f:2:57: optional must be true or false, not \"yes\"; write true",
		},
		{
			"settings are a text", "pipelines:\n  a: {from: {mq: tcp://u:p@h}, to: stdio}\n",
			"f:2:18: mq must be a mapping, not a text; write mq: {url: …, topics: …}",
		},
		{
			"settings that are none", "pipelines:\n  a: {from: {stdio: {x: 1}}, to: stdio}\n",
			`f:2:22: unknown key "x"; keys here: none`,
		},
		{
			"settings are a list", "pipelines:\n  a: {from: {stdio: [1]}, to: stdio}\n",
			"f:2:21: stdio must be a mapping, not a list; its keys: none",
		},
		{
			"step without condition", "pipelines:\n  a: {from: stdio, steps: [pass], to: stdio}\n",
			"f:2:28: the key when is missing; it must be a condition",
		},
		{
			"step with connection", "pipelines:\n  a: {from: stdio, steps: [pass: {connection: x, when: true}], to: stdio}\n",
			`f:2:35: unknown key "connection"; keys here: on_error, when`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistakes(t, c.text); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

// All mistakes in one go: a block is checked inside, whatever is wrong with the name of it or of
// its connection.
func TestMistakesWithinWhatIsNamedWrong(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{
			"connection that is not there",
			"pipelines:\n  a: {from: {mq: {connection: b, topics: t, qos: 7, keepalive: 1, tls: {cert: x}}}, to: stdio}\n",
			"f:2:31: there is no connection \"b\"; connections: none\n" +
				"f:2:64: keepalive must be a duration like 10s, not \"1\"; add a unit: ms, s, m, h, d or w\n" +
				"f:2:73: cert: cert and key go together: set both or neither",
		},
		{
			"connection that is not there, and combinations",
			"pipelines:\n  a: {from: {mq: {connection: b, topics: t, qos: 7}}, to: stdio}\n",
			"f:2:31: there is no connection \"b\"; connections: none\nf:2:45: qos: there is no such quality",
		},
		{
			"connection of another type",
			"connections: {b: {mq: {url: 'a://b'}}}\npipelines:\n  a: {from: {every: {connection: b, int: x}}, to: stdio}\n",
			"f:3:34: connection \"b\" is of type mq, not every\n" +
				`f:3:42: int must be a whole number, not "x"; write it in plain digits, without unit, separators and leading zeros`,
		},
		{
			"name of a connection that is taken",
			"connections:\n  b: {mq: {url: 'a://b'}}\n  b: {mq: {url: x}}\npipelines: {a: {from: stdio, to: stdio}}\n",
			"f:3:3: duplicate key \"b\"; it is set in line 2 already\nf:3:17: url: not a URL, " +
				"which looks like scheme://host:port",
		},
		{
			"name of a pipeline that is taken",
			"pipelines:\n  a: {from: stdio, to: stdio}\n  a: {from: {every: {int: x}}, to: stdio}\n",
			"f:3:3: duplicate key \"a\"; it is set in line 2 already\n" +
				`f:3:27: int must be a whole number, not "x"; write it in plain digits, without unit, separators and leading zeros`,
		},
		{
			"name of a pipeline that is none", "pipelines:\n  ä b: {from: {every: {int: 1k}}, to: stdio}\n",
			`f:2:3: a pipeline cannot be called "ä b"; a name has letters, digits, - and _, and begins with a letter or digit` + "\n" +
				`f:2:29: int must be a whole number, not "1k"; write 1000`,
		},
		{
			"key that is misspelt", "pipelines:\n  a: {from: stdio, too: {mq: {}}}\n",
			`f:2:20: unknown key "too"; did you mean to? keys here: buffer, description, enabled, from, max_batch, max_in_flight, on_error, optional, order_by, restart, stale_after, steps, to` + "\n" +
				"f:2:30: the key url is missing; it must be a URL\nf:2:30: the key topic is missing; it must be a text",
		},
		{
			"key beside the connector", "pipelines:\n  a: {from: {every: {int: 1k}, whne: x}, to: stdio}\n",
			`f:2:27: int must be a whole number, not "1k"; write 1000` + "\n" +
				`f:2:32: an entry has one connector, and here is a second key "whne"; indent the settings under the connector, or write a list`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistakes(t, c.text); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

// Each text is the settings of a source every, at column 13 of line 1.
func TestValueErrors(t *testing.T) {
	const whole = "; write it in plain digits, without unit, separators and leading zeros"
	const units = "; units are ms, s, m, h, d and w"
	const sizes = "; units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB"
	const names = "variables: header, id, json, now, payload, rand, seq, time, topic; " +
		"xrtcbridge help expressions lists the functions"
	for _, c := range []struct{ text, want string }{
		{"int: 5m", `18: int must be a whole number, not "5m"` + whole}, // five minutes, more likely
		{"int: 0123", `18: int must be a whole number, not "0123"` + whole},
		{"int: 1_000", `18: int must be a whole number, not "1_000"; write 1000`},
		{"int: 10k", `18: int must be a whole number, not "10k"; write 10000`},
		{"float: 1.5k", `20: float must be a number, not "1.5k"; write 1500`},
		{"int: 0x10", `18: int must be a whole number, not "0x10"` + whole},
		{"int: 1.0", `18: int must be a whole number, not "1.0"; write 1`},
		{"int: +1", `18: int must be a whole number, not "+1"` + whole},
		{"int: 2001-01-01", `18: int must be a whole number, not "2001-01-01"` + whole},
		{"int: 99999999999999999999", `18: int is out of range: "99999999999999999999"`},
		{"tiny: 128", `19: tiny is out of range: "128"`},
		{"unsigned: -1", `23: unsigned is out of range: "-1"`},
		{"int: [1]", "18: int must be a whole number, not a list"},
		{"int: {a: 1}", "18: int must be a whole number, not a mapping"},
		{"int: ", `13: int has no value; remove the key, or write "" for the empty text`},
		{"text: ~", `19: text has no value; remove the key, or write "" for the empty text`},
		{"limit: x", `20: limit must be a whole number, not "x"` + whole},
		{"flag: yes", `19: flag must be true or false, not "yes"; write true`},
		{"flag: Off", `19: flag must be true or false, not "Off"; write false`},
		{"flag: True", `19: flag must be true or false, not "True"; write true`},
		{"flag: 2", `19: flag must be true or false, not "2"`},
		{"float: .5", `20: float must be a number, not ".5"`},
		{"float: .inf", `20: float must be a number, not ".inf"`},
		{"float: 1e999", `20: float is out of range: "1e999"`},
		{"duration: 5", `23: duration must be a duration like 10s, not "5"; add a unit: ms, s, m, h, d or w`},
		{"duration: -5s", `23: duration must be a duration like 10s, not "-5s"` + units},
		{"duration: 5 s", `23: duration must be a duration like 10s, not "5 s"; write 5s`},
		{"duration: 10 min", `23: duration must be a duration like 10s, not "10 min"; write 10m`},
		{"duration: 1 week and 2 days", `23: duration must be a duration like 10s, not "1 week and 2 days"; write 1w2d`},
		{"duration: 1 month", `23: duration must be a duration like 10s, not "1 month"` + units},
		{"duration: 99999d999999h", `23: duration must be a duration like 10s, not "99999d999999h"` + units},
		{"size: 1XB", `19: size must be a size like 100MB, not "1XB"` + sizes},
		{"size: 10M", `19: size must be a size like 100MB, not "10M"; write 10MB, or 10MiB for powers of 1024`},
		{"size: 1.5 k", `19: size must be a size like 100MB, not "1.5 k"; write 1.5kB, or 1.5KiB for powers of 1024`},
		{"size: 5Gi", `19: size must be a size like 100MB, not "5Gi"; write 5GiB`},
		{"size: -1", `19: size must be a size like 100MB, not "-1"` + sizes},
		{"url: nonsense", "18: url: not a URL, which looks like scheme://host:port; as in url: every://nonsense"},
		{"url: host:1883", "18: url: not a URL, which looks like scheme://host:port; as in url: every://host:1883"},
		{"url: 127.0.0.1:8883", "18: url: not a URL, which looks like scheme://host:port; as in url: everys://127.0.0.1:8883"},
		{"url: user:secret", "18: url: not a URL, which looks like scheme://host:port"},
		{"url: '${CANARY}'", "18: url: not a URL, which looks like scheme://host:port"},
		{"urls: ['a://b', c]", "29: urls: not a URL, which looks like scheme://host:port"},
		{"texts: {}", "20: texts must be a text or a list of texts, not a mapping"},
		{"texts: [a, [b]]", "24: texts must be a text, not a list"},
		{"texts: [a, ~]", `24: texts has no value; remove the key, or write "" for the empty text`},
		{"header: [a]", "21: header must be a mapping, not a list"},
		{"header: {a: {b: c}}", "25: header.a must be a text, not a mapping"},
		{"header: {'${HOST}': c}", "22: ${…} is not filled in within keys"},
		{
			"header: {'{{ id }}': c}",
			`22: {{ … }} is not filled in within keys; a mapping with such a key is an expression as a whole: "{{ {(topic): 1} }}"`,
		},
		{"rotate: {sise: 1}", `22: unknown key "sise"; did you mean size? keys here: age, keep, size`},
		{"rotate: daily", `21: size must be a size like 100MB, not "daily"` + sizes +
			"; or under it the keys size, age, keep"},
		{"rotate: [1]", "21: size must be a size like 100MB, not a list"},
		{"rotate: {size: 0, keep: 200}", "31: keep: means nothing without size\n31: keep: is too much"},
		{"streams: {s: {}}", "26: the key streams.s.subjects is missing; it must be a text or a list of texts"},
		{"streams: {s: {subjects: []}}", "37: streams.s.subjects is an empty list"},
		{
			"streams: {s: {subjects: a, storage: fiel}}",
			`49: streams.s.storage cannot be "fiel"; did you mean file? allowed: file, memory`,
		},
		{"list: [{subject: a}]", `21: unknown key "subject"; did you mean subjects? keys here: storage, subjects`},
		{"Text: a", `13: unknown key "Text"; did you mean text? keys here: condition, connection, duration, flag, float, header, int, limit, ` +
			`list, lists, rotate, secret, size, streams, template, text, texts, tiny, unsigned, url, urls`},
		{"template: 'a {{ topik }}'", "29: unknown name topik; did you mean topic? " + names},
		{`template: "ü {{ topic + }}"`, "36: the expression is not complete"},
		{"template: '{{ topic'", "24: {{ has no closing }}"},
		{`template: "\u0061{{ topik }}"`, "23: unknown name topik; did you mean topic? " + names},
		{"condition: topic", "24: a condition must be true or false, and this is a text"},
		{"condition: json.a = 3", `31: unexpected "="; write == to compare`},
		{"condition: now.Format(1)", "35: Format wants a text, not a number"},
		{"condition: json.a >", "31: the expression is not complete"},
		{"condition: [a]", "24: condition must be a condition, not a list"},
		{"text: '${NOPE}'", "20: the variable NOPE is not set; set it in the environment, or write ${NOPE:-default}"},
		{
			"text: 'a ${NOPE} b ${ALSO}'",
			"22: the variable NOPE is not set; set it in the environment, or write ${NOPE:-default}\n" +
				"32: the variable ALSO is not set; set it in the environment, or write ${ALSO:-default}",
		},
		{"text: '${HOST'", "20: ${ has no closing }; write $${ for the characters ${"},
		{"text: '${a b}'", "20: ${…} does not name a variable; write ${NAME}, ${NAME:-default}, " +
			"${file:path} or ${cred:NAME}, or $${ for the characters ${"},
		{"text: '${A:-${B}}'", "20: the default of ${A} holds another ${…}, which is not supported"},
		{"text: '${file:none}'", "20: ${file:}: stat none: no such file or directory"},
		{"text: '${file:.}'", "20: ${file:}: . is not a regular file"},
		{"text: '${file:/dev/zero}'", "20: ${file:}: /dev/zero is not a regular file"},
		{"int: '${HOST}'", `18: int must be a whole number, not "${HOST}"` + whole},
		{"template: 'a {{ topic == \"${QUOTE}\" }}'", "39: what ${…} stands for is not one plain word or number, " +
			"so it cannot be part of an expression; letters, digits and _.:/@#+- are allowed"},
		{"condition: 'topic == \"${QUOTE}\"'", "35: what ${…} stands for is not one plain word or number, " +
			"so it cannot be part of an expression; letters, digits and _.:/@#+- are allowed"},
		{"condition: '${HOST} == topic'", "25: the expression does not compile with its ${…} filled in"},
		{"Y5: 1, int: x", `13: unknown key "Y5"; keys here: condition, connection, duration, flag, float, header, int, limit, ` +
			`list, lists, rotate, secret, size, streams, template, text, texts, tiny, unsigned, url, urls` +
			"\n" + `25: int must be a whole number, not "x"` + whole},
	} {
		var want []string
		for line := range strings.SplitSeq(c.want, "\n") {
			want = append(want, "f:2:"+line)
		}
		text := "pipelines: {a: {to: stdio, from: {every: {\n            " + c.text + "\n}}}}"
		if got := mistakes(t, text); got != strings.Join(want, "\n") {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, strings.Join(want, "\n"))
		}
	}
}

func TestTenMistakes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "ten-mistakes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(mistakes(t, string(text)), "\n")
	want := []string{
		`f:3:1: unknown key "fail_fats"; did you mean fail_fast? `,
		`f:6:22: url: not a URL, `,
		`f:12:20: keepalive must be a duration like 10s, not "10"; `,
		`f:13:9: unknown key "qoss"; did you mean qos? `,
		`f:14:18: session cannot be "cleen"; did you mean clean? `,
		`f:18:28: the expression is not complete`,
		`f:20:7: unknown connector "stdoi"; did you mean stdio? `,
		`f:23:24: the variable SITE_NAME is not set; `,
		`f:26:24: unknown name topik; did you mean topic? `,
		`f:28:9: duplicate key "url"; it is set in line 27 already`,
	}
	if len(got) != len(want) {
		t.Errorf("got %d errors:\n%s", len(got), strings.Join(got, "\n"))
	}
	for i := range min(len(got), len(want)) {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %s\nwant %s…", got[i], want[i])
		}
	}
}

// brokenSettings index what a text may lack.
type brokenSettings struct {
	client `yaml:",inline"`
	Text   string `yaml:"text,required"`
}

func (s *brokenSettings) Validate() error {
	if s.Text[0] == 'x' {
		return errors.New("no x")
	}
	return nil
}

// A method Validate that panics is a mistake of the connector, told beside those of the file, be
// the connection of the settings there or not.
func TestValidatePanics(t *testing.T) {
	const want = "config_test.brokenSettings.Validate panics: runtime error: index out of range [0] with length 0; " +
		"this is a mistake in the connector"
	for _, c := range []struct{ text, want string }{
		{`pipelines: {a: {from: {broken: {url: "a://b", text: ""}}, to: nobody}}`, "f:1:32: " + want + "\n" +
			`f:1:63: unknown connector "nobody"; sinks: mq, stdio; for several: all, route, any, share`},
		{`pipelines: {a: {from: {broken: {connection: b, text: ""}}, to: stdio}}`, "f:1:32: " + want + "\n" +
			`f:1:45: there is no connection "b"; connections: none`},
	} {
		l := loader(new(opened))
		broken := bridge.NewOpener(brokenSettings{}, note[brokenSettings, bridge.Source](new(opened)))
		if err := l.Registry.Add(bridge.Connector{Name: "broken", Source: broken}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Parse("f", []byte(c.text)); err == nil || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}
