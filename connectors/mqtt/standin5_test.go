package mqtt_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// peer5 is the broker's end of a connection of MQTT 5.
type peer5 struct{ *peer }

// standIn5 starts a broker of MQTT 5 that does what serve says, as standIn does.
func standIn5(t testing.TB, serve func(p peer5)) (address string) {
	t.Helper()
	address = standIn(t, func(p *peer) { serve(peer5{p}) })
	return strings.Replace(address, "#3.1.1", "#5", 1)
}

// next returns the next packet that the client sends, nil at the end. It answers pings.
func (p peer5) next() packets.Packet {
	for {
		cp, err := packets.ReadPacket(p.r)
		if err != nil {
			return nil
		}
		if cp.Type != packets.PINGREQ {
			return cp.Content
		}
		p.send(&packets.Pingresp{})
	}
}

func (p peer5) send(packet packets.Packet) { _, _ = packet.WriteTo(p) }

// welcome answers CONNECT.
func (p peer5) welcome(all packets.Properties) *packets.Connect {
	c, _ := p.next().(*packets.Connect)
	p.send(&packets.Connack{Properties: &all})
	return c
}

// grant answers SUBSCRIBE.
func (p peer5) grant(reasons ...byte) *packets.Subscribe {
	sub, ok := p.next().(*packets.Subscribe)
	if ok {
		p.send(&packets.Suback{PacketID: sub.PacketID, Reasons: reasons, Properties: &packets.Properties{}})
	}
	return sub
}

func (p peer5) drain() {
	for p.next() != nil {
	}
}

// client5 is an independent client of MQTT 5: paho on its own. What it gets goes to the inbox.
func client5(t testing.TB, address string, in *inbox5) *paho.Client {
	t.Helper()
	conn, err := net.Dial("tcp", parse(t, address).Host)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.got = append(in.got, r.Packet)
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	_, err = c.Connect(ctx, &paho.Connect{ClientID: fmt.Sprintf("test-5-%p", in), KeepAlive: 60, CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Disconnect(&paho.Disconnect{})
		<-c.Done()
	})
	return c
}

// inbox5 is what a client5 got.
type inbox5 struct {
	mu  sync.Mutex
	got []*paho.Publish
}

func (in *inbox5) wait(t testing.TB, n int) []*paho.Publish {
	t.Helper()
	bridgetest.Reach(t, "messages have arrived", n, func() int {
		in.mu.Lock()
		defer in.mu.Unlock()
		return len(in.got)
	})
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

func subscribe5(t testing.TB, address, filter string) *inbox5 {
	t.Helper()
	in := new(inbox5)
	options := []paho.SubscribeOptions{{Topic: filter, QoS: 2}}
	if _, err := client5(t, address, in).Subscribe(t.Context(), &paho.Subscribe{Subscriptions: options}); err != nil {
		t.Fatal(err)
	}
	return in
}

func send5(t testing.TB, c *paho.Client, p *paho.Publish) {
	t.Helper()
	if _, err := c.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}
