package config_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is what source and sink of the fake connector mq share.
type client struct {
	URL       bridge.URL    `yaml:"url,required"`
	ClientID  string        `yaml:"client_id,own"`
	Password  bridge.Secret `yaml:"password"`
	TLS       bridge.TLS    `yaml:"tls"`
	Keepalive time.Duration `yaml:"keepalive"`
}

type mqSource struct {
	client  `yaml:",inline"`
	Topics  []string `yaml:"topics,required"`
	QoS     uint8    `yaml:"qos"`
	Session string   `yaml:"session" enum:"persistent|clean"`
}

func (s *mqSource) Validate() error {
	if s.QoS > 2 {
		return &bridge.KeyError{Key: "qos", Err: errors.New("there is no such quality")}
	}
	return nil
}

func (s *mqSource) Describe() bridge.Description {
	if s.ClientID == "" {
		return bridge.Description{}
	}
	return bridge.Description{Exclusive: fmt.Sprintf("client_id %s at %s", s.ClientID, s.URL)}
}

type mqSink struct {
	client `yaml:",inline"`
	Topic  bridge.Template `yaml:"topic,required"`
	Retain bool            `yaml:"retain"`
	Rotate rotation        `yaml:"rotate"`
}

type rotation struct {
	Size bridge.Size   `yaml:"size,short"`
	Age  time.Duration `yaml:"age"`
	Keep int           `yaml:"keep"`
}

func (r rotation) Validate() error {
	var errs []error
	if r.Size < 0 {
		errs = append(errs, &bridge.KeyError{Key: "size", Err: errors.New("is negative")})
	}
	if r.Keep > 0 && r.Size == 0 {
		errs = append(errs, &bridge.KeyError{Key: "keep", Err: errors.New("means nothing without size")})
	}
	if r.Keep > 100 {
		errs = append(errs, &bridge.KeyError{Key: "keep", Err: errors.New("is too much")})
	}
	return errors.Join(errs...)
}

// every has fields of all types.
type every struct {
	Text      string              `yaml:"text"`
	Flag      bool                `yaml:"flag"`
	Int       int                 `yaml:"int"`
	Tiny      int8                `yaml:"tiny"`
	Unsigned  uint                `yaml:"unsigned"`
	Float     float64             `yaml:"float"`
	Duration  time.Duration       `yaml:"duration"`
	Size      bridge.Size         `yaml:"size"`
	Secret    bridge.Secret       `yaml:"secret"`
	URL       bridge.URL          `yaml:"url" doc:"every://host:1883, everys://host:8883"`
	Template  bridge.Template     `yaml:"template"`
	Condition bridge.Condition    `yaml:"condition"`
	Texts     []string            `yaml:"texts"`
	URLs      []bridge.URL        `yaml:"urls"`
	Header    map[string]string   `yaml:"header"`
	Streams   map[string]*stream  `yaml:"streams"`
	Rotate    *rotation           `yaml:"rotate"`
	Limit     *int                `yaml:"limit"`
	List      []stream            `yaml:"list"`
	Lists     map[string][]string `yaml:"lists"`
	Ignored   chan int            `yaml:"-"`
	hidden    int
}

func (e *every) OneRun() { e.hidden = 2 }

type stream struct {
	Subjects []string `yaml:"subjects,short,required"`
	Storage  string   `yaml:"storage" enum:"file|memory"`
}

type passSettings struct {
	When    bridge.Condition `yaml:"when,short,required"`
	OnError string           `yaml:"on_error" enum:"stop|drop"`
}

// opened collects what the fake connectors were opened with.
type opened struct{ settings []any }

func note[S, T any](o *opened) func(context.Context, *S, bridge.Env) (T, error) {
	return func(_ context.Context, s *S, _ bridge.Env) (T, error) {
		o.settings = append(o.settings, s)
		var none T
		return none, nil
	}
}

func everyDefaults() every {
	keep := 7
	return every{
		Text: "default", Texts: []string{"x", "y"}, Header: map[string]string{"k": "v"},
		Rotate: &rotation{Size: 5, Keep: 1}, Limit: &keep, hidden: 1,
	}
}

// loader returns a Loader with fake connectors and a fixed environment.
func loader(o *opened) config.Loader {
	env := map[string]string{
		"HOST": "broker", "PORT": "1883", "QOS": "1", "EMPTY": "", "INJECT": "x\n    to: {stdio: {}}", "LIMIT": "20",
		"QUOTE": `" || true || "`, "BRACES": "{{ topic }}", "CANARY": canary,
	}
	return config.Loader{
		Registry: bridge.NewRegistry(
			bridge.Connector{
				Name: "mq",
				Source: bridge.NewOpener(mqSource{client: client{Keepalive: 30 * time.Second}, QoS: 1},
					note[mqSource, bridge.Source](o)),
				Sink: bridge.NewOpener(mqSink{}, note[mqSink, bridge.Sink](o)),
			},
			bridge.Connector{Name: "every", Source: bridge.NewOpener(everyDefaults(), note[every, bridge.Source](o))},
			bridge.Connector{
				Name:   "stdio",
				Source: bridge.NewOpener(struct{}{}, note[struct{}, bridge.Source](o)),
				Sink:   bridge.NewOpener(struct{}{}, note[struct{}, bridge.Sink](o)),
			},
			bridge.Connector{
				Name: "pass",
				Step: bridge.NewOpener(passSettings{OnError: "stop"}, note[passSettings, bridge.Step](o)),
			},
		),
		Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}
}

// open loads text, which must be right, opens everything and returns the settings.
func open(t *testing.T, text string) []any {
	t.Helper()
	o := new(opened)
	c, err := loader(o).Parse("pipelines.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	openAll(t, c)
	return o.settings
}

func openAll(t *testing.T, c *config.Config) {
	t.Helper()
	for _, p := range c.Pipelines {
		for i, e := range p.From {
			if _, err := e.Open(t.Context(), bridge.Env{Instance: fmt.Sprintf("%s-from-%d", p.Name, i+1)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range p.Steps {
			if _, err := e.Open(t.Context(), bridge.Env{}); err != nil {
				t.Fatal(err)
			}
		}
		for name, b := range p.Sinks() {
			if _, err := b.Sink.Open(t.Context(), bridge.Env{Instance: name}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
