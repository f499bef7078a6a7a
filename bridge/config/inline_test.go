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
		`every,text=a=b,texts=c\,d,texts=e,rotate.size=1MB,rotate.age=1h,url=tcp://${HOST}:1/?x=y,streams.s.subjects=x,template=t/{{ topic }},secret=0`,
		"mq,url=a://b,topic=x")
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
	got := o.settings[0].(*every)
	text, _ := got.Template.Render(&bridge.Message{Topic: "x"})
	for _, d := range []string{
		cmp.Diff([]string{"a=b", "c,d", "e", "broker:1", "x=y", "t/x", "0"},
			[]string{got.Text, got.Texts[0], got.Texts[1], got.URL.Host, got.URL.RawQuery, text, got.Secret.Reveal()}),
		cmp.Diff(rotation{Size: 1e6, Keep: 1, Age: time.Hour}, *got.Rotate),
		cmp.Diff([]string{"x"}, got.Streams["s"].Subjects),
		cmp.Diff("inline", c.Pipelines[0].Name),
	} {
		if d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func TestInlineErrors(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"stdio", "", "--to: there is no connector; write CONNECTOR,key=value,…"},
		{"sdtio", "every", "--from: unknown connector \"sdtio\"; did you mean stdio? sources: every, mq, stdio\n" +
			`--to: connector "every" cannot be a sink; sinks: mq, stdio`},
		{"mq,topics=a", "stdio", "--from: the key url is missing; it must be a URL"},
		{"mq,topics", "stdio", `--from: there is no = after comma 1; write key=value, and \, for a comma within a value`},
		{"mq,=x", "stdio", "--from: there is a key missing; write CONNECTOR,key=value,…"},
		{"every,int=x", "stdio", `--from: int must be a whole number, not "x"; write it in plain digits, without unit, separators and leading zeros`},
		{"every, int=x", "stdio", `--from: int must be a whole number, not "x"; write it in plain digits, without unit, separators and leading zeros`},
		{"every,int=1,int=2", "stdio", "--from: int must be a whole number, not a list"},
		{"every,rotate=1,rotate.age=2s", "stdio", `--from: the key "rotate.age" is both a value and a mapping`},
		{"every,rotate.age=2s,rotate=1", "stdio", `--from: the key "rotate" is both a value and a mapping`},
		{"every,template={{ topik }}", "stdio", "--from: unknown name topik; did you mean topic? known: header, id, json, now, payload, " +
			"rand, seq, time, topic, portalid, segment, toSubject, toTopic and the language's own functions"},
		{"every,text=${NOPE}", "stdio", "--from: the variable NOPE is not set; set it in the environment, or write ${NOPE:-default}"},
		{"mq,connection=b,topics=a", "stdio", `--from: there is no connection "b"; connections: none`},
		{"mq,url=a://b,client_id=x,topics=a", "mq,url=a://b,topic={{", "--to: {{ has no closing }}"},
	} {
		_, err := loader(new(opened)).Inline(c.from, c.to)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s → %s\n got %v\nwant %s", c.from, c.to, err, c.want)
		}
	}
}
