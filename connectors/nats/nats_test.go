package nats_test

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

func TestMain(m *testing.M) {
	plugintest.Main(nats.Connector())
	bridgetest.Parallel(4) // these wait for pings, or for a line that is slow
	goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
}

// client connects the test itself to a server.
func client(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	nc, err := natsgo.Connect(s.ClientURL(), natsgo.Timeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func createStream(t testing.TB, js jetstream.JetStream, c jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func url(t testing.TB, text string) []bridge.URL {
	t.Helper()
	u, err := bridge.ParseURL(text)
	if err != nil {
		t.Fatal(err)
	}
	return []bridge.URL{u}
}

func sourceSettings(t testing.TB, s *server.Server, set func(*nats.SourceSettings)) *nats.SourceSettings {
	t.Helper()
	settings := nats.Connector().Source.Settings().(*nats.SourceSettings)
	settings.URL = url(t, s.ClientURL())
	set(settings)
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	return settings
}

func sinkSettings(t testing.TB, s *server.Server, set func(*nats.SinkSettings)) *nats.SinkSettings {
	t.Helper()
	settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
	settings.URL = url(t, s.ClientURL())
	settings.Subject = bridge.Text("a")
	set(settings)
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	return settings
}

func openSource(t testing.TB, s *nats.SourceSettings, env bridge.Env) bridge.Source {
	t.Helper()
	source, err := nats.Connector().Source.Open(t.Context(), s, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	return source
}

func openSink(t testing.TB, s *nats.SinkSettings) bridge.Sink {
	t.Helper()
	return openSinkAt(t, "test-to", s)
}

// openSinkAt opens a sink at a place in a pipeline.
func openSinkAt(t testing.TB, instance string, s *nats.SinkSettings) bridge.Sink {
	t.Helper()
	sink, err := nats.Connector().Sink.Open(t.Context(), s, bridgetest.Env(t, instance))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

// topic renders the topic of a message, as "{{ topic }}" does.
type topic struct{}

func (topic) Render(m *bridge.Message) (string, error) { return m.Topic, nil }
func (topic) Constant() (string, bool)                 { return "", false }
func (topic) Prefix(topic string) string               { return topic }
func (topic) String() string                           { return "{{ topic }}" }

func toNATS(m bridge.Message) *natsgo.Msg {
	out := natsgo.NewMsg(m.Topic)
	out.Data = m.Payload
	for k, v := range m.Header {
		out.Header.Set(k, v)
	}
	return out
}

func fromNATS(subject string, data []byte, h natsgo.Header) bridge.Message {
	m := bridge.Message{Topic: subject, Payload: data, ID: h.Get(jetstream.MsgIDHeader), Header: map[string]string{}}
	for k := range h {
		m.Header[k] = h[k][0]
	}
	return m
}

func TestCoreSource(t *testing.T) { plugintest.Both(t, nats.Connector(), testCoreSource) }

func testCoreSource(t *testing.T, c bridge.Connector) {
	bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
		s := natstest.Start(t, nil)
		nc := client(t, s).Conn()
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject = bridgetest.Topic })
		return bridgetest.SourceTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				return c.Source.Open(ctx, settings, env)
			},
			Send: func(t *testing.T, messages ...bridge.Message) {
				for _, m := range messages {
					if err := nc.PublishMsg(toNATS(m)); err != nil {
						t.Fatal(err)
					}
				}
			},
			Features: bridgetest.Features{Headers: true, Topics: true, Binary: true},
		}
	})
}

func TestStreamSource(t *testing.T) { plugintest.Both(t, nats.Connector(), testStreamSource) }

func testStreamSource(t *testing.T, c bridge.Connector) {
	bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
		s := natstest.Start(t, nil)
		js := client(t, s)
		createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{bridgetest.Topic}})
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream = "S" })
		return bridgetest.SourceTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				return c.Source.Open(ctx, settings, env)
			},
			Send: func(t *testing.T, messages ...bridge.Message) {
				for _, m := range messages {
					if _, err := js.PublishMsg(t.Context(), toNATS(m)); err != nil {
						t.Fatal(err)
					}
				}
			},
			Features: bridgetest.Features{Redelivers: true, Nack: true, Headers: true, Topics: true, Binary: true, IDs: true},
		}
	})
}

func TestCoreSink(t *testing.T) { plugintest.Both(t, nats.Connector(), testCoreSink) }

func testCoreSink(t *testing.T, c bridge.Connector) {
	bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
		s := natstest.Start(t, nil)
		nc := client(t, s).Conn()
		var mu sync.Mutex
		var arrived []bridge.Message
		if _, err := nc.Subscribe(">", func(m *natsgo.Msg) {
			mu.Lock()
			defer mu.Unlock()
			arrived = append(arrived, fromNATS(m.Subject, m.Data, m.Header))
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		settings := sinkSettings(t, s, func(s *nats.SinkSettings) { s.Subject = topic{} })
		return bridgetest.SinkTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
				return c.Sink.Open(ctx, settings, env)
			},
			Receive: func(t *testing.T, n int) []bridge.Message {
				bridgetest.Reach(t, "messages arrive", n, func() int {
					mu.Lock()
					defer mu.Unlock()
					return len(arrived)
				})
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(arrived)
			},
			Refused:  func() bridge.Message { return bridge.Message{ID: "refused", Topic: "a..b"} },
			Features: bridgetest.Features{Headers: true, Topics: true, Binary: true},
		}
	})
}

func TestStreamSink(t *testing.T) { plugintest.Both(t, nats.Connector(), testStreamSink) }

func testStreamSink(t *testing.T, c bridge.Connector) {
	bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
		s := natstest.Start(t, nil)
		stream := createStream(t, client(t, s), jetstream.StreamConfig{
			Name:     "S",
			Subjects: []string{bridgetest.Topic}, MaxMsgSize: 550_000,
		})
		settings := sinkSettings(t, s, func(s *nats.SinkSettings) { s.Subject, s.JetStream = topic{}, true })
		return bridgetest.SinkTest{
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
				return c.Sink.Open(ctx, settings, env)
			},
			Receive: func(t *testing.T, n int) []bridge.Message { return stored(t, stream, n) },
			// The server refuses this one, not the sink.
			Refused: func() bridge.Message {
				return bridge.Message{ID: rand.Text(), Topic: bridgetest.Topic, Payload: make([]byte, 600_000)}
			},
			Features: bridgetest.Features{Headers: true, Topics: true, Binary: true},
		}
	})
}

// stored returns all messages of a stream when there are at least n.
func stored(t testing.TB, stream jetstream.Stream, n int) []bridge.Message {
	t.Helper()
	bridgetest.Reach(t, "messages are stored", n, func() int {
		info, err := stream.Info(t.Context())
		if err != nil {
			return 0
		}
		return int(info.State.Msgs)
	})
	c, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	var all []bridge.Message
	for len(all) < int(stream.CachedInfo().State.Msgs) {
		m, err := it.Next(jetstream.NextMaxWait(bridgetest.Timeout))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fromNATS(m.Subject(), m.Data(), m.Headers()))
	}
	return all
}
