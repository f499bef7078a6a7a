package connectors_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/google/go-cmp/cmp"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// runAll runs the pipelines of a file until stop is called.
func runAll(t *testing.T, text string) (stop func()) {
	t.Helper()
	c, err := config.Loader{Registry: bridge.NewRegistry(connectors.Builtin()...)}.Parse("pipelines.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, p := range c.Pipelines {
		running.Go(func() {
			if err := p.Run(ctx, bridge.Env{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// dial5 connects a client of MQTT 5 that hands each message of the topic to take.
func dial5(t *testing.T, address, topic string, take func(p *paho.Publish)) *paho.Client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			take(r.Packet)
			return true, nil
		}},
	})
	if _, err := c.Connect(t.Context(), &paho.Connect{ClientID: "test", KeepAlive: 600, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}); <-c.Done() })
	topics := []paho.SubscribeOptions{{Topic: topic, QoS: 1}}
	if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: topics}); err != nil {
		t.Fatal(err)
	}
	return c
}

// From MQTT 5 by JetStream to MQTT 5, over a restart of the bridge, messages keep all that they had.
func TestMQTT5OverJetStream(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	s, err := embedded.Start(t.Context(), embedded.Settings{NATS: &embedded.NATS{Listen: "127.0.0.1:0", Open: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	text := strings.NewReplacer("$NATS", s.NATSURL(), "$MQTT", broker.URL).Replace(`
connections:
  hub: {nats: {url: "$NATS", streams: {RELAY: {subjects: [relay]}}}}
pipelines:
  in:
    from: {mqtt: {url: "$MQTT", protocol: 5, topics: [from/#]}}
    to: {nats: {connection: hub, stream: RELAY, subject: relay}}
  out:
    from: {nats: {connection: hub, stream: RELAY, durable: out}}
    to: {mqtt: {url: "$MQTT", protocol: 5, topic: to}}
`)
	var mu sync.Mutex
	got := make(map[string]*paho.PublishProperties)
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	c := dial5(t, broker.Addr, "to", func(p *paho.Publish) {
		mu.Lock()
		defer mu.Unlock()
		got[string(p.Payload)] = p.Properties
	})

	const expiry = 1 << 20
	want := func(i int) *paho.PublishProperties {
		format, left := byte(1), uint32(expiry)
		return &paho.PublishProperties{
			ContentType: "text/plain", PayloadFormat: &format, MessageExpiry: &left,
			ResponseTopic: fmt.Sprint("answers/", i), CorrelationData: []byte{0, byte(i), '\r', '\n', 0xff},
			User: paho.UserProperties{
				{Key: "b", Value: fmt.Sprint(i)}, {Key: "a", Value: "ü"}, {Key: "b", Value: "again"}, {Key: "mqtt_x", Value: ""},
			},
		}
	}
	const n = 100
	send := func(from, to int) {
		for i := from; i < to; i++ {
			p := &paho.Publish{Topic: "from/x", QoS: 1, Payload: fmt.Append(nil, i), Properties: want(i)}
			if _, err := c.Publish(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := runAll(t, text)
	bridgetest.Eventually(t, "a message has crossed", func() bool {
		send(0, 1)
		return count() > 0
	})
	send(1, n/2)
	stop()
	send(n/2, n)
	defer runAll(t, text)()
	bridgetest.Reach(t, "messages have crossed", n, count)
	mu.Lock()
	defer mu.Unlock()
	for i := range n {
		p := got[fmt.Sprint(i)]
		if left := *p.MessageExpiry; left > expiry || left < expiry-3600 {
			t.Errorf("message %d is good for %d s", i, left)
		}
		*p.MessageExpiry = expiry
		if diff := cmp.Diff(want(i), p); diff != "" {
			t.Fatalf("message %d: %s", i, diff)
		}
	}
}

// A two-way mirror of brokers of MQTT 5 has its marks in user properties: nothing runs in circles.
func TestOriginMirrorsMQTT5(t *testing.T) {
	brokers := []*bridgetest.Mosquitto{bridgetest.StartMosquitto(t), bridgetest.StartMosquitto(t)}
	text := strings.NewReplacer("$A", brokers[0].URL, "$B", brokers[1].URL).Replace(`
pipelines:
  there:
    from: {mqtt: {url: "$A", protocol: 5, topics: ["#"]}}
    steps: [{origin: mirror}]
    to: {mqtt: {url: "$B", protocol: 5, topic: "{{ topic }}"}}
  back:
    from: {mqtt: {url: "$B", protocol: 5, topics: ["#"]}}
    steps: [{origin: mirror}]
    to: {mqtt: {url: "$A", protocol: 5, topic: "{{ topic }}"}}
`)
	var mu sync.Mutex
	copies := make([]map[string]int, 2)
	clients := make([]*paho.Client, 2)
	for i, b := range brokers {
		copies[i] = make(map[string]int)
		clients[i] = dial5(t, b.Addr, "#", func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			copies[i][p.Topic]++
		})
	}
	count := func(i int, topic string) int {
		mu.Lock()
		defer mu.Unlock()
		return copies[i][topic]
	}
	send := func(i int, topic string) {
		if _, err := clients[i].Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	defer runAll(t, text)()
	for i := range 2 {
		bridgetest.Eventually(t, "a probe crosses", func() bool {
			send(i, fmt.Sprint("probe/", i))
			return count(1-i, fmt.Sprint("probe/", i)) > 0
		})
	}
	for n := range 50 {
		for i := range 2 {
			send(i, fmt.Sprintf("%d/%d", i, n))
		}
	}
	for i := range 2 { // what came back would be in front of it
		send(i, fmt.Sprint("end/", i))
		bridgetest.Eventually(t, "the end crosses", func() bool { return count(1-i, fmt.Sprint("end/", i)) > 0 })
		send(1-i, fmt.Sprint("again/", i))
		bridgetest.Eventually(t, "the other end crosses", func() bool { return count(i, fmt.Sprint("again/", i)) > 0 })
	}
	for i := range 2 {
		for n := range 50 {
			for from := range 2 {
				if topic := fmt.Sprintf("%d/%d", from, n); count(i, topic) != 1 {
					t.Errorf("%d copies of %s at broker %d", count(i, topic), topic, i)
				}
			}
		}
	}
}
