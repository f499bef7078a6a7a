package mqtt_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// MQTT 3.1.1 has no way to refuse a packet: the broker hangs up on those that are too large for it.
func TestPacketAboveTheLimitOfTheBroker(t *testing.T) {
	limited := func(t *testing.T) string { return bridgetest.StartMosquitto(t, "max_packet_size 20000").URL }
	droppedByMosquitto := func(t *testing.T) string { return bridgetest.StartMosquitto(t, "message_size_limit 20000").URL }
	for _, b := range []struct {
		name    string
		address func(t *testing.T) string
		size    int
	}{
		{"Mosquitto", limited, 20_000},
		{"MosquittoMuchLarger", limited, 4 << 20},
		{"MosquittoDrops", droppedByMosquitto, 20_001},
		{"NATS", startNATS, 2 << 20},
	} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s/QoS%d", b.name, qos), func(t *testing.T) {
				address := b.address(t)
				in := subscribe(t, address, "t/#", 2)
				set := sinkSettings(t, address, qos)
				var batch bridge.Batch
				want := make(map[string]bool)
				for i := range 40 {
					m := text(fmt.Sprint("t/", i), strings.Repeat("x", 100*i))
					if i%20 == 10 {
						m.Payload = bytes.Repeat([]byte{byte(i)}, b.size)
					} else {
						want[m.Topic] = true
					}
					batch = append(batch, m)
				}
				c, rest, opened := mqtt.Connector(), batch, 0
				var refused []string
				for ; len(rest) > 0; opened++ {
					if opened == 20 {
						t.Fatalf("%d messages are still to be sent", len(rest))
					}
					s, err := c.Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
					if err != nil {
						t.Fatal(err)
					}
					r, err := s.Write(t.Context(), rest)
					for _, x := range r.Refused {
						refused = append(refused, fmt.Sprint(rest[x.Index].Topic, ": ", x.Err))
					}
					if err != nil && !strings.Contains(err.Error(), "raise its limit") {
						t.Errorf("got %v, want what to do", err)
					}
					rest = rest[r.Settled:]
					closed(t, s.Close())
				}
				if len(refused) != 2 || !strings.HasPrefix(refused[0], "t/10: ") || !strings.HasPrefix(refused[1], "t/30: ") ||
					!strings.Contains(refused[0], "max_packet_size") {
					t.Errorf("refused: %q, want t/10 and t/30", refused)
				}
				if opened > 4 { // 2 for the first, 1 for the second, 1 for the rest
					t.Errorf("it took %d connections", opened)
				}
				bridgetest.Eventually(t, "the neighbours are there", func() bool {
					got := make(map[string]bool)
					for _, m := range in.messages() {
						got[m.Topic] = true
					}
					return len(got) == len(want)
				})
			})
		}
	}
}

// A broker that goes while it gets something large is no reason to refuse that.
func TestLargePacketSurvivesTheBroker(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	c, set := mqtt.Connector(), sinkSettings(t, broker.URL, 1)
	m := bridge.Batch{text("t", strings.Repeat("x", 100_000))}
	for i := range 4 {
		s, err := c.Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			broker.Stop()
		}
		r, err := s.Write(t.Context(), m)
		if r.Settled != i%2 || len(r.Refused) > 0 || (err == nil) != (i%2 == 1) {
			t.Errorf("write %d: %+v, %v", i, r, err)
		}
		closed(t, s.Close())
		if i%2 == 0 {
			broker.Start()
		}
	}
}

// Mosquitto's message_size_limit is one of payloads, and it may confirm what it drops for that.
func TestPayloadAboveTheLimitInAPacketThatIsNot(t *testing.T) {
	for qos := range 3 {
		address := bridgetest.StartMosquitto(t, "message_size_limit 20000").URL
		s := openSink(t, sinkSettings(t, address, qos))
		write(t, s, bridge.Batch{text(strings.Repeat("t", 300), strings.Repeat("x", 19_900))})
		r, err := s.Write(t.Context(), bridge.Batch{text("s", strings.Repeat("x", 20_050))})
		if r.Settled != 0 || err == nil || !strings.Contains(err.Error(), "raise its limit") {
			t.Errorf("QoS %d: wrote %d with error %v, want 0 and what to do", qos, r.Settled, err)
		}
	}
}
