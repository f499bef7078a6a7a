package mqtt_test

import (
	"bufio"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// onceOnly returns a channel, and what closes it at its first call: whoever tries a server that was
// at the port before connects to a stand-in, too.
func onceOnly() (c chan struct{}, shut func()) {
	c = make(chan struct{})
	return c, sync.OnceFunc(func() { close(c) })
}

// standIn starts a broker of MQTT 3.1.1 that does what serve says with each connection, for
// lies and failures that no real broker can be made to show.
func standIn(t testing.TB, serve func(p *peer)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			running.Go(func() {
				defer func() { _ = c.Close() }()
				serve(&peer{Conn: c, r: bufio.NewReader(c)})
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "mqtt://" + l.Addr().String() + "#3.1.1"
}

// peer is the broker's end of a connection.
type peer struct {
	net.Conn
	r *bufio.Reader
}

// next returns the next packet that the client sends, nil at the end. It answers pings.
func (p *peer) next() packets.ControlPacket {
	for {
		cp, err := packets.ReadPacket(p.r)
		if err != nil {
			return nil
		}
		if _, ping := cp.(*packets.PingreqPacket); !ping {
			return cp
		}
		p.send(packets.NewControlPacket(packets.Pingresp))
	}
}

func (p *peer) send(cp packets.ControlPacket) { _ = cp.Write(p) }

// welcome answers CONNECT.
func (p *peer) welcome() {
	p.next()
	p.send(packets.NewControlPacket(packets.Connack))
}

// grant answers SUBSCRIBE with the codes.
func (p *peer) grant(codes ...byte) {
	sub, ok := p.next().(*packets.SubscribePacket)
	if !ok {
		return
	}
	a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	a.MessageID, a.ReturnCodes = sub.MessageID, codes
	p.send(a)
}

func (p *peer) publish(qos byte, id uint16, payload string) {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.TopicName, m.Qos, m.MessageID, m.Payload = "t", qos, id, []byte(payload)
	p.send(m)
}

// publishAgain marks the message as one that was sent before.
func (p *peer) publishAgain(qos byte, id uint16, payload string) {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.TopicName, m.Qos, m.MessageID, m.Payload, m.Dup = "t", qos, id, []byte(payload), true
	p.send(m)
}

// ack sends an acknowledgement of the kind.
func (p *peer) ack(kind byte, id uint16) {
	head := kind << 4
	if kind == packets.Pubrel {
		head |= 2
	}
	_, _ = p.Write([]byte{head, 2, byte(id >> 8), byte(id)})
}

// drain reads until the client goes.
func (p *peer) drain() {
	for p.next() != nil {
	}
}
