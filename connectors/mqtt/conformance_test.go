package mqtt_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// brokers are those on which everything must work. Each starts afresh and
// returns its address.
var brokers = []struct {
	name  string
	start func(t *testing.T) string
}{
	{"Mosquitto", func(t *testing.T) string { return bridgetest.StartMosquitto(t).URL + "#3.1.1" }},
	{"Mosquitto5", func(t *testing.T) string { return bridgetest.StartMosquitto(t).URL + "#5" }},
	{"NATS", startNATS}, // which speaks 3.1.1
}

// ackWait is how long the NATS server waits before it delivers again, also over a new connection. A
// busy machine may take longer than a second to acknowledge, so only tests that want to see a
// message again have so little.
func ackWait(t *testing.T) time.Duration {
	again := []string{"UnackedComesAgain", "SettledFrontDoesNotComeAgain"}
	if slices.Contains(again, path.Base(t.Name())) || strings.HasPrefix(t.Name(), "TestChangedTopicsLoseNothing") {
		return time.Second
	}
	return time.Minute
}

func startNATS(t *testing.T) string {
	var o *server.Options
	natstest.Start(t, func(set *server.Options) {
		o, set.ServerName = set, "test"
		set.MQTT = server.MQTTOpts{Host: set.Host, Port: server.RANDOM_PORT, AckWait: ackWait(t)}
	})
	return fmt.Sprintf("mqtt://%s:%d", o.MQTT.Host, o.MQTT.Port) // which it has chosen
}

func forEach(t *testing.T, f func(t *testing.T, start func(t *testing.T) string, qos int)) {
	for _, b := range brokers {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s/QoS%d", b.name, qos), func(t *testing.T) {
				t.Parallel()
				f(t, b.start, qos)
			})
		}
	}
}

func TestSourceConformance(t *testing.T) { plugintest.Both(t, mqtt.Connector(), testSource) }

func testSource(t *testing.T, c bridge.Connector) {
	forEach(t, func(t *testing.T, start func(t *testing.T) string, qos int) {
		bridgetest.TestSource(t, func(t *testing.T) bridgetest.SourceTest {
			address := start(t)
			set := sourceSettings(t, address, qos, bridgetest.Topic)
			publisher := client(t, address, nil)
			return bridgetest.SourceTest{
				Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
					return c.Source.Open(ctx, set, env)
				},
				Send: func(t *testing.T, messages ...bridge.Message) {
					send(t, publisher, byte(qos), messages...)
				},
				Features: bridgetest.Features{Redelivers: qos > 0, Topics: true, Binary: true},
			}
		})
	})
}

func TestSinkConformance(t *testing.T) { plugintest.Both(t, mqtt.Connector(), testSink) }

func testSink(t *testing.T, c bridge.Connector) {
	forEach(t, func(t *testing.T, start func(t *testing.T) string, qos int) {
		bridgetest.TestSink(t, func(t *testing.T) bridgetest.SinkTest {
			address := start(t)
			set := sinkSettings(t, address, qos)
			in := subscribe(t, address, "#", byte(qos))
			return bridgetest.SinkTest{
				Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
					return c.Sink.Open(ctx, set, env)
				},
				Receive: func(t *testing.T, n int) []bridge.Message {
					return in.wait(t, n)
				},
				Refused:  func() bridge.Message { return bridge.Message{Topic: "", Payload: []byte("refused")} },
				Features: bridgetest.Features{Topics: true, Binary: true},
			}
		})
	})
}
