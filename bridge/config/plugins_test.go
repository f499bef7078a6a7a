package config_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// late is a connector that is not there from the start, and whose opener is asked for mistakes.
func late(name string) bridge.Connector {
	return bridge.Connector{
		Name: name,
		Source: asked{bridge.NewOpener(lateSettings{},
			func(context.Context, *lateSettings, bridge.Env) (bridge.Source, error) {
				return nil, errors.New("not opened in this test")
			})}, Sink: bridge.NewOpener(lateSettings{}, func(context.Context, *lateSettings, bridge.Env) (bridge.Sink, error) {
			return nil, errors.New("not opened in this test")
		}),
	}
}

type lateSettings struct {
	Size int `yaml:"size"`
}

type asked struct{ bridge.Opener[bridge.Source] }

func (asked) Check(_ context.Context, settings any) error {
	if settings.(*lateSettings).Size == 13 {
		return errors.Join(&bridge.KeyError{Key: "size", Err: errors.New("brings bad luck")}, errors.New("and this, too"))
	}
	return nil
}

func TestConnectorsThatComeLater(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"plugins: {listed: 1}\npipelines: {p: {from: listed, to: found}}\n", ""},
		{
			"plugins: {listed: 1}\npipelines:\n  p:\n    from: {listed: {size: 13}}\n    to: found\n",
			"f.yaml:4:20: and this, too\nf.yaml:4:21: size: brings bad luck",
		},
		{
			"plugins: {listed: 1}\npipelines:\n  p:\n    from: {listed: {sise: 1}}\n    to: found\n",
			`f.yaml:4:21: unknown key "sise"; did you mean size`,
		},
		// What is missing because of another mistake is not reported.
		{"plugins: {bad: 1}\npipelines: {p: {from: listed, to: found}}\n", "f.yaml:1:11: plugins.bad: is no good"},
		{"plugins: [1]\npipelines: {p: {from: listed, to: found}}\n", "f.yaml:1:10: plugins must be a mapping, not a list"},
		{
			"pipelines:\n  p:\n    from: broken\n    to: broken\n",
			"f.yaml:3:11: cannot be started\nf.yaml:4:9: cannot be started",
		},
		{"pipelines:\n  p:\n    from: fuond\n    to: found\n", `f.yaml:3:11: unknown connector "fuond"; sources:`},
	} {
		registry := bridge.NewRegistry()
		var plugins map[string]int
		l := config.Loader{
			Registry: registry,
			Sections: map[string]any{"plugins": &plugins},
			Prepare: func() error {
				for name := range plugins {
					if name == "bad" {
						return &bridge.KeyError{Key: "plugins.bad", Err: errors.New("is no good")}
					}
					if err := registry.Add(late(name)); err != nil {
						return err
					}
				}
				return nil
			},
			Find: func(name string) error {
				switch name {
				case "found":
					return registry.Add(late(name))
				case "broken":
					return errors.New("cannot be started")
				}
				return nil
			},
		}
		_, err := l.Parse("f.yaml", []byte(c.text))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s got\n%s\nwant\n%s", c.text, got, c.want)
		}
	}
}
