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
	run := func() (stop func()) {
		c, err := config.Loader{Registry: bridge.NewRegistry(connectors.Builtin()...)}.Parse("relay", []byte(text))
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

	var mu sync.Mutex
	got := make(map[string]*paho.PublishProperties)
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	conn, err := net.Dial("tcp", broker.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			got[string(r.Packet.Payload)] = r.Packet.Properties
			return true, nil
		}},
	})
	if _, err := c.Connect(t.Context(), &paho.Connect{ClientID: "test", KeepAlive: 600, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}); <-c.Done() })
	topics := []paho.SubscribeOptions{{Topic: "to", QoS: 1}}
	if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: topics}); err != nil {
		t.Fatal(err)
	}

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
	stop := run()
	bridgetest.Eventually(t, "a message has crossed", func() bool {
		send(0, 1)
		return count() > 0
	})
	send(1, n/2)
	stop()
	send(n/2, n)
	defer run()()
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
