package mqtt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

func TestSourceSettings(t *testing.T) {
	for _, c := range []struct {
		want string // in the error; none if empty
		set  func(s *mqtt.SourceSettings)
	}{
		{"", func(*mqtt.SourceSettings) {}},
		{"", func(s *mqtt.SourceSettings) {
			s.Topics = []string{"#", "+", "/", "a/+/b/#", "$share/g/+/x", "$SYS/#", "a//b"}
		}},
		{"url: ", func(s *mqtt.SourceSettings) { s.URL = []bridge.URL{parse(t, "http://h")} }},
		{"url: ", func(s *mqtt.SourceSettings) { s.URL = []bridge.URL{parse(t, "mqtt://h/topic")} }},
		{"url: ", func(s *mqtt.SourceSettings) { s.URL = []bridge.URL{parse(t, "mqtt:///x")} }},
		{"", func(s *mqtt.SourceSettings) { s.URL = []bridge.URL{parse(t, "wss://h/mqtt?x=y")} }},
		{"username: ", func(s *mqtt.SourceSettings) { s.Password = bridge.NewSecret("x") }},
		{`topics: "a/#/b"`, func(s *mqtt.SourceSettings) { s.Topics = []string{"a/#/b"} }},
		{`topics: "a#"`, func(s *mqtt.SourceSettings) { s.Topics = []string{"a#"} }},
		{`topics: "a+/b"`, func(s *mqtt.SourceSettings) { s.Topics = []string{"a+/b"} }},
		{`topics: ""`, func(s *mqtt.SourceSettings) { s.Topics = []string{""} }},
		{`topics: "$share/g"`, func(s *mqtt.SourceSettings) { s.Topics = []string{"$share/g"} }},
		{`topics: "$share/+/a"`, func(s *mqtt.SourceSettings) { s.Topics = []string{"$share/+/a"} }},
		{`topics: "a" is there twice`, func(s *mqtt.SourceSettings) { s.Topics = []string{"a", "b", "a"} }},
		{"topics: there is none", func(s *mqtt.SourceSettings) { s.Topics = []string{} }},
		{"buffer: ", func(s *mqtt.SourceSettings) { s.Buffer = 0 }},
		{"keepalive: ", func(s *mqtt.SourceSettings) { s.Keepalive = time.Millisecond }},
		{"connect_timeout: ", func(s *mqtt.SourceSettings) { s.ConnectTimeout = 0 }},
		{"write_timeout: ", func(s *mqtt.SourceSettings) { s.WriteTimeout = -1 }},
		{"max_packet: ", func(s *mqtt.SourceSettings) { s.MaxPacket = 1 << 30 }},
		{"client_id: ", func(s *mqtt.SourceSettings) { s.ClientID = strings.Repeat("x", 1<<16) }},
	} {
		s := sourceSettings(t, "mqtt://127.0.0.1", 1, "t")
		c.set(s)
		check(t, s.Validate(), c.want)
	}
}

func TestSinkSettings(t *testing.T) {
	for _, c := range []struct {
		want string // in the error; none if empty
		set  func(s *mqtt.SinkSettings)
	}{
		{"", func(*mqtt.SinkSettings) {}},
		{"", func(s *mqtt.SinkSettings) { s.Topic = bridge.Text("a/b") }},
		{`topic: "a/#"`, func(s *mqtt.SinkSettings) { s.Topic = bridge.Text("a/#") }},
		{`topic: ""`, func(s *mqtt.SinkSettings) { s.Topic = bridge.Text("") }},
		{"", func(s *mqtt.SinkSettings) { s.QoS = 2 }},
		{"qos: must be 0 or 1 in a bridge", func(s *mqtt.SinkSettings) { s.QoS, s.Bridge = 2, "site" }},
		{"ack_timeout: ", func(s *mqtt.SinkSettings) { s.AckTimeout = 0 }},
		{"url: ", func(s *mqtt.SinkSettings) { s.URL = []bridge.URL{parse(t, "ftp://h")} }},
		{"url: ", func(s *mqtt.SinkSettings) { s.URL = []bridge.URL{parse(t, "mqtt://h"), parse(t, "ftp://h")} }},
		{"", func(s *mqtt.SinkSettings) { s.Retain = bridge.Text("false") }},
		{`retain: "header.x"`, func(s *mqtt.SinkSettings) { s.Retain = bridge.Text("header.x") }},
		{"", func(s *mqtt.SinkSettings) { s.Birth = &mqtt.Notice{Topic: "$things/x"} }},
		{`birth.topic: "a/#"`, func(s *mqtt.SinkSettings) { s.Birth = &mqtt.Notice{Topic: "a/#"} }},
		{"will.payload: ", func(s *mqtt.SinkSettings) {
			s.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "a", Payload: strings.Repeat("x", 1<<16)}}
		}},
	} {
		s := sinkSettings(t, "mqtt://127.0.0.1", 1)
		c.set(s)
		check(t, s.Validate(), c.want)
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
		t.Errorf("got %v, want %s…", err, want)
	}
}

func TestMaxUnacked(t *testing.T) {
	for qos, want := range []int{0, 20, 20} {
		if got := sourceSettings(t, "mqtt://127.0.0.1:1", qos, "t").Describe().MaxUnacked; got != want {
			t.Errorf("QoS %d: %d, want %d", qos, got, want)
		}
	}
}

// A run that no other one follows leaves no session behind, and takes that of no other, unless it
// is named.
func TestOneRun(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*mqtt.SourceSettings)
		session    string
		id, differ bool
	}{
		"as it is":       {func(*mqtt.SourceSettings) {}, "clean", true, true},
		"a name":         {func(s *mqtt.SourceSettings) { s.ClientID = "x" }, "", true, false},
		"a bridge":       {func(s *mqtt.SourceSettings) { s.Bridge = "x" }, "", false, false},
		"if it is asked": {func(s *mqtt.SourceSettings) { s.Session = "persistent" }, "persistent", false, false},
	} {
		a, b := sourceSettings(t, "mqtt://127.0.0.1:1", 1, "t"), sourceSettings(t, "mqtt://127.0.0.1:1", 1, "t")
		for _, s := range []*mqtt.SourceSettings{a, b} {
			c.change(s)
			s.OneRun()
		}
		if a.Session != c.session || (a.ClientID != "") != c.id || (a.ClientID != b.ClientID) != c.differ {
			t.Errorf("%s: session %q, client ids %q and %q", name, a.Session, a.ClientID, b.ClientID)
		}
	}
}

func TestExclusive(t *testing.T) {
	s := sinkSettings(t, "mqtt://127.0.0.1:1", 1)
	if got := s.Describe().Exclusive; got != "" {
		t.Errorf("without a client_id: %q", got)
	}
	s.ClientID = "x"
	source := sourceSettings(t, "mqtt://127.0.0.1:1", 1, "t")
	source.Bridge, source.ClientID = "site", "x"
	bridged := *s
	bridged.Bridge = "site"
	if a, b := source.Describe().Exclusive, bridged.Describe().Exclusive; a == b || a == "" || b == "" {
		t.Errorf("the ends of a bridge: %q and %q, want both, and different", a, b)
	}
	if got := s.Describe().Exclusive; !strings.Contains(got, "x") || !strings.Contains(got, "127.0.0.1:1") {
		t.Errorf("got %q", got)
	}
}
