package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge/config"
)

// canary is a secret that must not be in any error. It is also what the
// variable CANARY holds.
const canary = "hunter2canary"

func TestSecretsAreNotShown(t *testing.T) {
	for _, text := range []string{
		// a literal secret with a mistake in it or around it
		"from: {every: {secret: [%s]}}", "from: {every: {secret: {a: %s}}}", "from: {every: {secret: {%s}}}",
		"from: {every: {secret: *%s}}", "from: {every: {secret: &%s }}", "from: {every: {secret: !%s x}}",
		"from: {every: {secret: '${%s'}}", "from: {every: {secret: '${a %s}'}}", "from: {every: {secret: '${NOPE_%s'}}",
		"from: {every: {secret: '${A:-%s${B}}'}}", "from: {every: {secret: %s, secret: %s}}", "from: {every: {secret:%s}}",
		"from: {every: {secret: %s, int: x}}", "from: {every: {secret: \"\\q%s\"}}", "from: {every: {secret: @%s}}",
		"from: {every: {secret: %s: x}}", "from: {every: {secret: \"%s}}", "from: {every: {scret: %s}}",
		"from: {mq: {password: %s}}", "from: {mq: {password: %s, topics: {}}}",
		"from: {mq: {connection: c, password: {}, topics: a}}",
		// in the user, password or query of an address
		"from: {every: {url: 'u:%s@h'}}", "from: {every: {url: 'a://u:%s@h:port'}}", "from: {every: {url: ['a://u:%s@h']}}",
		"from: {every: {url: 'a://[%s'}}", "from: {every: {urls: ['u:%s@h', 'x?token=%s']}}", "from: {every: {url: '%%%s'}}",
		"from: {mq: 'a://u:%s@h'}", "from: 'a://u:%s@h'", "from: [[a://u:%s@h]]", "from: {a://u:%s@h: x}",
		"from: {mq: {connection: 'a://u:%s@h', topics: t}}", "from: {mq: {url:%s}}", "a://u:%s@h",
		// from the environment, into whatever has the wrong type then
		"from: {every: {int: '${CANARY}'}}", "from: {every: {flag: '${CANARY}'}}", "from: {every: {float: '${CANARY}'}}",
		"from: {every: {duration: '${CANARY}'}}", "from: {every: {size: '${CANARY}'}}", "from: {every: {url: '${CANARY}'}}",
		"from: {every: {tiny: '1${CANARY}'}}", "from: {mq: {session: '${CANARY}', url: 'a://b', topics: a}}",
		"from: {every: {list: [{storage: '${CANARY}', subjects: x}]}}", "from: {every: {condition: '${CANARY}'}}",
		"from: {every: {condition: 'topic == ${CANARY}'}}", "from: {every: {template: '{{ ${CANARY} }}'}}",
		"from: {every: {template: '${CANARY} {{ ${CANARY}(topic) }}'}}", "from: {every: {template: '{{ topic.${CANARY} }}'}}",
	} {
		for _, layout := range []string{
			"pipelines: {a: {to: stdio, %s}}", "pipelines:\n  a:\n    to: stdio\n    %s\n",
			"connections: {c: {mq: {password: %[2]s, url: 'x:%[2]s'}}}\npipelines: {a: {to: stdio, %[1]s}}",
		} {
			text := fmt.Sprintf(layout, strings.ReplaceAll(strings.ReplaceAll(text, "%s", canary), "%%", "%"), canary)
			text, _, _ = strings.Cut(text, "%!(EXTRA")
			_, err := loader(new(opened)).Parse("f", []byte(text))
			if err == nil {
				t.Errorf("%s\nis accepted, so it tests nothing", text)
				continue
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%s\nshows the secret: %v", text, err)
			}
		}
	}
}

func TestInlineSecretsAreNotShown(t *testing.T) {
	for _, from := range []string{
		"mq,password=%s", "mq,password=%s,url=%s", "every,int=${CANARY}", "every,secret,%s", "every,secret=a,b%s c",
		"every,secret:%s", "a://u:%s@h", "every,secret=a,secret=%s", "every,secret.a=%s", "every,secret=%s,secret.a=x", "=%s",
	} {
		_, err := loader(new(opened)).Inline(strings.ReplaceAll(from, "%s", canary), "stdio")
		if err == nil {
			t.Errorf("%s is accepted, so it tests nothing", from)
			continue
		}
		for _, e := range err.(config.Errors) {
			if strings.Contains(e.Error(), canary) {
				t.Errorf("%s shows the secret: %v", from, e)
			}
		}
	}
}
