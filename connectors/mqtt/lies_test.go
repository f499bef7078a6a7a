package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

func TestP9HostilePacketsAreErrors(t *testing.T) {
	publish := func(b ...byte) []byte { return append([]byte{0x30, byte(len(b))}, b...) }
	for _, c := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"256 MB", []byte{0x40, 0xff, 0xff, 0xff, 0x7f}, "max_packet"},
		{"endless length", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, "malformed"},
		{"topic longer than packet", publish(0, 9, 'a'), "malformed"},
		{"no packet id", []byte{0x32, 3, 0, 1, 'a'}, "malformed"},
		{"packet id 0", []byte{0x32, 5, 0, 1, 'a', 0, 0}, "malformed"},
		{"QoS 3", []byte{0x36, 5, 0, 1, 'a', 0, 1}, "malformed"},
		{"second CONNACK", []byte{0x20, 2, 0, 0}, "unexpected"},
		{"SUBACK for nothing", []byte{0x90, 3, 0, 1, 0}, "unexpected"},
		{"SUBACK without an id", []byte{0x90, 0}, "unexpected"},
		{"PUBACK for nothing", []byte{0x40, 2, 0, 1}, "unexpected"},
		{"PUBREL of 3 bytes", []byte{0x62, 3, 0, 1, 2}, "malformed"},
		{"PINGRESP of 1 byte", []byte{0xd0, 1, 0}, "malformed"},
		{"client's packet", []byte{0x82, 6, 0, 1, 0, 1, 'a', 0}, "unexpected"},
		{"type 0", []byte{0, 0}, "unexpected"},
		{"type 15", []byte{0xf0, 0}, "unexpected"},
		{"HTTP", []byte(strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 10)), "unexpected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := standIn(t, func(p *peer) {
				p.welcome()
				p.grant(1)
				p.publish(1, 1, "a")
				p.next() // its acknowledgement
				_, _ = p.Write(c.packet)
				p.drain()
			})
			expectError(t, openSource(t, sourceSettings(t, address, 1, "t")), c.want)
		})
	}
}

func TestP9HostileAnswersToConnectAndSubscribe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		serve func(p *peer)
		want  string
	}{
		{"SUBACK with too many codes", func(p *peer) { p.welcome(); p.grant(1, 1, 1) }, "malformed"},
		{"SUBACK with none", func(p *peer) { p.welcome(); p.grant() }, "malformed"},
		{"SUBACK with an unknown code", func(p *peer) { p.welcome(); p.grant(7) }, "malformed"},
		{"P7 refused", func(p *peer) { p.welcome(); p.grant(0x80) }, `subscribe "t": refused`},
		{"P7 downgraded", func(p *peer) { p.welcome(); p.grant(0) }, `subscribe "t": the broker grants QoS 0 at most, not 1`},
		{"hangs up instead of SUBACK", func(p *peer) { p.welcome(); p.next(); _ = p.Close() }, "closed by the broker"},
		{"hangs up at once", func(p *peer) { _ = p.Close() }, "closed by the broker"},
		{"no CONNACK", func(*peer) {}, "no answer within 1s"},
		{"no SUBACK", func(p *peer) { p.welcome() }, "no answer within 1s"},
		{"PUBLISH before CONNACK", func(p *peer) { p.publish(0, 0, "x") }, "unexpected"},
		{"unknown return code", func(p *peer) { p.next(); _, _ = p.Write([]byte{0x20, 2, 0, 77}) }, "malformed"},
		{"garbage", func(p *peer) { _, _ = p.Write([]byte(strings.Repeat("SSH-2.0-OpenSSH_9.2\r\n", 10))) }, "unexpected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := sourceSettings(t, standIn(t, func(p *peer) { c.serve(p); p.drain() }), 1, "t")
			if strings.HasPrefix(c.want, "no answer") {
				set.ConnectTimeout = time.Second
			}
			s, err := mqtt.Connector().Source.Open(t.Context(), set, bridgetest.Env(t, "test-from"))
			if err == nil {
				closed(t, s.Close())
				t.Fatal("opened")
			}
			permanent := strings.HasPrefix(c.name, "P7")
			if !strings.Contains(err.Error(), c.want) || bridge.IsPermanent(err) != permanent {
				t.Errorf("got %v (permanent: %t), want one with %q, permanent: %t", err, bridge.IsPermanent(err),
					c.want, permanent)
			}
		})
	}
}

func TestConnectRefusals(t *testing.T) {
	for code, permanent := range map[byte]bool{1: true, 2: true, 3: false, 4: true, 5: true} {
		address := standIn(t, func(p *peer) {
			p.next()
			_, _ = p.Write([]byte{0x20, 2, 0, code})
			p.drain()
		})
		_, err := mqtt.Connector().Sink.Open(t.Context(), sinkSettings(t, address, 1), bridgetest.Env(t, "test-to"))
		if err == nil || bridge.IsPermanent(err) != permanent || !strings.Contains(err.Error(), "refused by the broker") {
			t.Errorf("code %d: got %v (permanent: %t), want a refusal, permanent: %t", code, err,
				bridge.IsPermanent(err), permanent)
		}
	}
}

func TestOpenHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := standIn(t, func(p *peer) { p.next(); cancel(); p.drain() })
	set := sourceSettings(t, address, 1, "t")
	set.ConnectTimeout = time.Hour
	_, err := mqtt.Connector().Source.Open(ctx, set, bridgetest.Env(t, "test-from"))
	if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v, want context canceled", err)
	}
}

func TestQoS2RepeatedPacketIsOneMessage(t *testing.T) {
	acked, first := make(chan struct{}), make(chan uint16, 3)
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(2)
		p.publish(2, 7, "a")
		p.publish(2, 7, "a")
		<-acked
		for range 2 {
			if r, ok := p.next().(*packets.PubrecPacket); ok {
				first <- r.MessageID
			}
			p.publish(2, 7, "a") // to be answered, and not to be delivered
		}
		p.ack(packets.Pubrel, 7)
		for {
			if r, ok := p.next().(*packets.PubcompPacket); ok {
				first <- r.MessageID
				break
			}
		}
		p.publish(2, 7, "b")
		p.drain()
	})
	s := openSource(t, sourceSettings(t, address, 2, "t"))
	got := read(t, s, 1)
	close(acked)
	got = append(got, read(t, s, 1)...)
	if want := "a\nb\n"; payloads(got) != want {
		t.Errorf("got %q, want %q", payloads(got), want)
	}
	for i := range 3 {
		if id := <-first; id != 7 {
			t.Errorf("answer %d is for packet id %d, want 7", i, id)
		}
	}
}

// nats-server sends again what is not acknowledged for 30 seconds, on the same connection.
func TestQoS1ImpatientBrokerDoublesNothing(t *testing.T) {
	acked := make(chan struct{})
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(1)
		p.publish(1, 7, "a")
		p.publishAgain(1, 7, "a")
		p.publishAgain(1, 7, "a")
		p.publish(1, 8, "b")
		<-acked
		for range 2 {
			p.next()
		}
		p.publish(1, 7, "c") // the id is free again
		p.publishAgain(1, 8, "d")
		p.drain()
	})
	s := openSource(t, sourceSettings(t, address, 1, "t"))
	var got []bridge.Message
	var acks []bridge.Ack
	for len(got) < 2 {
		b, ack, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, acks = append(got, b...), append(acks, ack)
	}
	close(acked)
	for _, ack := range acks {
		if err := ack(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	got = append(got, read(t, s, 2)...)
	if want := "a\nb\nc\nd\n"; payloads(got) != want {
		t.Errorf("got %q, want %q", payloads(got), want)
	}
}

func TestP4AckIsOfItsOwnConnection(t *testing.T) {
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(1)
		p.publish(1, 1, "a")
		p.drain()
	})
	s := openSource(t, sourceSettings(t, address, 1, "t"))
	_, ack, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closed(t, s.Close())
	if ack(t.Context(), nil) == nil {
		t.Error("an acknowledgement that cannot be sent succeeded")
	}
}

// acknowledge serves a sink: it acknowledges the first n messages, then does what then says.
func acknowledge(p *peer, n int, then func()) {
	p.welcome()
	for range n {
		m, ok := p.next().(*packets.PublishPacket)
		if !ok {
			return
		}
		p.ack(packets.Puback, m.MessageID)
	}
	then()
}

func TestP1NoSuccessWithoutAcknowledgement(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		batch, good := bridgetest.Numbered(1+random.IntN(3000)), []int{}
		for i := range batch {
			if random.IntN(5) == 0 {
				batch[i].Topic = "a/#" // refused
			} else {
				good = append(good, i)
			}
		}
		if len(good) == 0 {
			continue
		}
		acked := random.IntN(len(good))
		address := standIn(t, func(p *peer) {
			acknowledge(p, acked, func() {
				p.next() // or nothing may be sent and not confirmed
				// Half-close and read on, lest a reset destroy the acknowledgements.
				_ = p.Conn.(*net.TCPConn).CloseWrite()
				p.drain()
			})
		})
		set := sinkSettings(t, address, 1)
		set.MaxInflight = 1 + random.IntN(2000)
		r, err := openSink(t, set).Write(t.Context(), batch)
		// All in front of the first good one without acknowledgement are settled, and the bad ones
		// among them refused.
		if want := good[acked]; r.Settled != want || len(r.Refused) != want-acked || err == nil {
			t.Errorf("%d of %d acknowledged, %d in flight: wrote %d with %d refused, error %v, want %d with %d",
				acked, len(good), set.MaxInflight, r.Settled, len(r.Refused), err, want, want-acked)
		}
		if !strings.Contains(fmt.Sprint(err), "closed by the broker") || !strings.Contains(fmt.Sprint(err), "not confirmed") {
			t.Errorf("got %v, want one that says who closed the connection, and what is not confirmed", err)
		}
		for _, refusal := range r.Refused {
			if batch[refusal.Index].Topic != "a/#" {
				t.Errorf("message %d is refused: %v", refusal.Index, refusal.Err)
			}
		}
	}
}

func TestF08PingsButNeverAcknowledges(t *testing.T) {
	t.Parallel()
	address := standIn(t, func(p *peer) { acknowledge(p, 3, p.drain) })
	set := sinkSettings(t, address, 1)
	set.AckTimeout, set.Keepalive = 8*time.Second, time.Second // in which the three come on a busy machine, too
	s := openSink(t, set)
	r, err := s.Write(t.Context(), bridgetest.Numbered(10))
	if want := "no acknowledgement within 8s"; r.Settled != 3 || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("wrote %d with error %v, want 3 and %q", r.Settled, err, want)
	}
}

// A broker that stands still takes what is sent, and answers nothing.
func TestF08SilentPeerIsNoticedByALargePacket(t *testing.T) {
	t.Parallel()
	address := standIn(t, func(p *peer) { p.welcome(); _, _ = io.Copy(io.Discard, p.r) })
	for qos := range 3 {
		set := sinkSettings(t, address, qos)
		set.AckTimeout = time.Second
		r, err := openSink(t, set).Write(t.Context(), bridge.Batch{text("t", strings.Repeat("x", 2000))})
		if r.Settled != 0 || err == nil || !strings.Contains(err.Error(), "no acknowledgement within 1s") {
			t.Errorf("QoS %d: wrote %d with error %v", qos, r.Settled, err)
		}
	}
}

// Mosquitto may confirm what it drops for its size. The answer to a ping from before says nothing.
func TestLargePacketIsNotTakenByAPingFromBefore(t *testing.T) {
	pinged, ping := onceOnly()
	address := standIn(t, func(p *peer) {
		p.welcome()
		_, _ = packets.ReadPacket(p.r)
		ping()
		if cp, err := packets.ReadPacket(p.r); err == nil {
			p.send(packets.NewControlPacket(packets.Pingresp))
			p.ack(packets.Puback, cp.Details().MessageID)
			_, _ = packets.ReadPacket(p.r)
		}
	})
	set := sinkSettings(t, address, 1)
	set.Keepalive = time.Second
	s := openSink(t, set)
	<-pinged
	r, err := s.Write(t.Context(), bridge.Batch{text("t", strings.Repeat("x", 2000))})
	if r.Settled != 0 || err == nil || !strings.Contains(err.Error(), "raise its limit") {
		t.Errorf("wrote %d with error %v, want 0 and what to do", r.Settled, err)
	}
}

func TestF08PeerThatStopsReading(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	address := standIn(t, func(p *peer) { p.welcome(); <-stop })
	t.Cleanup(func() { close(stop) })
	for qos := range 3 {
		t.Run(fmt.Sprintf("Sink/QoS%d", qos), func(t *testing.T) {
			set := sinkSettings(t, address, qos)
			set.WriteTimeout, set.AckTimeout, set.Keepalive = time.Second, time.Hour, time.Hour // only one can end it
			s := openSink(t, set)
			batch := bridgetest.Numbered(2)
			for i := range batch {
				batch[i].Payload = make([]byte, 15<<20) // more than the socket's buffers take
			}
			r, err := s.Write(t.Context(), batch)
			if r.Settled > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d with error %v, want that the time for writing is over", r.Settled, err)
			}
			closed(t, s.Close())
		})
	}
}

func TestF08SilentPeerIsNoticedBySource(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	address := standIn(t, func(p *peer) { p.welcome(); p.grant(1); <-stop })
	t.Cleanup(func() { close(stop) })
	set := sourceSettings(t, address, 1, "t")
	set.Keepalive, set.WriteTimeout = busyPing, busyPing
	s := openSource(t, set)
	expectError(t, s, "does not answer pings")
}

// Each of them is refused as the first message of an instance, too, and the others are delivered.
func TestSinkRefusesWhatCannotBePublished(t *testing.T) {
	address := standIn(t, func(p *peer) { acknowledge(p, 1<<20, func() {}) })
	for name, bad := range map[string]bridge.Message{
		"a/#":        {Topic: "a/#"},
		"a/+/b":      {Topic: "a/+/b"},
		"is empty":   {Topic: ""},
		"UTF-8":      {Topic: "a\xff"},
		"NUL":        {Topic: "a\x00"},
		"control":    {Topic: "a\nb"},
		"65535":      {Topic: strings.Repeat("a", 65536)},
		"max_packet": {Topic: "a", Payload: make([]byte, 1000)},
		"own topics": {Topic: "$SYS/broker/uptime"},
		"201 levels": {Topic: strings.Repeat("/", 201)},
	} {
		for qos := range 2 { // the stand-in knows no QoS 2
			set := sinkSettings(t, address, qos)
			set.MaxPacket = 1000
			s := openSink(t, set)
			for _, at := range []int{0, 3, 4} {
				batch := bridgetest.Numbered(5)
				batch[at] = bad
				r, err := s.Write(t.Context(), batch)
				if r.Settled != 5 || err != nil || len(r.Refused) != 1 || r.Refused[0].Index != at ||
					!strings.Contains(r.Refused.Error(), name) {
					t.Errorf("%s at %d: %+v, %v, want it refused for %q", name, at, r, err, name)
				}
			}
		}
	}
}

// What the text of the template says is not the message's choice.
func TestDollarTopicOfTheTemplate(t *testing.T) {
	for prefix, allowed := range map[string]bool{
		"$things/": true, "$things/x": true, "$": false, "$thing": false,
		"": false,
	} {
		address := standIn(t, func(p *peer) { acknowledge(p, 1<<20, func() {}) })
		set := sinkSettings(t, address, 1)
		set.Topic = begins(prefix)
		r, err := openSink(t, set).Write(t.Context(), bridge.Batch{{Topic: strings.TrimPrefix("$things/xyz", prefix)}})
		if r.Settled != 1 || err != nil || (len(r.Refused) == 0) != allowed {
			t.Errorf("template %s{{ topic }}: got %+v, %v, want it refused: %t", prefix, r, err, !allowed)
		}
	}
	set := sinkSettings(t, standIn(t, func(p *peer) { acknowledge(p, 1, p.drain) }), 1)
	set.Topic = bridge.Text("$things/x")
	write(t, openSink(t, set), bridgetest.Numbered(1))
}

// begins is the template {{ topic }} behind a text.
type begins string

func (b begins) Render(m *bridge.Message) (string, error) { return string(b) + m.Topic, nil }

func (b begins) Constant() (string, bool) { return string(b), false }

func (b begins) Prefix(topic string) string { return string(b) + topic }

// panics is a template that does so once.
type panics struct{ done *bool }

func (p panics) Render(*bridge.Message) (string, error) {
	if !*p.done {
		*p.done = true
		panic("of the test")
	}
	return "t", nil
}

func (panics) Constant() (string, bool) { return "", false }

func (panics) Prefix(string) string { return "" }

// The turn to write ends, whatever happens.
func TestPanicEndsTheTurn(t *testing.T) {
	for qos := range 2 {
		set := sinkSettings(t, standIn(t, func(p *peer) { acknowledge(p, 1, p.drain) }), qos)
		set.Topic = panics{new(bool)}
		s := openSink(t, set)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("there was no panic")
				}
			}()
			_, _ = s.Write(t.Context(), bridgetest.Numbered(1))
		}()
		write(t, s, bridgetest.Numbered(1))
	}
}

// A broker would deliver a message that is too large again and again; it is refused, with what
// there is room for, and acknowledged.
func TestSourceRefusesWhatIsTooLarge(t *testing.T) {
	for qos := range 3 {
		for _, size := range []int{990, 1000, 5000, 300_000} {
			acked := make(chan byte, 1)
			address := standIn(t, func(p *peer) {
				p.welcome()
				p.grant(byte(qos))
				p.publish(byte(qos), 1, "a")
				p.publish(byte(qos), 2, strings.Repeat("x", size))
				p.publish(byte(qos), 3, "b")
				for range 3 * min(qos, 1) {
					switch m := p.next().(type) {
					case *packets.PubackPacket:
						acked <- byte(m.MessageID)
					case *packets.PubrecPacket:
						acked <- byte(m.MessageID)
					}
				}
				p.drain()
			})
			set := sourceSettings(t, address, qos, "t")
			set.MaxPacket = 1000
			s := openSource(t, set)
			var got []string
			for len(got) < 3 {
				batch, ack, err := s.Read(t.Context())
				refused, _ := err.(bridge.Refusals)
				if err != nil && refused == nil {
					t.Fatal(err)
				}
				for i, m := range batch {
					text := fmt.Sprintf("%s of %d", m.Topic, len(m.Payload))
					for _, r := range refused {
						if r.Index == i && strings.Contains(r.Err.Error(), "max_packet is 1000") {
							text = fmt.Sprintf("refused, %t", m.Topic == "t" && len(m.Payload) > 0 && len(m.Payload) <= 1000)
						}
					}
					got = append(got, text)
				}
				go func() { _ = ack(t.Context(), nil) }()
				for range len(batch) * min(qos, 1) {
					<-acked
				}
			}
			want := "[t of 1 refused, true t of 1]"
			if size == 990 { // and 3 bytes of header, 3 of topic, perhaps 2 of id
				want = "[t of 1 t of 990 t of 1]"
			}
			if fmt.Sprint(got) != want {
				t.Errorf("QoS %d, %d bytes: got %v, want %s", qos, size, got, want)
			}
		}
	}
}
