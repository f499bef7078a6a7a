package config_test

import "testing"

// What is no YAML hides no mistakes but those in itself.
func TestMistakesBesideWhatIsNoYAML(t *testing.T) {
	const fine = "pipelines:\n  p: {from: stdio, to: stdio}\n"
	const unclosed = "not YAML: did not find expected ',' or ']'; a { or [ is not closed, a comma is missing, " +
		"or a value with ?, [, ], # or ${…} needs quotes"
	const reserved = "not YAML: found character that cannot start any token; quote the value"
	for _, c := range []struct{ name, text, want string }{
		{
			"in another pipeline",
			"pipelines:\n  a:\n    from: [stdio\n    to: stdio\n  b: {from: sdtio, to: stdio}\n",
			"f:3:11: " + unclosed + "\nf:5:13: unknown connector \"sdtio\"; did you mean stdio? sources: every, mq, stdio",
		},
		{
			"in the same pipeline, and several",
			"pipelines:\n  a:\n    from: @x\n    steps:\n      - pass: true\n      - pass: \"a\" in json\n" +
				"      - pas: true\n    to: stdoi\n",
			"f:3:11: " + reserved + "\n" +
				"f:6:19: not YAML: something follows a closing quote or bracket; put the whole value in quotes\n" +
				"f:7:9: unknown step \"pas\"; did you mean pass? steps: pass\n" +
				"f:8:9: unknown connector \"stdoi\"; did you mean stdio? sinks: mq, stdio; for several: all, route, any, share",
		},
		{
			"a key without colon, of a list that is not indented, and beside one",
			"pipelines:\n  a:\n    steps:\n    - pass: a: b\n    - pas: true\n    from stdio\n    to: stdio\n",
			"f:4:14: not YAML: mapping values are not allowed in this context; quote a value that holds \": \", " +
				"and check the indentation\n" +
				"f:5:7: unknown step \"pas\"; did you mean pass? steps: pass\n" +
				"f:6:5: a colon is missing behind this key; a key is followed by a colon and a space",
		},
		{
			"in what others refer to", "connections:\n  c: {mq: {url: 'a://b'}\npipelines:\n" +
				"  a: {from: {mq: {connection: c, topics: t, qos: 7}}, to: stdio}\n",
			"f:2:6: not YAML: did not find expected ',' or '}'; a { or [ is not closed, a comma is missing, " +
				"or a value with ?, [, ], # or ${…} needs quotes\nf:4:45: qos: there is no such quality",
		},
		{
			"an anchor in front, and one that is not there",
			"x-a: &a {from: stdio, to: stdoi}\npipelines:\n  a: *a\n  b: *b\n  c: {from: [stdio, to: stdio}\n",
			"f:1:27: unknown connector \"stdoi\"; did you mean stdio? sinks: mq, stdio; for several: all, route, any, share; " +
				"used at f:3:6 by *a\n" +
				"f:4:6: an alias (*name) for which there is no anchor (&name) before it; " +
				"write &name in front of a value above, or quote a text that begins with *\n" +
				"f:5:6: " + unclosed,
		},
		{
			"more than a line is left out", "pipelines:\n  a:\n    from: stdio\n   to: stdio\n  b: {from: stdio}\n",
			"f:4:4: not YAML: did not find expected key; check the indentation; lines 2 to 4 are not checked before that\n" +
				"f:5:6: the key to is missing; write to: {CONNECTOR: {…}}",
		},
		{
			"an anchor that is lost with what it stands in", "x-a: &a {b: @c}\n" + fine + "  a: {<<: *a, from: sdtio}\n",
			"f:1:13: " + reserved + "; the rest of the file is not checked before that",
		},
		{
			"brackets over lines", "pipelines: {\n  a: {from: [stdio},\n  b: {from: stdio},\n}\nfail_fast: yes\n",
			"f:1:12: " + unclosed + "; lines 1 to 4 are not checked before that\n" +
				"f:5:12: fail_fast must be true or false, not \"yes\"; write true",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistakes(t, c.text); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}
