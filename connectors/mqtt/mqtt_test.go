package mqtt_test

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

func TestMain(m *testing.M) {
	plugintest.Main(mqtt.Connector())
	bridgetest.Parallel(2)
	goleak.VerifyTestMain(bridgetest.Patient(m, goleak.Find))
}

// topicOf is the template {{ topic }}.
type topicOf struct{}

func (topicOf) Render(m *bridge.Message) (string, error) { return m.Topic, nil }

func (topicOf) Constant() (string, bool) { return "", false }

func (topicOf) Prefix(topic string) string { return topic }

func (topicOf) String() string { return "{{ topic }}" }

func sourceSettings(t testing.TB, address string, qos int, topics ...string) *mqtt.SourceSettings {
	t.Helper()
	s := mqtt.Connector().Source.Settings().(*mqtt.SourceSettings)
	s.URL, s.QoS, s.Topics, s.Protocol = []bridge.URL{parse(t, address)}, qos, topics, protocol(address)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func sinkSettings(t testing.TB, address string, qos int) *mqtt.SinkSettings {
	t.Helper()
	s := mqtt.Connector().Sink.Settings().(*mqtt.SinkSettings)
	s.URL, s.QoS, s.Topic, s.Protocol = []bridge.URL{parse(t, address)}, qos, topicOf{}, protocol(address)
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// protocol returns the version of MQTT that stands behind # in the address of a test's broker.
func protocol(address string) string {
	_, version, _ := strings.Cut(address, "#")
	return cmp.Or(version, "auto")
}

func parse(t testing.TB, address string) bridge.URL {
	t.Helper()
	address, _, _ = strings.Cut(address, "#")
	u, err := bridge.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func openSource(t testing.TB, set *mqtt.SourceSettings) bridge.Source {
	t.Helper()
	s, err := mqtt.Connector().Source.Open(t.Context(), set, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, s.Close()) })
	return s
}

// write writes the batch and fails the test unless all of it was delivered.
func write(t testing.TB, s bridge.Sink, batch bridge.Batch) {
	t.Helper()
	if r, err := s.Write(t.Context(), batch); r.Settled != len(batch) || len(r.Refused) > 0 || err != nil {
		t.Fatalf("wrote %d messages: %+v, %v", len(batch), r, err)
	}
}

func openSink(t testing.TB, set *mqtt.SinkSettings) bridge.Sink {
	t.Helper()
	s, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, s.Close()) })
	return s
}

func closed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("close: %v", err)
	}
}

// read reads and acknowledges n messages.
func read(t testing.TB, s bridge.Source, n int) []bridge.Message {
	t.Helper()
	var got []bridge.Message
	for len(got) < n {
		b, ack, err := next(t, s)
		if err != nil {
			t.Fatalf("read after %d of %d messages: %v", len(got), n, err)
		}
		got = append(got, b...)
		if err := ack(t.Context(), nil); err != nil {
			t.Fatalf("ack: %v", err)
		}
	}
	return got
}

// next reads one batch, waiting no longer than a test should.
func next(t testing.TB, s bridge.Source) (bridge.Batch, bridge.Ack, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	return s.Read(ctx)
}

// expectError reads and acknowledges until an error, and checks that it holds the text.
func expectError(t testing.TB, s bridge.Source, text string) {
	t.Helper()
	for {
		_, ack, err := next(t, s)
		if err == nil {
			_ = ack(t.Context(), nil) // it may come too late
			continue
		}
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got error %q, want one with %q", err, text)
		}
		return
	}
}

func payloads(ms []bridge.Message) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "%s\n", m.Payload)
	}
	return b.String()
}

// client is an independent MQTT client: paho on its own.
func client(t testing.TB, address string, configure func(*paho.ClientOptions)) paho.Client {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	o := paho.NewClientOptions()
	o.Servers = []*url.URL{u}
	o.SetClientID("test-" + strings.ReplaceAll(t.Name(), "/", "-"))
	o.SetAutoReconnect(false).SetProtocolVersion(4)
	if configure != nil {
		configure(o)
	}
	c := paho.NewClient(o)
	done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(250) })
	return c
}

func done(t testing.TB, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(bridgetest.Timeout) {
		t.Fatal("the test's own client gets no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// send publishes with QoS 1 or 2, so that the broker has the messages when it returns.
func send(t testing.TB, c paho.Client, qos byte, ms ...bridge.Message) {
	t.Helper()
	tokens := make([]paho.Token, len(ms))
	for i, m := range ms {
		tokens[i] = c.Publish(m.Topic, qos, false, m.Payload)
	}
	for _, token := range tokens {
		done(t, token)
	}
}

// inbox is an independent subscriber.
type inbox struct {
	mu  sync.Mutex
	got []bridge.Message
}

func subscribe(t testing.TB, address, filter string, qos byte) *inbox {
	t.Helper()
	in := &inbox{}
	c := client(t, address, func(o *paho.ClientOptions) { o.SetClientID("inbox") })
	done(t, c.Subscribe(filter, qos, func(_ paho.Client, m paho.Message) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.got = append(in.got, bridge.Message{Topic: m.Topic(), Payload: m.Payload()})
	}))
	return in
}

func (in *inbox) messages() []bridge.Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]bridge.Message(nil), in.got...)
}

func (in *inbox) wait(t testing.TB, n int) []bridge.Message {
	t.Helper()
	bridgetest.Reach(t, "messages have arrived", n, func() int { return len(in.messages()) })
	return in.messages()
}
