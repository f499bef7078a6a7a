package nats_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

func probe(t *testing.T, s bridge.Prober) (bridge.Probed, error) {
	t.Helper()
	return s.Probe(t.Context(), bridgetest.Env(t, "test-from"))
}

// inventory is all that a server keeps: streams, consumers, and what these have delivered.
func inventory(t *testing.T, js jetstream.JetStream) (all []string) {
	t.Helper()
	streams := js.ListStreams(t.Context())
	for s := range streams.Info() {
		all = append(all, fmt.Sprintf("%+v %d", s.Config, s.State.Msgs))
		stream, err := js.Stream(t.Context(), s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			all = append(all, fmt.Sprintf("%s %+v %+v %+v %d %d", c.Name, c.Config, c.Delivered.Consumer, c.AckFloor.Consumer,
				c.NumAckPending, c.NumRedelivered))
		}
		if consumers.Err() != nil {
			t.Fatal(consumers.Err())
		}
	}
	if streams.Err() != nil {
		t.Fatal(streams.Err())
	}
	return all
}

// What is there, what is missing and what contradicts is said, and nothing changes by that.
func TestProbeLooksAndChangesNothing(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}})
	createStream(t, js, jetstream.StreamConfig{Name: "T", Subjects: []string{"t"}})
	for _, c := range []jetstream.ConsumerConfig{
		{Durable: "mine", AckPolicy: jetstream.AckExplicitPolicy},
		{Durable: "none", AckPolicy: jetstream.AckNonePolicy},
	} {
		if _, err := js.CreateConsumer(t.Context(), "S", c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), "a.1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	before := inventory(t, js)
	declared := map[string]nats.Stream{"NEW": {Subjects: []string{"n.>"}}}
	source := func(set func(*nats.SourceSettings)) bridge.Prober { return sourceSettings(t, s, set) }
	sink := func(set func(*nats.SinkSettings)) bridge.Prober { return sinkSettings(t, s, set) }
	for _, test := range []struct {
		name  string
		of    bridge.Prober
		tried string // a part of what was, or
		fails string // of the error
	}{
		{"core", source(func(s *nats.SourceSettings) { s.Subjects = []string{"a.*", "b"} }), `subscribed to ["a.*" "b"]`, ""},
		{
			"queue", source(func(s *nats.SourceSettings) { s.Subject, s.Queue = "q", "g" }),
			`not: join the queue group "g"`, "",
		},
		{
			"consumer", source(func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "mine" }),
			`consumer "mine" of stream "S" is there`, "",
		},
		{
			"no consumer yet", source(func(s *nats.SourceSettings) { s.Stream = "S" }),
			`not: consumer "test-from" of stream "S" is not there: run makes it`, "",
		},
		{
			"consumer of another kind", source(func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "none" }), "",
			"does not acknowledge explicitly: choose another durable",
		},
		{
			"filter", source(func(s *nats.SourceSettings) { s.Stream, s.Filter = "S", []string{"b"} }), "",
			`stream "S" takes a.>, and not b`,
		},
		{
			"no stream", source(func(s *nats.SourceSettings) { s.Stream = "MISSING" }), "",
			`stream "MISSING": nats: API error: code=404 err_code=10059 description=stream not found: create it, or declare it under streams`,
		},
		{
			"declared", source(func(s *nats.SourceSettings) { s.Stream, s.Streams = "NEW", declared }),
			`not: stream "NEW" is not there: run makes it`, "",
		},
		{
			"declared otherwise",
			sink(func(s *nats.SinkSettings) { s.Streams = map[string]nats.Stream{"T": {Subjects: []string{"u"}}} }),
			"", "streams.T: it is there and takes t, not \"u\"",
		},
		{"run would change", sink(func(s *nats.SinkSettings) {
			s.Streams = map[string]nats.Stream{"T": {Subjects: []string{"t"}, MaxAge: time.Hour}}
		}), `not: stream "T": run changes max_age from 0s to 1h0m0s`, ""},
		{
			"sink", sink(func(s *nats.SinkSettings) { s.Stream, s.Subject = "S", bridge.Text("a.b") }),
			`stream "S" is there`, "",
		},
		{
			"sink elsewhere", sink(func(s *nats.SinkSettings) { s.Stream, s.Subject = "S", bridge.Text("t") }), "",
			`stream "S" takes a.>, and not t`,
		},
		{
			"template", sink(func(s *nats.SinkSettings) { s.Stream, s.Subject = "S", topic{} }),
			`not: publish to {{ topic }}`, "",
		},
		{
			"any stream", sink(func(s *nats.SinkSettings) { s.JetStream, s.Subject = true, bridge.Text("t") }),
			`stream "T" takes it`, "",
		},
		{
			"no stream takes it", sink(func(s *nats.SinkSettings) { s.JetStream, s.Subject = true, bridge.Text("z") }),
			"", `find the stream that takes "z"`,
		},
		{"one that is declared will", sink(func(s *nats.SinkSettings) {
			s.JetStream, s.Subject, s.Streams = true, bridge.Text("n.1"), declared
		}), `not: stream "NEW"`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := probe(t, test.of)
			said := strings.Join(p.Tried, "\n") + "\nnot: " + strings.Join(p.NotTried, "\nnot: ")
			if (err != nil) != (test.fails != "") || !strings.Contains(fmt.Sprint(err), test.fails) ||
				!strings.Contains(said, test.tried) {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
	if diff := cmp.Diff(before, inventory(t, js)); diff != "" {
		t.Errorf("the server has changed: %s", diff)
	}
}

// A filter may be of subjects that the stream itself does not take.
func TestProbeOfStreamsThatHaveOtherSubjects(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "T", Subjects: []string{"t"}})
	createStream(t, js, jetstream.StreamConfig{
		Name: "GATHERS", Subjects: []string{"g"}, Sources: []*jetstream.StreamSource{{Name: "T"}},
	})
	createStream(t, js, jetstream.StreamConfig{
		Name: "RENAMES", Subjects: []string{"r"},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: "r", Destination: "new"},
	})
	for stream, filter := range map[string]string{"GATHERS": "t", "RENAMES": "new"} {
		of := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Filter = stream, []string{filter} })
		if _, err := probe(t, of); err != nil {
			t.Error(err)
		}
	}
}

func TestProbeWithoutJetStream(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.JetStream = false })
	if _, err := probe(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream = "S" })); err == nil ||
		!strings.Contains(err.Error(), "switch JetStream on at the server") {
		t.Errorf("error is %v", err)
	}
}

// Permissions are told as far as the server tells them.
func TestProbeOfPermissions(t *testing.T) {
	limited := &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: []string{"ok", "_INBOX.>"}},
		Publish:   &server.SubjectPermission{Deny: []string{"$JS.API.>"}},
	}
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: limited}}
	})
	login := func(s *nats.SourceSettings) { s.Username, s.Password = "u", bridge.NewSecret("p") }
	for _, test := range []struct {
		set   func(*nats.SourceSettings)
		fails string
	}{
		{func(s *nats.SourceSettings) { login(s); s.Subject = "ok" }, ""},
		{func(s *nats.SourceSettings) { login(s); s.Subject = "secret" }, "check what the server lets this user do"},
		{func(s *nats.SourceSettings) { login(s); s.Stream = "S" }, "check what the server lets this user do"},
		{func(s *nats.SourceSettings) { s.Subject = "ok" }, "check username and password, token, creds or nkey"},
	} {
		_, err := probe(t, sourceSettings(t, s, test.set))
		if (err != nil) != (test.fails != "") || !strings.Contains(fmt.Sprint(err), test.fails) {
			t.Errorf("error is %v, want %q", err, test.fails)
		}
	}
}

// Permissions that run has no need of are none that are missing.
func TestProbeOfPermissionsThatRunNeedsNot(t *testing.T) {
	least := &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: []string{"q g", "_INBOX.>"}},
		Publish:   &server.SubjectPermission{Allow: []string{"a"}},
	}
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: least}}
	})
	sink := func(set func(*nats.SinkSettings)) bridge.Prober {
		return sinkSettings(t, s, func(s *nats.SinkSettings) {
			s.Username, s.Password, s.Subject = "u", bridge.NewSecret("p"), bridge.Text("a")
			set(s)
		})
	}
	for name, test := range map[string]struct {
		of    bridge.Prober
		fails bool
		not   string // tried
	}{
		"any stream": {
			sink(func(s *nats.SinkSettings) { s.JetStream = true }), false,
			"look for the stream: run does without",
		},
		"a stream": {sink(func(s *nats.SinkSettings) { s.Stream = "S" }), false, "look for the stream: run does without"},
		"one that is declared": {sink(func(s *nats.SinkSettings) {
			s.Stream, s.Streams = "S", map[string]nats.Stream{"S": {Subjects: []string{"a"}}}
		}), true, ""},
		"queue": {sourceSettings(t, s, func(s *nats.SourceSettings) {
			s.Username, s.Password, s.Subject, s.Queue = "u", bridge.NewSecret("p"), "q", "g"
		}), false, "subscribe without the group: run does without"},
	} {
		p, err := probe(t, test.of)
		if (err != nil) != test.fails || !strings.Contains(strings.Join(p.NotTried, "\n"), test.not) {
			t.Errorf("%s: %v %q", name, err, p.NotTried)
		}
	}
}

// Of several servers it is said which one was tried.
func TestProbeOfOneOfSeveralServers(t *testing.T) {
	s := sinkSettings(t, natstest.Start(t, nil), func(*nats.SinkSettings) {})
	there := s.URL[0].String()
	s.URL = append(url(t, "nats://"+bridgetest.FreeAddr(t)), s.URL...)
	p, err := probe(t, s)
	if err != nil || p.Tried[0] != "logged in at "+there+", one of 2 addresses" {
		t.Errorf("%v %q", err, p)
	}
}

// A source that reads the same durable, and the others of a queue group, get all messages, though
// it is probed all the time.
func TestProbeBesideSourcesThatRun(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	stream := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "d" })
	queue := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject, s.Queue = "q", "g" })
	running := []bridge.Source{
		openSource(t, stream, bridgetest.Env(t, "test-from")),
		openSource(t, queue, bridgetest.Env(t, "test-from")),
	}
	ctx, stop := context.WithCancel(t.Context())
	probing := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			for _, s := range []bridge.Prober{stream, queue} {
				if _, err = s.Probe(t.Context(), bridgetest.Env(t, "test-from")); err != nil {
					break
				}
			}
		}
		probing <- err
	}()
	const n = 500
	for i := range n {
		for _, subject := range []string{"s", "q"} {
			if err := js.Conn().Publish(subject, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, source := range running {
		for at := 0; at < n; {
			batch, ack, err := source.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range batch {
				if string(m.Payload) != fmt.Sprint(at) {
					t.Fatalf("read %s, want %d", m.Payload, at)
				}
				at++
			}
			if err := ack(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	if err := <-probing; err != nil {
		t.Error(err)
	}
}

func TestProbeOfAServerThatIsNotThere(t *testing.T) {
	s := nats.Connector().Sink.Settings().(*nats.SinkSettings)
	s.URL, s.Subject, s.NKey = url(t, "nats://"+bridgetest.FreeAddr(t)), bridge.Text("a"), ""
	if _, err := probe(t, s); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error is %v", err)
	}
	s.NKey = filepath.Join(t.TempDir(), "none")
	if _, err := probe(t, s); err == nil {
		t.Error("a seed that is not there is no error")
	}
}
