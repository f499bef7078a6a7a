package config_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// What a reload takes for a change: each row is one of a file, of the environment or of another
// file, with the parts of the pipeline p that it changes.
func TestFingerprints(t *testing.T) {
	const before = `
x-common: &common {keepalive: 10s}
drain_timeout: 5s
connections:
  broker: {mq: {url: mq://one, password: "${file:secret}", tls: {ca: ca.pem}}}
  other: {mq: {url: mq://other}}
pipelines:
  p:
    description: moves
    from: {mq: {connection: broker, topics: ["${TOPIC}", "${S}"], <<: *common}}
    to: {mq: {url: mq://two, topic: "a/{{ topic }}"}}
    max_batch: 7
`
	server := httptest.NewTLSServer(nil)
	server.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	files := map[string]string{"secret": "hunter22", "ca.pem": certificate, "p.yaml": before}
	env := map[string]string{"TOPIC": "room/#", "S": "x"}
	load := func(t *testing.T, files, env map[string]string) config.Fingerprints {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Chdir(dir)
		l := loader(new(opened))
		l.Getenv = func(name string) (string, bool) {
			value, set := env[name]
			return value, set
		}
		c, err := l.Load("p.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return c.Fingerprints["p"]
	}
	was := load(t, files, env)
	for _, c := range []struct {
		name, file, from, to string
		env                  map[string]string
		want                 []string
	}{
		{name: "nothing"},
		{name: "comment and description", from: "description: moves", to: "description: moves more # as said"},
		{name: "enabled", from: "max_batch: 7", to: "max_batch: 7\n    enabled: true"},
		{
			name: "another pipeline", from: "pipelines:",
			to: "pipelines:\n  q: {from: {mq: {connection: other, topics: x}}, to: {mq: {url: mq://x, topic: y}}}",
		},
		{name: "a connection that it does not use", from: "mq://other", to: "mq://another"},
		{name: "a setting", from: "mq://two", to: "mq://three", want: []string{"to"}},
		{name: "a key", from: "max_batch: 7", to: "max_batch: 8", want: []string{"max_batch"}},
		{name: "a key that goes", from: "max_batch: 7", to: "", want: []string{"max_batch"}},
		{name: "an anchor", from: "keepalive: 10s", to: "keepalive: 11s", want: []string{"from"}},
		{name: "its connection", from: "mq://one", to: "mq://uno", want: []string{"connections.broker"}},
		{name: "the drain timeout", from: "5s", to: "6s", want: []string{"drain_timeout"}},
		{name: "a variable", env: map[string]string{"TOPIC": "hall/#", "S": "x"}, want: []string{"from"}},
		{name: "a short variable", env: map[string]string{"TOPIC": "room/#", "S": "y"}, want: []string{"from"}},
		{name: "a secret in a file", file: "secret", from: "hunter22", to: "hunter23", want: []string{"connections.broker"}},
		{name: "a certificate", file: "ca.pem", from: "\n", to: " \n", want: []string{"from"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := make(map[string]string)
			for name, text := range files {
				changed[name] = text
				if name == c.file || c.file == "" && name == "p.yaml" {
					changed[name] = strings.Replace(text, c.from, c.to, 1)
				}
			}
			with := c.env
			if with == nil {
				with = env
			}
			if diff := cmp.Diff(c.want, was.Changed(load(t, changed, with))); diff != "" {
				t.Errorf("parts that changed (-want +got):\n%s", diff)
			}
		})
	}
}

// What was read is known, with what was in it, also of a file that has a mistake or is not there.
func TestRead(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"secret": "hunter22", "word": "x", "p.yaml": `
connections:
  broker: {mq: {url: mq://one, password: "${file:secret}", tls: {ca: ca.pem}}}
pipelines:
  p:
    from: {mq: {connection: broker, topics: "${cred:word}"}}
    to: {mq: {url: mq://two, topic: "${file:nowhere}"}}
    max_bach: 7
`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := loader(new(opened))
	l.Getenv = func(string) (string, bool) { return ".", true }
	c, err := l.Load("p.yaml")
	if err == nil {
		t.Fatal("there is no mistake")
	}
	now := func() map[string]string {
		all := make(map[string]string)
		for _, name := range []string{"ca.pem", "nowhere", "p.yaml", "secret", "word"} {
			all[name] = config.Content(name)
		}
		return all
	}
	if diff := cmp.Diff(now(), c.Read); diff != "" {
		t.Errorf("(-now +read):\n%s", diff)
	}
	for _, name := range []string{"nowhere", "secret"} {
		if err := os.WriteFile(name, []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
		if config.Content(name) == c.Read[name] {
			t.Errorf("%s has changed, and its content has not", name)
		}
	}
}
