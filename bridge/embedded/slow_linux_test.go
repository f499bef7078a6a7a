//go:build !race

package embedded_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
)

// S32: clients that subscribe and do not read cost memory that is bounded for each, and are
// disconnected when they are behind by more.
func TestS32ReadersThatDoNotRead(t *testing.T) {
	const (
		readers = 15
		each    = 16 << 20
		slack   = 160 << 20 // of the runtime, and for what the publisher sends
	)
	e := start(t, embedded.Settings{MQTT: &embedded.MQTT{Listen: anyPort, Open: true}})
	for i := range readers {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.MQTTURL(), "mqtt://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		check(t, conn.(*net.TCPConn).SetReadBuffer(4096))
		_, err = conn.Write(hello(t, fmt.Sprint("reader", i)))
		check(t, err)
		awaitSubscription(t, conn)
	}
	c := enter(t, e)
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // garbage is not what is counted
	debug.FreeOSMemory()
	check(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // the highest number begins anew
	before := highest(t)
	payload := make([]byte, 1<<20)
	for range 100 {
		done(t, "publish", c.Publish("x", 0, false, payload))
	}
	done(t, "last", c.Publish("y", 1, false, "")) // the broker has them all
	peak := highest(t)
	t.Logf("%d MiB, %d before", peak>>20, before>>20)
	if grown := peak - before; grown > readers*each+slack {
		t.Errorf("%d readers that do not read cost %d MiB", readers, grown>>20)
	}
}

// hello is what connects and subscribes.
func hello(t *testing.T, id string) []byte {
	t.Helper()
	var out bytes.Buffer
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.CleanSession, c.ClientIdentifier = "MQTT", 4, true, id
	check(t, c.Write(&out))
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics, s.Qoss = 1, []string{"x"}, []byte{0}
	check(t, s.Write(&out))
	return out.Bytes()
}

// awaitSubscription reads until the broker has the subscription, and nothing after that.
func awaitSubscription(t *testing.T, conn net.Conn) {
	t.Helper()
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.(*packets.SubackPacket); ok {
			return
		}
	}
}

// highest returns the most memory that the process has had.
func highest(t *testing.T) (size int) {
	t.Helper()
	status := string(must(os.ReadFile("/proc/self/status")))
	_, status, _ = strings.Cut(status, "VmHWM:")
	if _, err := fmt.Sscanf(status, "%d kB", &size); err != nil {
		t.Fatal(err)
	}
	return size << 10
}

// A client that reads late what its session has kept is given no more than may wait for it.
func TestS32LateReaderOfASession(t *testing.T) {
	const backlog, size = 1200, 30 << 10
	e := start(t, embedded.Settings{
		MQTT: &embedded.MQTT{Listen: anyPort, Open: true},
		NATS: &embedded.NATS{Listen: anyPort, Open: true, Durability: "process"},
	})
	session := func(o *mqtt.ClientOptions) { o.SetClientID("late").SetCleanSession(false) }
	if c := enter(t, e, session); !granted(t, c, "x", 1, make(chan string, 10)) {
		t.Fatal("x is refused")
	}
	publisher := enter(t, e)
	enter(t, e, session).Disconnect(100) // displaces the one that listens
	for range backlog {
		done(t, "publish", publisher.Publish("x", 1, false, make([]byte, size)))
	}

	conn := must(net.Dial("tcp", strings.TrimPrefix(e.MQTTURL(), "mqtt://")))
	defer conn.Close()
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier = "MQTT", 4, "late"
	check(t, c.Write(conn))
	js := connect(t, e.NATSURL())
	stream := must(js.Stream(t.Context(), "$MQTT_msgs"))
	bridgetest.Eventually(t, "the broker has handed over what it may", func() bool {
		for consumer := range stream.ListConsumers(t.Context()).Info() {
			if consumer.NumAckPending >= 256 {
				return true
			}
		}
		return false
	})
	for n := 0; n < backlog; {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			t.Fatalf("after %d messages: %v", n, err)
		}
		if m, ok := p.(*packets.PublishPacket); ok {
			n++
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = m.MessageID
			check(t, ack.Write(conn))
		}
	}
}
