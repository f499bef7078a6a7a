package mqtt_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/socket"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// A message that takes longer to leave than any limit allows without progress arrives, once.
func TestSlowUplinkIsNotADeadOne(t *testing.T) {
	for qos, webs := range [][]bool{{false}, {false, true}, {false}} {
		for _, web := range webs {
			t.Run(fmt.Sprintf("WebSocket %t/QoS%d", web, qos), func(t *testing.T) {
				t.Parallel()
				webAddr := bridgetest.FreeAddr(t)
				_, port, _ := bytes.Cut([]byte(webAddr), []byte(":"))
				broker := bridgetest.StartMosquitto(t, "listener "+string(port)+" 127.0.0.1", "protocol websockets")
				in := subscribe(t, broker.URL, "big", 2)
				target, scheme := broker.Addr, "mqtt://"
				if web {
					target, scheme = webAddr, "ws://"
				}
				proxy := faulttest.NewProxy(t, target)
				set := sinkSettings(t, scheme+proxy.Addr(), qos)
				set.Keepalive, set.WriteTimeout, set.AckTimeout = busyPing, busyPing, 2*busyPing
				if web { // mosquitto takes no part of a packet for life there
					set.Keepalive = bridgetest.Timeout
				}
				s := openSink(t, set)
				proxy.Set(faulttest.Fault{Rate: 150_000})
				payload := bytes.Repeat([]byte("0123456789"), 300_000) // 20 s
				write(t, s, bridge.Batch{{Topic: "big", Payload: payload}})
				in.wait(t, 1)
				proxy.Set(faulttest.Fault{})
				write(t, s, bridge.Batch{{Topic: "big", Payload: []byte("last")}})
				got := in.wait(t, 2)
				if !bytes.Equal(got[0].Payload, payload) || string(got[1].Payload) != "last" || len(got) != 2 {
					t.Errorf("%d messages arrived, the first with %d bytes", len(got), len(got[0].Payload))
				}
			})
		}
	}
}

// What stands between may have taken nearly all of a message, and take the little that is left only
// when much of that has gone on.
func TestLineThatHoldsNearlyAllIsNotADeadOne(t *testing.T) {
	t.Parallel()
	silent := standIn(t, func(p *peer) { <-t.Context().Done() })
	probe, err := net.Dial("tcp", parse(t, silent).Host)
	if err != nil {
		t.Fatal(err)
	}
	full := socket.New(probe, 300*time.Millisecond)
	_, _ = full.Write(make([]byte, 64<<20))
	holds := int(full.Left())
	closed(t, full.Close())
	s := openSink(t, func() *mqtt.SinkSettings {
		set := sinkSettings(t, standIn(t, func(p *peer) {
			p.welcome()
			<-time.After(9 * time.Second) // two more than a ping has, and five less than it has for what is held
			if m, ok := p.next().(*packets.PublishPacket); ok {
				p.ack(packets.Puback, m.MessageID)
			}
			p.drain()
		}), 1)
		set.Keepalive, set.WriteTimeout = busyPing, 2*time.Second
		return set
	}())
	write(t, s, bridge.Batch{{Topic: "t", Payload: make([]byte, holds+8<<10)}})
}

// What waits in a session may take longer than any limit, too, and so may the answer behind it.
func TestSlowDownlinkIsNotADeadOne(t *testing.T) {
	t.Parallel()
	broker := bridgetest.StartMosquitto(t)
	proxy := faulttest.NewProxy(t, broker.Addr)
	set, env := sourceSettings(t, "mqtt://"+proxy.Addr(), 1, "big"), bridgetest.Env(t, "test-from")
	set.Keepalive, set.WriteTimeout, set.ConnectTimeout = busyPing, busyPing, busyPing
	closed(t, openWith(t, set, env).Close())
	payload := bytes.Repeat([]byte("0123456789"), 30_000)
	for range 4 {
		send(t, client(t, broker.URL, nil), 1, bridge.Message{Topic: "big", Payload: payload})
	}
	proxy.Set(faulttest.Fault{Rate: 60_000}) // 20 s
	for _, m := range read(t, openWith(t, set, env), 4) {
		if !bytes.Equal(m.Payload, payload) {
			t.Errorf("got %d bytes, want %d", len(m.Payload), len(payload))
		}
	}
}
