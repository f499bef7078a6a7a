package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// quoting is a struct whose Validate says of its values what connectors say.
type quoting struct {
	Listen string          `yaml:"listen"`
	Host   bridge.URL      `yaml:"host"`
	List   []string        `yaml:"list"`
	Mode   string          `yaml:"mode" enum:"memory|disk"`
	On     bool            `yaml:"on"`
	Path   string          `yaml:"path,path"`
	Topic  bridge.Template `yaml:"topic"`
}

func (q *quoting) Validate() error {
	if q.Listen == "panic" {
		panic("with " + q.Path)
	}
	topic := ""
	if q.Topic != nil {
		topic, _ = q.Topic.Constant()
	}
	var errs []error
	for key, value := range map[string]string{
		"listen": q.Listen, "list": strings.Join(q.List,
			""), "path": q.Path, "topic": topic, "": q.Listen, "host": q.Host.String(),
	} {
		if value == "" {
			continue
		}
		for _, text := range []string{
			fmt.Sprintf("%q is none", value), fmt.Sprintf("%.20q is long", value), "address " + value + ": too many colons",
			fmt.Sprintf("%q", strings.ToUpper(value)), "cannot be " + value[len(value)/2:],
		} {
			if key == "" {
				errs = append(errs, errors.New(text))
				continue
			}
			errs = append(errs, bridge.KeyErrorf(key, "%s", text))
		}
	}
	return errors.Join(errs...)
}

// What stands behind ${…} is in no error: neither whole nor in part, whoever makes it.
func TestS36ErrorsShowWhatIsWritten(t *testing.T) {
	const secret = "root:$y$j9T$Abc.def:19700:0:99999:7:::\n\"daemon\":*:19700:\u00a0:\x1b[2J"
	file := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"listen: '%s'", "listen: '127.0.0.1:%s'", "list: ['%s']", "list: '%s'", "mode: '%s'", "on: '%s'",
		"path: '/%s'", "path: '%s'", "topic: '%s'",
		"topic: '{{ %s }}'", "host: 'tcp://%s'", "host: '%s'", "host: 'http://h/%s'", "listen: '%s'\nlist: ['%s']",
		"listen: panic\npath: '%s'",
	} {
		for _, ref := range []string{"${file:" + file + "}", "${cred:shadow}", "${SHADOW}", "${SHADOW:-x}"} {
			settings := filepath.Join(t.TempDir(), "settings.yaml")
			if err := os.WriteFile(settings, []byte(strings.ReplaceAll(text, "%s", ref)), 0o600); err != nil {
				t.Fatal(err)
			}
			l := config.Loader{Getenv: func(name string) (string, bool) {
				if name == "CREDENTIALS_DIRECTORY" {
					return filepath.Dir(file), true
				}
				return secret, name == "SHADOW"
			}}
			err := l.Decode(settings, new(quoting))
			if err == nil {
				t.Errorf("%s is accepted, so that it tests nothing", text)
				continue
			}
			for _, part := range []string{"j9T", "Abc.def", "19700", "daemon", "99999", "J9T", "ABC.DEF", "DAEMON"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%s shows %s of what was filled in:\n%v", text, part, err)
					break
				}
			}
			if !strings.Contains(err.Error(), "${") && !strings.Contains(err.Error(), "not a URL") {
				t.Errorf("%s does not show what is written:\n%v", text, err)
			}
		}
	}
}

// Errors without anything filled in say what connectors say.
func TestErrorsOfPlainValues(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(settings, []byte("listen: ${A}:b:c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := config.Loader{Getenv: func(string) (string, bool) { return "a", true }}
	if err := l.Decode(settings, new(quoting)); err == nil || !strings.Contains(err.Error(), `"a:b:c" is none`) {
		t.Errorf("got %v", err)
	}
}

// A secret does not stand on a command line, where every user of the machine can read it.
func TestS36SecretsOnACommandLine(t *testing.T) {
	for from, refused := range map[string]bool{
		"mq,url=a://h,topics=a,password=hunter2canary":          true,
		"mq,url=a://h,topics=a,password=x${CANARY}":             true,
		"mq,url=a://h,topics=a,password=${NOPE:-hunter2canary}": true,
		"mq,url=a://u:hunter2canary@h,topics=a":                 true,
		"mq,url=a://u:x${CANARY}@h,topics=a":                    true,
		"mq,url=a://h,topics=a,password=${CANARY}":              false,
		"mq,url=a://u:${CANARY}@h,topics=a":                     false,
		"mq,url=a://u@h,topics=a":                               false,
		"mq,url=a://h,topics=a,password=":                       false,
		"mq,url=a://h,topics=a,password=${NOPE:-}":              false,
	} {
		_, err := loader(new(opened)).Inline(from, "stdio")
		if refused != (err != nil && strings.Contains(err.Error(), "every user of this machine") &&
			strings.Contains(err.Error(), "${NAME}")) ||
			!refused && err != nil {
			t.Errorf("%s: %v, want it refused: %t", from, err, refused)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s shows the secret: %v", from, err)
		}
	}
}

// env in an expression is read by Getenv, and a variable that is not set is named in its place.
func TestExpressionsReadTheEnvironment(t *testing.T) {
	got := open(t, "pipelines: {p: {from: {every: {template: \"{{ env('HOST') + uuid() }}\"}}, to: stdio}}")
	if text, err := got[0].(*every).Template.Render(&bridge.Message{}); err != nil || len(text) != len("broker")+36 {
		t.Errorf("got %s, %v", text, err)
	}
	want := "f:1:50: the environment variable NOPE is not set"
	if got := mistakes(t, "pipelines: {p: {from: {every: {template: \"{{ env('NOPE') }}\"}}, to: stdio}}"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	o := new(opened)
	l := loader(o)
	l.World.UUID = func() string { return "u" }
	c, err := l.Parse("f", []byte("pipelines: {p: {from: {every: {template: \"{{ uuid() }}\"}}, to: stdio}}"))
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
	if text, err := o.settings[0].(*every).Template.Render(&bridge.Message{}); text != "u" || err != nil {
		t.Errorf("got %s, %v", text, err)
	}
}
