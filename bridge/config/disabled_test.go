package config_test

import (
	"strings"
	"testing"
)

// A pipeline that is disabled is read like the others, and takes nothing from them.
func TestDisabledPipelines(t *testing.T) {
	const mq = "{mq: {client_id: x, topics: t, url: 'a://b'}}"
	c, err := loader(new(opened)).Parse("f", []byte("drain_timeout: 3s\npipelines:\n"+
		"  off: {enabled: false, from: "+mq+", to: stdio}\n"+
		"  on: {description: \"from ${HOST}\", enabled: true, from: "+mq+", to: stdio}\n"+
		"  also-off: {enabled: \"${NO:-false}\", from: "+mq+", to: stdio}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range c.All() {
		names = append(names, p.Name+" "+p.DrainTimeout.String())
	}
	if got, want := strings.Join(names, ", "), "on 3s, off 3s, also-off 3s"; got != want || len(c.Disabled) != 2 {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := c.Descriptions["on"]; got != "from broker" {
		t.Errorf("description %q", got)
	}
	if _, err := loader(new(opened)).Parse("f",
		[]byte("pipelines: {a: {enabled: false, from: stdio, to: stdio}}")); err != nil {
		t.Error(err)
	}
	const want = "f:1:26: enabled must be true or false, not \"no\"; write false\nf:1:54: unknown connector \"stdoi\"; " +
		"did you mean stdio? sinks: mq, stdio; for several: all, route, any, share\n" +
		"f:1:75: description must be a text, not a list"
	if got := mistakes(t, "pipelines: {a: {enabled: no, from: stdio, to:        stdoi, description:  [a]}}"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
