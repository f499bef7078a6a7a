package config_test

import (
	"strings"
	"testing"
)

func TestBracesWithoutQuotes(t *testing.T) {
	for value, want := range map[string]string{
		"{{ topic }}":                  `write topic: "{{ topic }}"`,
		"{{ topic }} # as it is":       `write topic: "{{ topic }}"`,
		"{{topic}}/temp":               `write topic: "{{topic}}/temp"`,
		`{{ "a" }}`:                    `write topic: '{{ "a" }}'`,
		"{{ segment(topic, 1) }}":      `write topic: "{{ segment(topic, 1) }}"`,
		"{{ json.a ? topic : topic }}": `write topic: "{{ json.a ? topic : topic }}"`,
	} {
		got := mistakes(t,
			"pipelines:\n  a:\n    from: stdio\n    to:\n      mq:\n        url: a://b\n        topic: "+value+
				"\n        retain: true\n")
		if want = "f:7:16: {{ … }} without quotes is a mapping to YAML; " + want; got != want {
			t.Errorf("%s\n got %s\nwant %s", value, got, want)
		}
	}
	got := mistakes(t, "pipelines: {a: {from: stdio, to: {mq: {url: 'a://b', topic: {{ topic }}, retain: true}}}}")
	if want := `f:1:61: {{ … }} without quotes is a mapping to YAML; write topic: "{{ topic }}"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTextsThatLookLikeExpressions(t *testing.T) {
	for topic, warns := range map[string]bool{
		"json.room": true, "segment(topic, 1)": true, "header.a": true, "topic": false, "a/json.room": false, "json": false,
		"'{{ json.room }}'": false, "rooms.json": false,
		"json.a * 2": true, "(json.f - 32) / 1.8": true, "json.a ?? 0": true, "json.list[0] == 1": true, "json.a - b/c": true,
		"json.a/b": false, "json-a - b": false, "{json.room}": true, "rooms/{ topic }/x": true, "rooms/{room}": false,
		"rooms/{{ json.room }}": false, "{'a': json.a}": false,
	} {
		c, err := loader(new(opened)).Parse("f",
			[]byte("pipelines: {a: {from: stdio, to: {mq: {url: 'a://b', topic: \""+topic+"\"}}}}"))
		if err != nil {
			t.Fatal(err)
		}
		want := `f:1:61: topic is this very text, which looks like an expression; for the value of the expression write `
		if strings.Contains(topic, "{") {
			want += "it within {{ }}"
		} else {
			want += `"{{ ` + topic + ` }}"`
		}
		if got := c.Warnings.Error(); warns != (got == want) || !warns && got != "" {
			t.Errorf("%s: got %s", topic, got)
		}
	}
}
