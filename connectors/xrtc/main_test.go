package xrtc_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
	"github.com/xrtcbridge/xrtcbridge/connectors/xrtc"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
	"github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

func TestMain(m *testing.M) {
	plugintest.Main(xrtc.Connector())
	goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
}

// client returns the settings with which a server is reached.
func client(t *testing.T, s *xrtctest.Server) xrtc.ClientSettings {
	t.Helper()
	u, err := bridge.ParseURL("http://" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return xrtc.ClientSettings{
		URL: u, AccountID: bridge.NewSecret(xrtctest.AccountID),
		APIKey: bridge.NewSecret(xrtctest.APIKey),
	}
}

func sinkSettings(t *testing.T, s *xrtctest.Server, portal bridge.Template) *xrtc.SinkSettings {
	set := xrtc.Connector().Sink.Settings().(*xrtc.SinkSettings)
	set.ClientSettings, set.Portal = client(t, s), portal
	return set
}

func sourceSettings(t *testing.T, s *xrtctest.Server, portals ...string) *xrtc.SourceSettings {
	set := xrtc.Connector().Source.Settings().(*xrtc.SourceSettings)
	set.ClientSettings, set.Portals = client(t, s), portals
	return set
}

func openSink(t *testing.T, set *xrtc.SinkSettings, env bridge.Env) bridge.Sink {
	t.Helper()
	sink, err := xrtc.Connector().Sink.Open(t.Context(), set, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

// write writes the batch and fails the test unless all of it was delivered.
func write(t *testing.T, sink bridge.Sink, batch bridge.Batch) {
	t.Helper()
	if r, err := sink.Write(t.Context(), batch); r.Settled != len(batch) || len(r.Refused) > 0 ||
		len(r.Omitted) > 0 || err != nil {
		t.Fatalf("wrote %d messages: %+v, %v", len(batch), r, err)
	}
}

// topicPortal is the template {{ portalid(topic) }}.
type topicPortal struct{}

func (topicPortal) Render(m *bridge.Message) (string, error) { return bridge.PortalID(m.Topic), nil }
func (topicPortal) Constant() (string, bool)                 { return "", false }
func (topicPortal) Prefix(string) string                     { return "" }

// portal holds the messages of the conformance suites.
const portal = "conformance"

// maxPayload leaves room for what stands around a payload in a request, and for the quotes of an
// envelope.
const maxPayload = 60_000

func variants(t *testing.T, f func(t *testing.T, envelope bool)) {
	t.Run("Plain", func(t *testing.T) { f(t, false) })
	t.Run("Envelope", func(t *testing.T) { f(t, true) })
}

func TestSinkConformance(t *testing.T) { plugintest.Both(t, xrtc.Connector(), testSink) }

func testSink(t *testing.T, c bridge.Connector) {
	variants(t, func(t *testing.T, envelope bool) {
		bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
			s := xrtctest.Start(t, server.Config{})
			set := sinkSettings(t, s, bridge.Text(portal))
			set.Envelope = envelope
			var got []bridge.Message
			down := s.Client(t)
			from := openSource(t, s, envelope)
			return bridgetest.SinkTest{
				Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
					return c.Sink.Open(ctx, set, env)
				},
				Receive: func(t *testing.T, n int) []bridge.Message {
					for len(got) < n {
						if envelope {
							got = append(got, read(t, from)...)
							continue
						}
						items, err := down.Get(t.Context(),
							sdk.GetRequest{Portals: sdk.Portals(portal), Mode: sdk.Watch, Schedule: sdk.FIFO})
						if err != nil {
							t.Fatal(err)
						}
						for _, it := range items {
							got = append(got, bridge.Message{Payload: plain(t, it.Payload)})
						}
					}
					return got
				},
				Refused:  func() bridge.Message { return bridge.Message{Topic: bridgetest.Topic, Payload: make([]byte, 70_000)} },
				Features: bridgetest.Features{Topics: envelope, Headers: envelope, Binary: true, MaxPayload: maxPayload},
			}
		})
	})
}

// plain undoes encode: auto by hand.
func plain(t *testing.T, text string) []byte {
	t.Helper()
	rest, encoded := strings.CutPrefix(text, "data:;base64,")
	if !encoded {
		return []byte(text)
	}
	payload, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func openSource(t *testing.T, s *xrtctest.Server, envelope bool) bridge.Source {
	t.Helper()
	set := sourceSettings(t, s, portal)
	set.Envelope = envelope
	source, err := xrtc.Connector().Source.Open(t.Context(), set, bridgetest.Env(t, "reader"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	return source
}

// read reads and acknowledges one batch.
func read(t *testing.T, source bridge.Source) bridge.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	b, ack, err := source.Read(ctx)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := ack(ctx, nil); err != nil {
		t.Fatalf("ack: %v", err)
	}
	return b
}

func TestSourceConformance(t *testing.T) { plugintest.Both(t, xrtc.Connector(), testSource) }

func testSource(t *testing.T, c bridge.Connector) {
	for _, mode := range []string{"stream", "watch", "probe"} {
		t.Run(mode, func(t *testing.T) {
			variants(t, func(t *testing.T, envelope bool) {
				bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
					s := xrtctest.Start(t, server.Config{})
					set := sourceSettings(t, s, portal)
					set.Mode, set.Envelope, set.Interval = mode, envelope, 5e6
					to := sinkSettings(t, s, bridge.Text(portal))
					to.Envelope = envelope
					sink := openSink(t, to, bridgetest.Env(t, "writer"))
					checkpoint := new(bridge.MemoryCheckpoint)
					return bridgetest.SourceTest{
						Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
							env.Checkpoint = checkpoint
							return c.Source.Open(ctx, set, env)
						},
						Send: func(t *testing.T, messages ...bridge.Message) {
							write(t, sink, messages)
						},
						Features: bridgetest.Features{
							Redelivers: true, Topics: envelope, Headers: envelope, Binary: true, IDs: true, MaxPayload: maxPayload,
						},
					}
				})
			})
		})
	}
}
