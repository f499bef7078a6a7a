package mqtt_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

func probe(t *testing.T, s bridge.Prober) (bridge.Probed, error) {
	t.Helper()
	return s.Probe(t.Context(), bridgetest.Env(t, "test-from"))
}

// What the broker says of a client is said of the place, with the mend.
func TestProbeSaysWhatTheBrokerRefuses(t *testing.T) {
	qos0 := standIn(t, func(p *peer) { p.welcome(); p.grant(0); p.next() })
	denied := standIn(t, func(p *peer) { p.welcome(); p.grant(1, 0x80); p.next() })
	nobody := "mqtt://" + bridgetest.FreeAddr(t)
	for _, test := range []struct{ name, address, want string }{
		{"nobody listens", nobody, "connect to " + nobody},
		{"lower QoS", qos0, `subscribe "a": the broker grants QoS 0 at most, not 1`},
		{"topic", denied, `subscribe "b": refused by the broker: check that it lets this client read the topic`},
	} {
		topics := []string{"a"}
		if test.name == "topic" {
			topics = []string{"a", "b"}
		}
		if _, err := probe(t, sourceSettings(t, test.address, 1, topics...)); err == nil ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	for _, b := range brokers {
		t.Run(b.name, func(t *testing.T) {
			s := sinkSettings(t, b.start(t), 1)
			p, err := probe(t, s)
			want := bridge.Probed{
				Tried:    []string{"logged in"},
				NotTried: []string{"publish to {{ topic }}: it would change something"},
			}
			if diff := cmp.Diff(want, p); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

func TestProbeWithAWrongPassword(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users") // a hash of nothing that anybody knows
	if err := os.WriteFile(users, []byte("ann:$7$101$AAAAAAAAAAAAAAAA$"+strings.Repeat("A", 86)+"==\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	broker := bridgetest.StartMosquitto(t, "allow_anonymous false", "password_file "+users)
	s := sourceSettings(t, broker.URL, 1, "a")
	s.Username, s.Password, s.ClientID = "ann", bridge.NewSecret("hunter2"), "own"
	_, err := probe(t, s)
	if err == nil || !strings.Contains(err.Error(), "check username, password and client_id") ||
		!strings.Contains(err.Error(), "that of the pipeline, own, may be in use") ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v", err)
	}
}

// A bridge that runs with the same settings keeps its connection, its session and its messages,
// shared ones too, and nobody sees a birth or a will.
func TestProbeDisturbsNobody(t *testing.T) {
	broker := bridgetest.StartMosquitto(t, "log_type all")
	publisher := client(t, broker.URL, nil)
	done(t, publisher.Publish("sensors/kept", 1, true, "retained"))
	notices := subscribe(t, broker.URL, "notices/#", 1)
	settings := func(topics ...string) *mqtt.SourceSettings {
		s := sourceSettings(t, broker.URL, 1, topics...)
		s.ClientID, s.Session = "bridge-"+topics[0][:1], "persistent"
		return s
	}
	running := openSource(t, settings("sensors/#"))
	read(t, running, 1) // what was retained
	group := openSource(t, settings("$share/group/jobs/#"))
	away := settings("away/#")
	closed(t, openSource(t, away).Close()) // its session waits
	send(t, publisher, 1, text("away/1", "waits"))

	for _, topics := range [][]string{{"sensors/#"}, {"$share/group/jobs/#"}, {"away/#"}} {
		s := settings(topics...)
		s.Birth, s.Will = &mqtt.Notice{Topic: "notices/birth"}, &mqtt.Will{Notice: mqtt.Notice{Topic: "notices/will"}}
		for range 3 {
			if _, err := probe(t, s); err != nil {
				t.Fatal(err)
			}
			send(t, publisher, 1, text("sensors/1", "x"), text("jobs/1", "y"))
			if got := read(t, running, 1); string(got[0].Payload) != "x" {
				t.Errorf("read %q", got[0].Payload)
			}
			if got := read(t, group, 1); string(got[0].Payload) != "y" {
				t.Errorf("read %q", got[0].Payload)
			}
		}
	}
	if got := read(t, openSource(t, away), 1); string(got[0].Payload) != "waits" {
		t.Errorf("the session that waited has %q", got[0].Payload)
	}
	done(t, publisher.Publish("notices/end", 1, false, "end"))
	if got := notices.wait(t, 1); got[0].Topic != "notices/end" {
		t.Errorf("%d notices: %v", len(got), got[0].Topic)
	}
	for line := range strings.Lines(broker.Log()) {
		if strings.Contains(line, "already connected") ||
			strings.Contains(line, "xrtcbridge-check") && strings.Contains(line, "$share") {
			t.Error(line)
		}
	}
}

// The group is not joined, for that would take messages, and that is said.
func TestProbeSaysWhatItDoesNotTry(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	s := sourceSettings(t, broker.URL, 1, "$share/group/jobs/#", "$exclusive/lock", "a")
	s.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "w"}}
	got, err := probe(t, s)
	want := bridge.Probed{
		Tried: []string{"logged in", `subscribed to ["jobs/#" "lock" "a"] with qos 1`},
		NotTried: []string{
			"publish birth and will",
			`subscribe to "$share/group/jobs/#": it would take messages from others; tried was "jobs/#"`,
			`subscribe to "$exclusive/lock": it would take messages from others; tried was "lock"`,
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// Of several brokers it is said which one was tried.
func TestProbeOfOneOfSeveralBrokers(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	s := sinkSettings(t, "mqtt://"+bridgetest.FreeAddr(t), 1)
	s.URL = append(s.URL, sinkSettings(t, broker.URL, 1).URL...)
	p, err := probe(t, s)
	if err != nil || p.Tried[0] != "logged in at "+broker.URL+", one of 2 addresses" {
		t.Errorf("%v %q", err, p)
	}
}

// A broker may let in and grant topics by client id, and say of others nothing but good-bye.
func TestProbeSaysThatTheClientWasAnother(t *testing.T) {
	for name, address := range map[string]string{
		"client": standIn(t, func(p *peer) { p.next() }),
		"topic":  standIn(t, func(p *peer) { p.welcome(); p.grant(0x80); p.next() }),
		"gone":   standIn(t, func(p *peer) { p.welcome(); p.next() }),
	} {
		s := sourceSettings(t, address, 1, "a")
		s.ClientID = "own"
		if _, err := probe(t, s); err == nil || !strings.Contains(err.Error(), "that of the pipeline, own, may be in use") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
