package config_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

func TestKeys(t *testing.T) {
	keep := 7
	got := config.Keys(&struct {
		client  `yaml:",inline"`
		Topic   bridge.Template    `yaml:"topic,required"`
		Mode    string             `yaml:"mode" enum:"a|b"`
		Rotate  *rotation          `yaml:"rotate"`
		Limit   *int               `yaml:"limit"`
		Streams map[string]*stream `yaml:"streams"`
		Header  map[string]string  `yaml:"header"`
		Texts   []string           `yaml:"texts"`
	}{Topic: bridge.Text("x"), Mode: "a", Rotate: &rotation{Size: 1 << 20}, Limit: &keep, Texts: []string{"one"}})
	want := []config.Key{
		{Name: "url", Type: "a URL", Required: true},
		{Name: "client_id", Type: "a text"},
		{Name: "password", Type: "a secret text"},
		{Name: "tls.ca", Type: "a text", Doc: "PEM file of certificates to trust instead of the system's"},
		{Name: "tls.cert", Type: "a text", Doc: "PEM file of the client certificate"},
		{Name: "tls.key", Type: "a text", Doc: "PEM file of its key"},
		{Name: "tls.name", Type: "a text", Doc: "server name to verify, if it is not the URL's host"},
		{Name: "tls.insecure", Type: "true or false", Doc: "accept any certificate: for trying out only"},
		{Name: "keepalive", Type: "a duration like 10s"},
		{Name: "topic", Type: "a text with {{ }}", Required: true, Default: "x"},
		{Name: "mode", Type: "a text", Default: "a", Enum: []string{"a", "b"}},
		{Name: "rotate.size", Type: "a size like 100MB", Default: "1MiB"},
		{Name: "rotate.age", Type: "a duration like 10s"},
		{Name: "rotate.keep", Type: "a whole number"},
		{Name: "limit", Type: "a whole number", Default: "7"},
		{Name: "streams.NAME.subjects", Type: "a text or a list of texts", Required: true},
		{Name: "streams.NAME.storage", Type: "a text", Enum: []string{"file", "memory"}},
		{Name: "header.NAME", Type: "a text"},
		{Name: "texts", Type: "a text or a list of texts", Default: "one"},
	}
	forFromKeys := cmpopts.IgnoreFields(config.Key{}, "Path", "Kind", "Short", "File", "Own", "Min", "Max")
	if diff := cmp.Diff(want, got, forFromKeys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMistakesOfConnectors(t *testing.T) {
	for _, c := range []struct {
		settings any
		want     string
	}{
		{&struct {
			C chan int `yaml:"c"`
		}{}, `field C: the type chan int is not supported`},
		{&struct{ NoTag int }{}, `field NoTag: an exported field with a yaml tag that names its key is wanted`},
		{&struct {
			A int `yaml:"a,requird"`
		}{}, `field A: unknown option "requird" in its yaml tag`},
		{&struct {
			A int `yaml:"a,own"`
		}{}, "field A: the option own is for texts"},
		{&struct {
			A int `yaml:"a"`
			B int `yaml:"a"`
		}{}, `has the key "a" twice`},
	} {
		l := config.Loader{Registry: bridge.NewRegistry(bridge.Connector{Name: "x", Source: faulty{c.settings}})}
		_, err := l.Parse("f", []byte("pipelines: {a: {from: x, to: x}}"))
		if err == nil || !strings.Contains(err.Error(), c.want+"; this is a mistake in the connector") {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// faulty is an opener whose settings nobody can decode.
type faulty struct{ settings any }

func (f faulty) Settings() any { return f.settings }

func (f faulty) Check(context.Context, any) error { return nil }

func (f faulty) Open(context.Context, any, bridge.Env) (bridge.Source, error) {
	return nil, errors.New("opened in spite of all")
}
