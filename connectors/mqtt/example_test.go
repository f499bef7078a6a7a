package mqtt_test

import (
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/connectors/discard"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
	"github.com/xrtcbridge/xrtcbridge/connectors/stdio"
)

func load(text string) (*config.Config, error) {
	l := config.Loader{Registry: bridge.NewRegistry(mqtt.Connector(), discard.Connector(), stdio.Connector())}
	return l.Parse("example.yaml", []byte(text))
}

func TestExampleLoads(t *testing.T) {
	example := mqtt.Connector().Example
	if _, err := load(example); err != nil {
		t.Fatal(err)
	}
	for _, settings := range []any{mqtt.Connector().Source.Settings(), mqtt.Connector().Sink.Settings()} {
		for _, k := range config.Keys(settings) {
			name := strings.TrimSuffix(k.Name, ".NAME")
			name = name[strings.LastIndexByte(name, '.')+1:]
			if !strings.Contains(example, name+":") {
				t.Errorf("the example does not show %s", k.Name)
			}
		}
	}
	// The lines in comments must be right too.
	tls := strings.NewReplacer("# tls:", "tls:", "#   ", "  ").Replace(example)
	if _, err := load(tls); err == nil || !strings.Contains(err.Error(), "ca: stat ca.pem") {
		t.Errorf("with the tls keys: %v, want that the file is missing", err)
	}
}

func TestMistakesAreFoundByCheck(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{
			`from: {mqtt: {url: "mqtts://h", topics: a, tls: {ca: not-there.pem}}}, to: {discard: {}}`,
			"ca: stat not-there.pem",
		},
		{
			`from: {mqtt: {url: "mqtts://h", topics: a, tls: {cert: no.pem, key: no.key}}}, to: {discard: {}}`,
			"cert: stat no.pem",
		},
		{`from: {mqtt: {url: "mqtt://h", topics: "a#"}}, to: {discard: {}}`, `"a#"`},
		{`from: {mqtt: {url: "mqtt://h", topics: a, qos: 7}}, to: {discard: {}}`, "qos"},
		{`from: {mqtt: {url: "mqtt://h", topics: a, session: dirty}}, to: {discard: {}}`, "session"},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, qos: -1}}`, "qos"},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, max_inflight: 0}}`, "max_inflight"},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, max_inflight: 65535}}`, "max_inflight"},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, will: {topic: w, qos: 3}}}`, "qos"},
		{
			`from: {mqtt: {url: "mqtt://h", topics: a, birth: {payload: up}}}, to: {discard: {}}`,
			"example.yaml:1:66: the key birth.topic is missing",
		},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, will: {topic: w, retain: maybe}}}`, "will.retain"},
		{`from: {mqtt: {url: "mqtt://h", topics: a, protocol: 4}}, to: {discard: {}}`, "protocol"},
		{
			`from: {mqtt: {url: "mqtt://h", topics: a, protocol: 3.1.1, retained: none}}, to: {discard: {}}`,
			"retained: is of MQTT 5 only",
		},
		{
			`from: {mqtt: {url: "mqtt://h", topics: a, protocol: 3.1.1, retain_as_published: true}}, to: {discard: {}}`,
			"retain_as_published: is of MQTT 5 only",
		},
		{
			`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, protocol: 3.1.1, will: {topic: w, delay: 1s}}}`,
			"will.delay: is of MQTT 5 only",
		},
		{
			`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, will: {topic: w, header: {mqtt_expiry: x}}}}`,
			"will.header",
		},
		{
			`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: a, protocol: 5, session_expiry: 2h}}`,
			"session_expiry",
		},
		{
			`from: {mqtt: {url: "mqtt://h", topics: a, protocol: 5, session_expiry: 0s}}, to: {discard: {}}`,
			"session_expiry",
		},
		{`from: {mqtt: {url: "mqtt://h", topics: a, bridge: b, max_inflight: 7}}, to: {discard: {}}`, "max_inflight"},
		{
			`from: {mqtt: {url: "mqtt://h", topics: $share/g/a, bridge: b}}, to: {discard: {}}`,
			"$share cannot be in a bridge",
		},
		{`from: {mqtt: {url: "mqtt://h", topics: []}}, to: {discard: {}}`, "topics"},
		{`from: {mqtt: {topics: a}}, to: {discard: {}}`, "url"},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://h", topic: "a/+"}}`, `"a/+"`},
		{`from: {stdio: {}}, to: {mqtt: {url: "mqtt://u:secret@h/x", topic: a}}`, "path"},
		{
			`from: {mqtt: {url: "mqtt://h", topics: a, client_id: x}}, to: {mqtt: {url: "mqtt://h", topic: b, client_id: x}}`,
			"client_id x at h",
		},
	} {
		_, err := load("pipelines: {a: {" + c.text + "}}")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s\ngot %v, want an error with %s", c.text, err, c.want)
		}
	}
}
