package config_test

import (
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestConnections(t *testing.T) {
	got := open(t, `
connections:
  broker: {mq: {url: "tcp://u:p@h:1", client_id: br, keepalive: 5s, tls: {name: x, insecure: true}}}
  unused: {mq: {url: "tcp://h:1"}}
pipelines:
  a:
    from: [{mq: {connection: broker, topics: t}}, {mq: {connection: broker, topics: t, client_id: mine, tls: {name: y}}}]
    to: {mq: {connection: broker, topic: t, url: "tcp://other:1"}}
`)
	first, second, third := got[0].(*mqSource), got[1].(*mqSource), got[2].(*mqSink)
	for _, c := range []struct{ what, got, want string }{
		{"suffixed", first.ClientID, "br-a-from-1"},
		{"its own", second.ClientID, "mine"},
		{"of the sink", third.ClientID, "br-a-to"},
		{"url", first.URL.Host, "h:1"},
		{"overridden url", third.URL.Host, "other:1"},
		{"server name", first.TLS.Name, "x"},
		{"overridden server name", second.TLS.Name, "y"},
		{"keepalive", third.Keepalive.String(), "5s"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if !second.TLS.Insecure || first.QoS != 1 {
		t.Errorf("keys that are not overridden are lost: %+v, %+v", second.TLS, first)
	}
}

// A reopened instance must not find what the one before did to its settings.
func TestOpenGetsACopy(t *testing.T) {
	o := new(opened)
	c, err := loader(o).Parse("p", []byte("{connections: {b: {mq: {url: 'a://b', client_id: x}}}, "+
		"pipelines: {a: {from: {mq: {connection: b, topics: t}}, to: stdio}}}"))
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
	o.settings[0].(*mqSource).Topics = nil
	openAll(t, c)
	if s := o.settings[2].(*mqSource); s.ClientID != "x-a-from-1" || len(s.Topics) != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestConnectionErrors(t *testing.T) {
	const head = "connections:\n  b: {mq: {url: 'a://b'}}\npipelines: {a: {to: stdio, from: {"
	for _, c := range []struct{ name, text, want string }{
		{
			"unknown", head + "mq: {connection: bb, topics: t}}}}",
			`f:3:52: there is no connection "bb"; did you mean b? connections: b`,
		},
		{
			"misspelt", head + "mq: {conection: b, topics: t}}}}",
			`f:3:40: unknown key "conection"; did you mean connection? keys here: ` +
				"client_id, connection, keepalive, password, qos, session, tls, topics, url",
		},
		{"of another type", head + "every: {connection: b}}}}", `f:3:55: connection "b" is of type mq, not every`},
		{"no name", head + "mq: {connection: [b], topics: t}}}}", "f:3:52: connection must be a name, not a list"},
		{
			"still missing", head + "mq: {connection: b}}}}",
			"f:3:39: the key topics is missing; it must be a text or a list of texts",
		},
		{
			"not common", "connections:\n  b: {mq: {url: 'a://b', topics: x, topicz: y}}\n" +
				"pipelines: {a: {from: {mq: {connection: b}}, to: stdio}}",
			"f:2:26: the key topics cannot be part of a connection; write it in the pipeline; " +
				"a connection has: client_id, keepalive, password, tls, url\n" +
				`f:2:37: unknown key "topicz"; keys here: client_id, keepalive, password, tls, url`,
		},
		{
			"reported once", "connections:\n  b: {mq: {url: 'a', keepalive: 1}}\n" +
				"pipelines: {a: {from: {mq: {connection: b, topics: t}}, to: {mq: {connection: b, topic: t}}}}",
			"f:2:17: url: not a URL, which looks like scheme://host:port\n" +
				"f:2:33: keepalive must be a duration like 10s, not \"1\"; add a unit: ms, s, m, h, d or w",
		},
		{
			"unused but wrong", "connections:\n  b: {mqq: {}}\n  c: x\n  d: {pass: {}}\n  e: {mq: 1}\n  f:\n" +
				"pipelines: {a: {from: stdio, to: stdio}}",
			"f:2:7: unknown connector \"mqq\"; did you mean mq? connectors: every, mq, pass, stdio\n" +
				"f:3:6: unknown connector \"x\"; connectors: every, mq, pass, stdio\n" +
				"f:4:7: connector \"pass\" takes no connection\n" +
				"f:5:11: mq must be a mapping, not a number; a connection has: client_id, keepalive, password, tls, url\n" +
				"f:6:3: there is no connector here; write {CONNECTOR: {…}}",
		},
		{
			"no mapping", "connections: [b]\npipelines: {a: {from: stdio, to: stdio}}",
			"f:1:14: connections must be a mapping, not a list; write NAME: {CONNECTOR: {…}}",
		},
		{
			"key error in the connection", "connections:\n  b: {mq: {url: 'a://b', tls: {cert: x}}}\n" +
				"pipelines: {a: {from: {mq: {connection: b, topics: t}}, to: stdio}}",
			"f:2:32: cert: cert and key go together: set both or neither",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mistakes(t, c.text); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
			}
		})
	}
}

func TestP1ExclusiveSettings(t *testing.T) {
	text := `connections:
  b: {mq: {url: 'a://b', client_id: shared}}
pipelines:
  a: {from: {mq: {url: 'a://b', client_id: x, topics: t}}, to: stdio}
  b: {from: {mq: {url: 'a://b', client_id: x, topics: t}}, to: stdio}
  c: {from: {mq: {url: 'a://c', client_id: x, topics: t}}, to: stdio}
  d: {from: [{mq: {connection: b, topics: t}}, {mq: {connection: b, topics: t}}], to: stdio}
`
	if got, want := mistakes(t, text),
		"f:5:14: client_id x at a://b is in use already; it is used at f:4:14"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A step has the connections of the sources and sinks of its name, as far as it has their keys.
func TestConnectionOfAStep(t *testing.T) {
	type asks struct {
		URL string `yaml:"url,required"`
		Ask string `yaml:"ask,required"`
	}
	o := new(opened)
	l := loader(o)
	if err := l.Registry.Add(bridge.Connector{
		Name: "asked",
		Sink: bridge.NewOpener(mqSink{}, note[mqSink, bridge.Sink](o)),
		Step: bridge.NewOpener(asks{}, note[asks, bridge.Step](o)),
	}); err != nil {
		t.Fatal(err)
	}
	const head = "connections: {b: {asked: {url: 'a://b', keepalive: 5s}}}\npipelines: {a: {from: stdio, to: stdio, steps: ["
	c, err := l.Parse("p", []byte(head+"{asked: {connection: b, ask: x}}]}}"))
	if err != nil {
		t.Fatal(err)
	}
	openAll(t, c)
	var got asks
	for _, settings := range o.settings {
		if s, is := settings.(*asks); is {
			got = *s
		}
	}
	if want := (asks{"a://b", "x"}); got != want {
		t.Errorf("opened with %+v, want %+v", got, want)
	}
	if got, want := mistakes(t, "connections: {b: {mq: {url: 'a://b'}}}\n"+
		"pipelines: {a: {from: stdio, to: stdio, steps: [{pass: {connection: b, when: 'json.x'}}]}}"),
		`f:2:57: unknown key "connection"; keys here: on_error, when`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
