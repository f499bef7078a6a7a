package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestInline(t *testing.T) {
	o := new(opened)
	c, err := loader(o).Inline(
		`every,text=a=b,texts=c\,d,texts=e,rotate.size=1MB,rotate.age=1h,url=tcp://${HOST}:1/?x=y,streams.s.subjects=x,template=t/{{ topic }},secret=${CANARY}`,
		"mq,url=a://b,topic=x")
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
	got := o.settings[0].(*every)
	text, _ := got.Template.Render(&bridge.Message{Topic: "x"})
	for _, d := range []string{
		cmp.Diff([]string{"a=b", "c,d", "e", "broker:1", "x=y", "t/x", canary},
			[]string{got.Text, got.Texts[0], got.Texts[1], got.URL.Host, got.URL.RawQuery, text, got.Secret.Reveal()}),
		cmp.Diff(rotation{Size: 1e6, Keep: 1, Age: time.Hour}, *got.Rotate),
		cmp.Diff([]string{"x"}, got.Streams["s"].Subjects),
		cmp.Diff("inline", c.Pipelines[0].Name),
		cmp.Diff(2, got.hidden), // it knows that no run follows
	} {
		if d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// Commas within {{ }} are those of an expression; where that does not end, there is none.
func TestInlineCommasOfExpressions(t *testing.T) {
	for text, want := range map[string]string{
		`template={{ segment(topic, 1) }}\,{{ segment(topic\, 2) }}`: "b,c",
		`template={{ {"m": {"b": topic}}.m.b + ",}}," }}`:            "a/b/c,}},",
		`text={{,template=x`: "x",
		`text=}},template=x`: "x",
	} {
		o := new(opened)
		c, err := loader(o).Inline("every,int=1,"+text, "stdio")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		openAll(t, c)
		if got, err := o.settings[0].(*every).Template.Render(&bridge.Message{Topic: "a/b/c"}); got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

// What stands behind the name and = is the short form of a file, with commas and all.
func TestInlineShortForm(t *testing.T) {
	const want = `--step: unexpected ","; or under it the keys when, on_error`
	if _, err := loader(new(opened)).Inline("every,int=1", "stdio", "pass = true, false"); err == nil ||
		err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	o := new(opened)
	c, err := loader(o).Inline("every,int=1", "stdio", `pass=topic in ["a", "b=c"]`)
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
}

func TestInlineErrors(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"stdio", "", "--to: there is no connector; write CONNECTOR,key=value,…"},
		{"sdtio", "every", "--from: unknown connector \"sdtio\"; did you mean stdio? sources: every, mq, stdio\n" +
			`--to: connector "every" cannot be a sink; sinks: mq, stdio`},
		{"mq,topics=a", "stdio", "--from: the key url is missing; it must be a URL"},
		{
			"mq,topics", "stdio",
			`--from: there is no = after comma 1; write key=value, \, for a comma within a value, or NAME=value where a value stands for the settings`,
		},
		{"mq=a", "stdio", "--from: mq must be a mapping, not a text; write mq: {url: …, topics: …}"},
		{"mq,=x", "stdio", "--from: there is a key missing; write CONNECTOR,key=value,…"},
		{
			"every,int=x", "stdio",
			`--from: int must be a whole number, not "x"; write it in plain digits, without unit, separators and leading zeros`,
		},
		{
			"every, int=x", "stdio",
			`--from: int must be a whole number, not "x"; write it in plain digits, without unit, separators and leading zeros`,
		},
		{
			"every,streams.s.storage=file", "stdio",
			"--from: the key streams.s.subjects is missing; it must be a text or a list of texts",
		},
		{
			"every,rotate.size=x", "stdio",
			`--from: rotate.size must be a size like 100MB, not "x"; units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB`,
		},
		{"every,int=1,int=2", "stdio", "--from: int must be a whole number, not a list"},
		{"every,rotate=1,rotate.age=2s", "stdio", `--from: the key "rotate.age" is both a value and a mapping`},
		{"every,rotate.age=2s,rotate=1", "stdio", `--from: the key "rotate" is both a value and a mapping`},
		{
			"every,template={{ topik }}", "stdio",
			"--from: unknown name topik; did you mean topic? variables: header, id, json, now, payload, " +
				"rand, seq, time, topic; xrtcbridge help expressions lists the functions",
		},
		{
			"every,text=${NOPE}", "stdio",
			"--from: the variable NOPE is not set; set it in the environment, or write ${NOPE:-default}",
		},
		{"mq,connection=b,topics=a", "stdio", `--from: there is no connection "b"; connections: none`},
		{"mq,url=a://b,client_id=x,topics=a", "mq,url=a://b,topic={{", "--to: {{ has no closing }}"},
	} {
		_, err := loader(new(opened)).Inline(c.from, c.to)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s → %s\n got %v\nwant %s", c.from, c.to, err, c.want)
		}
	}
}
