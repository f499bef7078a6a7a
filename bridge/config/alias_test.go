package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// What is written with anchors, aliases and merge keys is what is written without.
func TestAliases(t *testing.T) {
	for _, c := range []struct{ name, text, plain string }{
		{
			"alias of a mapping", "x-s: &s {int: 7, text: a}\npipelines: {a: {from: {every: *s}, to: stdio}}",
			"int: 7, text: a",
		},
		{
			"alias of a text", "pipelines: {a: {from: {every: {text: &t b, texts: [*t, c]}}, to: stdio}}",
			"text: b, texts: [b, c]",
		},
		{"unused anchors", "pipelines: {a: {from: {every: &e {text: &t b}}, to: stdio}}", "text: b"},
		{
			"merge", "x-s: &s {int: 7, text: a}\npipelines: {a: {from: {every: {<<: *s, text: b}}, to: stdio}}",
			"int: 7, text: b",
		},
		{
			"merge behind the key",
			"x-s: &s {int: 7, text: a}\npipelines: {a: {from: {every: {text: b, <<: *s}}, to: stdio}}", "int: 7, text: b",
		},
		{
			"merge of several, the first wins",
			"x-s: &s {int: 7}\nx-u: &u {int: 8, text: c}\npipelines: {a: {from: {every: {<<: [*s, *u]}}, to: stdio}}",
			"int: 7, text: c",
		},
		{
			"merge within a merge",
			"x-s: &s {int: 7}\nx-u: &u {<<: *s, text: c}\npipelines: {a: {from: {every: {<<: *u}}, to: stdio}}",
			"int: 7, text: c",
		},
		{"merge of a mapping that is written there", "pipelines: {a: {from: {every: {<<: {int: 7}}}, to: stdio}}", "int: 7"},
		{
			"merge is not deep",
			"x-s: &s {header: {a: b}}\npipelines: {a: {from: {every: {<<: *s, header: {c: d}}}, to: stdio}}", "header: {c: d}",
		},
		{
			"an anchor that is defined again",
			"x-a: &t a\nx-b: &t b\npipelines: {a: {from: {every: {text: *t}}, to: stdio}}", "text: b",
		},
		{"a variable", "x-s: &s '${HOST}'\npipelines: {a: {from: {every: {text: *s}}, to: stdio}}", "text: '${HOST}'"},
		{"a quoted << is a key", "pipelines: {a: {from: {every: {header: {'<<': x}}}, to: stdio}}", "header: {'<<': x}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := "pipelines: {a: {from: {every: {" + c.plain + "}}, to: stdio}}"
			settings := func(text string) string {
				encoded, err := config.Plain(open(t, text)[0])
				if err != nil {
					t.Fatal(err)
				}
				return string(encoded)
			}
			if diff := cmp.Diff(settings(plain), settings(c.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAliasErrors(t *testing.T) {
	const whole = "; write it in plain digits, without unit, separators and leading zeros"
	for _, c := range []struct{ name, text, want string }{
		{
			"the value itself", "x-n: &n lots\npipelines:\n  a: {from: {every: {int: *n}}, to: stdio}\n",
			`f:3:27: int must be a whole number, not "lots"` + whole + "; *n is defined at f:1:6",
		},
		{
			"a mapping where a number is wanted", "x-n: &n {a: b}\npipelines:\n  a: {from: {every: {int: *n}}, to: stdio}\n",
			"f:3:27: int must be a whole number, not a mapping; *n is defined at f:1:6",
		},
		{
			"within the value", "x-s: &s\n  int: lots\npipelines:\n  a: {from: {every: *s}, to: stdio}\n",
			`f:2:8: int must be a whole number, not "lots"` + whole + "; used at f:4:21 by *s",
		},
		{
			"within an expression", "x-e: &e json.a >\npipelines:\n  a: {from: {every: {condition: *e}}, to: stdio}\n",
			"f:1:16: the expression is not complete; used at f:3:33 by *e",
		},
		{
			"unknown key through a merge",
			"x-s: &s\n  inn: 1\npipelines:\n  a: {from: {mq: {<<: *s, url: 'a://b', topics: t}}, to: stdio}\n",
			`f:2:3: unknown key "inn"; keys here: client_id, connection, keepalive, password, qos, session, tls, topics, url; used at f:4:23 by *s`,
		},
		{
			"duplicate key through a merge",
			"x-s: &s\n  int: 1\n  int: 2\npipelines:\n  a: {from: {every: {<<: *s}}, to: stdio}\n",
			`f:3:3: duplicate key "int"; it is set in line 2 already`,
		},
		{
			"said once, however often it is used",
			"x-s: &s {inn: 1}\npipelines:\n  a: {from: [{every: *s}, {every: *s}], to: stdio}\n",
			`f:1:10: unknown key "inn"; did you mean int? keys here: condition, connection, duration, flag, float, header, int, limit, ` +
				`list, lists, rotate, secret, size, streams, template, text, texts, tiny, unsigned, url, urls; used at f:3:22 by *s`,
		},
		{
			"missing in what is used", "x-m: &m {mq: {topics: t}}\npipelines:\n  a: {from: *m, to: stdio}\n",
			"f:1:14: the key url is missing; it must be a URL; used at f:3:13 by *m",
		},
		{
			"missing beside a merge", "x-m: &m {topics: t}\npipelines:\n  a: {from: {mq: {<<: *m}}, to: stdio}\n",
			"f:3:18: the key url is missing; it must be a URL",
		},
		{
			"Validate", "x-q: &q {qos: 7}\npipelines:\n  a: {from: {mq: {<<: *q, topics: t, url: 'a://b'}}, to: stdio}\n",
			"f:1:10: qos: there is no such quality; used at f:3:23 by *q",
		},
		{
			"a connector that is not there", "x-c: &c stdoi\npipelines:\n  a: {from: *c, to: stdio}\n",
			`f:3:13: unknown connector "stdoi"; did you mean stdio? sources: every, mq, stdio; *c is defined at f:1:6`,
		},
		{
			"settings of a connector that are missing", "x-c: &c mq\npipelines:\n  a: {from: *c, to: stdio}\n",
			"f:3:13: the key url is missing; it must be a URL; *c is defined at f:1:6\n" +
				"f:3:13: the key topics is missing; it must be a text or a list of texts; *c is defined at f:1:6",
		},
		{
			"what only one may use",
			"x-m: &m {mq: {client_id: x, topics: t, url: 'a://b'}}\npipelines:\n  a: {from: [*m, *m], to: stdio}\n",
			"f:1:10: client_id x at a://b is in use already; it is used at f:1:10 (used at f:3:14 by *m); used at f:3:18 by *m",
		},
		{
			"Y4 no anchor", "pipelines: {a: {from: stdio, to: stdio}}\nfail_fast: *x\n",
			"f:2:12: an alias (*name) for which there is no anchor (&name) before it; " +
				"write &name in front of a value above, or quote a text that begins with *",
		},
		{
			"Y4 in itself", "x-a: &a [1, *a]\npipelines: {a: {from: stdio, to: stdio}}\n",
			"f:1:13: *a stands within the value that it stands for; *a is defined at f:1:6",
		},
		{
			"alias as a key", "x-a: &a int\npipelines: {a: {from: {every: {*a : 1}}, to: stdio}}\n",
			"f:2:32: a key must be a text, not an alias; write it out",
		},
		{
			"merge of a text", "x-a: &a t\npipelines: {a: {from: {mq: {<<: *a}}, to: stdio}}\n",
			"f:2:33: << merges a mapping, or a list of them, not a text; write <<: *name, with &name at a mapping; " +
				"*a is defined at f:1:6",
		},
		{
			"merge of nothing", "pipelines: {a: {from: {mq: {<<: }}, to: stdio}}\n",
			"f:1:29: << merges a mapping, or a list of them, not nothing; write <<: *name, with &name at a mapping",
		},
		{
			"two merges", "x-a: &a {a: 1}\npipelines: {a: {from: {stdio: {<<: *a, <<: *a}}, to: stdio}}\n",
			`f:2:40: duplicate key "<<"; write <<: [*a, *b] to merge several mappings`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistakes(t, c.text); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

// Y4: what aliases stand for is bounded, in values and in texts.
func TestY4AliasBudget(t *testing.T) {
	const fine = "pipelines: {a: {from: stdio, to: stdio}}\n"
	most := "x-a: &a [" + strings.TrimSuffix(strings.Repeat("x,", 999), ",") + "]\nx-b: [" +
		strings.Repeat("*a,", 100) + "]\n"
	open(t, fine+most)
	texts := "x-a: &a " + strings.Repeat("x", 200_000) + "\nx-b: [" + strings.Repeat("*a,", 51) + "]\n"
	for text, place := range map[string]string{most + "x-c: *a\n": "f:4:6", texts: "f:3:154"} {
		want := place + ": the aliases up to this one stand for more than 100000 values; *a is defined at f:2:6"
		if got := mistakes(t, fine+text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
