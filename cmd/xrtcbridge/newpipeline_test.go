package main

import (
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// The file of every source, step and sink is one that check accepts, with each of their settings.
func TestNewPipelineIsAccepted(t *testing.T) {
	registry := builtin()
	if err := registry.Add(counting()); err != nil {
		t.Fatal(err)
	}
	l := config.Loader{Registry: registry, Getenv: func(string) (string, bool) { return "", false }}
	var sources, steps, sinks []string
	shows := make(map[string][]config.Key)
	for _, name := range registry.Names() {
		c, _ := registry.Lookup(name)
		if c.Source != nil {
			sources = append(sources, name)
			shows["from "+name] = config.Keys(c.Source.Settings())
		}
		if c.Step != nil {
			steps = append(steps, name)
		}
		if c.Sink != nil {
			sinks = append(sinks, name)
			shows["to "+name] = config.Keys(c.Sink.Settings())
		}
	}
	for _, from := range sources {
		for _, to := range sinks {
			text, err := l.NewFile(from, nil, to)
			if err != nil {
				t.Errorf("%s to %s: %v\n%s", from, to, err, text)
			}
			if _, err := l.Parse("new.yaml", text); err != nil {
				t.Errorf("%s to %s: %v", from, to, err)
			}
			for _, k := range append(shows["from "+from], shows["to "+to]...) {
				name, _, _ := strings.Cut(k.Name, ".")
				if !strings.Contains(string(text), " "+name+": ") {
					t.Errorf("%s to %s: there is nothing of %s", from, to, name)
				}
			}
		}
	}
	for _, step := range steps {
		text, err := l.NewFile("stdio", []string{step, "dedupe"}, "stdio")
		if err != nil {
			t.Errorf("%s: %v\n%s", step, err, text)
		}
	}
}
