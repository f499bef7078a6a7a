package nats_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/expr"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// A message that several subjects match comes once.
func TestOverlappingSubjects(t *testing.T) {
	for name, c := range map[string]struct {
		subjects []string
		notes    int
	}{
		"covered":           {[]string{"a.b.c", "a.>", "a.*.c"}, 1},
		"equal":             {[]string{"a.b.c", "a.b.c"}, 1},
		"neither covers":    {[]string{"a.*.c", "*.b.c", "a.b.*"}, 0},
		"one apart":         {[]string{"a.b.c", "x.>"}, 0},
		"covered by a part": {[]string{">", "a.b.c", "*.b.>"}, 1},
	} {
		for _, queue := range []string{"", "q"} {
			t.Run(name+queue, func(t *testing.T) {
				s := natstest.Start(t, nil)
				nc := client(t, s).Conn()
				var dropped int
				settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subjects, s.Queue = c.subjects, queue })
				source := openSource(t, settings, counted(t, &dropped))
				const total = 100
				publishN(t, nc, "a.b.c", 0, total)
				batch, _ := readN(t, source, total)
				publishN(t, nc, "a.b.c", total, total+1) // would be behind a copy
				more, _ := readN(t, source, 1)
				seen := map[string]bool{}
				for _, m := range append(batch, more...) {
					seen[string(m.Payload)] = true
				}
				if len(seen) != total+1 || len(batch) != total || len(more) != 1 {
					t.Errorf("%d messages came, %d of them different, want %d once each", len(batch)+len(more),
						len(seen), total+1)
				}
				if err := source.Close(); err != nil || dropped != 0 {
					t.Errorf("%d are counted as dropped, err = %v", dropped, err)
				}
				if got := settings.Describe().Notes; len(got) != c.notes {
					t.Errorf("check says %q", got)
				}
			})
		}
	}
}

func TestOverlappingFilters(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}})
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Filter = "S", []string{"a.b", "a.>", "a.*"}
	})
	if got := settings.Describe().Notes; len(got) != 1 || !strings.Contains(got[0], `"a.b" "a.*"`) {
		t.Errorf("check says %q", got)
	}
	storeN(t, js, "a.b", 0, 3)
	readN(t, openSource(t, settings, counted(t, new(int))), 3)
}

// sinkYAML returns settings as a file has them.
func sinkYAML(t *testing.T, s *server.Server, text string) *nats.SinkSettings {
	t.Helper()
	settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
	fromYAML(t, s, text, settings)
	return settings
}

func sourceYAML(t *testing.T, s *server.Server, text string) *nats.SourceSettings {
	t.Helper()
	settings := nats.Connector().Source.Settings().(*nats.SourceSettings)
	fromYAML(t, s, text, settings)
	return settings
}

func fromYAML(t *testing.T, s *server.Server, text string, settings any) {
	t.Helper()
	if err := decodeYAML(t, s.ClientURL(), text, settings); err != nil {
		t.Fatal(err)
	}
}

func decodeYAML(t *testing.T, server, text string, settings any) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "settings.yaml")
	text = fmt.Sprintf("url: %q\n%s\n", server, text)
	if url, flow, is := strings.Cut(text, "\n{"); is {
		text = "{" + url + ", " + flow
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (config.Loader{}).Decode(file, settings)
}

// A message does not choose one of the server's own subjects, and the text of a template may.
func TestSubjectsOfTheServer(t *testing.T) {
	s := natstest.Start(t, nil)
	for text, allowed := range map[string]bool{
		"$KV.DST.{{ topic }}":         true,
		"$KV.{{ topic }}":             true,
		"$O.{{ topic }}.C.1":          true,
		"{{ '$KV.DST.' + topic }}":    false,
		"{{ '$' }}KV.DST.{{ topic }}": false,
		"${{ 'KV.DST.' + topic }}":    false,
		"hub.API.{{ topic }}":         true,
		"{{ 'hub.API.' + topic }}":    false,
		"hub.{{ 'API.' + topic }}":    false,
		"hub.{{ 'APIs.' + topic }}":   true,
	} {
		sink := openSink(t, sinkYAML(t, s, fmt.Sprintf("subject: %q\napi_prefix: hub.API\nreplies: true", text)))
		batch := bridge.Batch{{ID: "1", Topic: "key"}}
		if allowed {
			deliverAll(t, sink, batch)
		} else {
			refuses(t, sink, batch, 0, "own subjects", "begin the template")
		}
	}
}

func TestHeadersOfSettings(t *testing.T) {
	template := func(text string) bridge.Template {
		compiled, err := expr.Template(text)
		if err != nil {
			t.Fatal(err)
		}
		return compiled
	}
	for _, stream := range []bool{false, true} {
		s := natstest.Start(t, nil)
		js := client(t, s)
		createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, AllowMsgTTL: true})
		arrived := make(chan *natsgo.Msg, 10)
		if _, err := js.Conn().ChanSubscribe("a", arrived); err != nil {
			t.Fatal(err)
		}
		if err := js.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
		sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
			s.JetStream = stream
			s.Headers = map[string]bridge.Template{
				"Unit": template("{{ header.unit ?? '' }}"), "Nats-TTL": template("1h"), "Line": template("{{ json.a }}"),
			}
		}))
		refuses(t, sink, bridge.Batch{
			{ID: "1", Payload: []byte(`{"a":"1\n2"}`), Header: map[string]string{"unit": "C"}},
			{ID: "2", Payload: []byte(`{"a":3}`)},
			{ID: "3", Payload: []byte(`none`)},
		}, 2, "render header Line")
		for _, want := range []map[string]string{
			{"Unit": "C", "Line": "1%0A2", "Nats-TTL": "1h"},
			{"Unit": "", "Line": "3", "Nats-TTL": "1h"},
		} {
			m := <-arrived
			for name, value := range want {
				if got := m.Header.Get(name); got != value {
					t.Errorf("jetstream=%t: header %s is %q, want %q", stream, name, got, value)
				}
			}
		}
	}
	for _, name := range []string{"", "a b", "Nats-Msg-Id", "nats-expected-stream"} {
		settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
		settings.URL, settings.Subject, settings.Headers = url(t,
			"nats://127.0.0.1"), bridge.Text("a"), map[string]bridge.Template{name: bridge.Text("x")}
		if settings.Validate() == nil {
			t.Errorf("the header %q is accepted", name)
		}
	}
}

// The subject on which a publisher waits is in a header, so that a sink can answer.
func TestReplySubject(t *testing.T) {
	s := natstest.Start(t, nil)
	nc := client(t, s).Conn()
	source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject = "ask" }), counted(t, new(int)))
	answer := make(chan *natsgo.Msg, 1)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, answer); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("ask", inbox, []byte("what?")); err != nil {
		t.Fatal(err)
	}
	batch, _ := readN(t, source, 1)
	deliverAll(t, openSink(t, sinkYAML(t, s, "subject: \"{{ header.reply }}\"\nreplies: true")), batch)
	if m := <-answer; string(m.Data) != "what?" {
		t.Errorf("the answer is %q", m.Data)
	}
	refuses(t, openSink(t, sinkYAML(t, s, `subject: "{{ header.reply }}"`)), batch, 0, "replies: true")
	batch[0].Header["reply"] = "$JS.API.STREAM.DELETE.X"
	refuses(t, openSink(t, sinkYAML(t, s, "subject: \"{{ header.reply }}\"\nreplies: true")), batch, 0, "own subjects")
}

// JetStream behind another name: of a domain, or of another account.
func TestDomain(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.JetStreamDomain = "hub" })
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	for _, set := range []func(*nats.Client){
		func(c *nats.Client) { c.Domain = "hub" }, func(c *nats.Client) { c.APIPrefix = "$JS.hub.API" },
		func(c *nats.Client) { c.APIPrefix = "$JS.hub.API." },
	} {
		storeN(t, js, "a", 0, 5)
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream = "S"; set(&s.Client) })
		source := openSource(t, settings, counted(t, new(int)))
		_, acks := readN(t, source, 5)
		settle(t, acks, nil)
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := nats.Connector().Source.Open(t.Context(), sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Domain = "S", "moon"
	}), counted(t, new(int)))
	if err == nil || !strings.Contains(err.Error(), `domain "moon"`) {
		t.Errorf("err = %v, want one that names the domain", err)
	}
}
