package bridge_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func TestTopicAndSubject(t *testing.T) {
	for topic, subject := range map[string]string{
		"sensors/kitchen/temp": "sensors.kitchen.temp",
		"sensors/+/temp":       "sensors.*.temp",
		"sensors/#":            "sensors.>",
		"#":                    ">",
		"v1.2/a*b/>":           "v1/2.a+b.#",
		"a/*":                  "a.+",
		"room 1/wärme":         "room%201.wärme",
		"\t/\n/\f/\r":          "%09.%0A.%0C.%0D",
		"/a":                   "%00.a",
		"a/":                   "a.%00",
		"a//b":                 "a.%00.b",
		"/":                    "%00.%00",
		"":                     "%00",
		"$SYS/broker":          "%24SYS.broker",
		"$":                    "%24",
		"a/$SYS":               "a.$SYS",
		"%24SYS":               "%2524SYS",
		"%2524SYS":             "%252524SYS",
		"a%24":                 "a%24",
		"/%24":                 "%00.%24",
		"%00":                  "%2500",
		"a/%2500/b":            "a.%252500.b",
		"a%00/%00b":            "a%00.%00b",
		"100%":                 "100%",
		"100%/%2":              "100%.%2",
		"%20":                  "%2520",
		"%2520":                "%252520",
		"%25%20":               "%25%2520",
		"%25 25":               "%25%2025",
		"%0a":                  "%0a",
		"%41":                  "%41",
	} {
		if got := bridge.SubjectFromTopic(topic); got != subject {
			t.Errorf("SubjectFromTopic(%q) = %q, want %q", topic, got, subject)
		}
		if got := bridge.TopicFromSubject(subject); got != topic {
			t.Errorf("TopicFromSubject(%q) = %q, want %q", subject, got, topic)
		}
	}
}

func TestServerSubjectComesBackEscaped(t *testing.T) {
	topic := bridge.TopicFromSubject("$SYS.ping")
	if topic != "$SYS/ping" {
		t.Errorf("topic = %q, want $SYS/ping", topic)
	}
	if got := bridge.SubjectFromTopic(topic); got != "%24SYS.ping" {
		t.Errorf("subject = %q, want %%24SYS.ping", got)
	}
}

func FuzzTopicRoundTrip(f *testing.F) {
	for _, s := range []string{"a/b", "", "$SYS", "%2500/ ", "/%24", "%%25%2520", "a.b/*>", "+/#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if !utf8.ValidString(topic) || strings.Contains(topic, "\x00") {
			return // no MQTT topic
		}
		subject := bridge.SubjectFromTopic(topic)
		if got := bridge.TopicFromSubject(subject); got != topic {
			t.Errorf("%q became %q, which became %q", topic, subject, got)
		}
		if strings.HasPrefix(subject, "$") {
			t.Errorf("%q became the server's own %q", topic, subject)
		}
		if strings.ContainsAny(topic, "+#") {
			return
		}
		if !server.IsValidSubject(subject) || !server.IsValidLiteralSubject(subject) {
			t.Errorf("%q became %q, which cannot be published to", topic, subject)
		}
	})
}

func FuzzSubjectRoundTrip(f *testing.F) {
	for _, s := range []string{"a.b", "a/b.+", "%00.%20", "%2524x", "x%2500", "*.>", "%25%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		if !server.IsValidSubject(subject) || strings.HasPrefix(subject, "$") {
			return // no subject, or the server's own
		}
		topic := bridge.TopicFromSubject(subject)
		if got := bridge.SubjectFromTopic(topic); got != subject {
			t.Errorf("%q became %q, which became %q", subject, topic, got)
		}
	})
}

func BenchmarkSubjectFromTopic(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		bridge.SubjectFromTopic("factory/hall-3/sensor-17/temperature")
	}
}
