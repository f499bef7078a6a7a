package mqtt_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// retained returns what a new subscriber finds.
func retained(t *testing.T, address, filter string) []bridge.Message {
	t.Helper()
	found, end := make(chan bridge.Message, 100), make(chan struct{}, 100)
	c := client(t, address, func(o *paho.ClientOptions) { o.SetClientID("finder") })
	done(t, c.Subscribe(filter, 2, func(_ paho.Client, m paho.Message) {
		if m.Retained() {
			found <- text(m.Topic(), string(m.Payload()))
		}
	}))
	done(t, c.Subscribe("end", 2, func(paho.Client, paho.Message) { end <- struct{}{} }))
	done(t, c.Publish("end", 2, false, ""))
	select {
	case <-end:
	case <-time.After(bridgetest.Timeout):
		t.Fatal("the end does not come")
	}
	var all []bridge.Message
	for len(found) > 0 { // it came in order
		all = append(all, <-found)
	}
	c.Disconnect(250)
	return all
}

func TestBirthAndWill(t *testing.T) {
	for _, b := range brokers {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s/QoS%d", b.name, qos), func(t *testing.T) {
				address := b.start(t)
				proxy := faulttest.NewProxy(t, parse(t, address).Host)
				common := sinkSettings(t, "mqtt://"+proxy.Addr(), qos).ClientSettings
				common.Birth = &mqtt.Notice{Topic: "status", Payload: "online", QoS: qos, Retain: true}
				common.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "status", Payload: "offline", QoS: qos, Retain: true}}
				in, out := sourceSettings(t, address, 2, "data"), sinkSettings(t, address, 2)
				in.ClientSettings, out.ClientSettings = common, common
				states := subscribe(t, address, "status", 2)
				want := ""
				expect := func(state string) {
					t.Helper()
					want += state + "\n"
					if got := payloads(states.wait(t, strings.Count(want, "\n"))); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					// A broker may keep it a moment after it has passed it on.
					bridgetest.Eventually(t, "the state is "+state,
						func() bool { return payloads(retained(t, address, "status")) == state+"\n" })
				}
				source := openSource(t, in)
				expect("online")
				send(t, client(t, address, nil), 2, text("data", "x"))
				read(t, source, 1)
				closed(t, source.Close())
				expect("offline")
				sink := openSink(t, out)
				expect("online")
				write(t, sink, bridge.Batch{text("data", "x")})
				proxy.Cut()
				expect("offline")
				closed(t, sink.Close())
			})
		}
	}
}

// The packet id of a birth must not be taken for that of a message, though all others are taken by
// messages that are not acknowledged.
func TestBirthBesideAFullWindow(t *testing.T) {
	const window, n = 65534, 70_000
	set := sinkSettings(t, standIn(t, func(p *peer) {
		p.welcome()
		birth, _ := p.next().(*packets.PublishPacket)
		if birth == nil || birth.TopicName != "status" {
			t.Error("there is no birth")
			return
		}
		of := map[uint16]string{birth.MessageID: "the birth"}
		var held []uint16
		for range window {
			m, _ := p.next().(*packets.PublishPacket)
			if m == nil {
				t.Errorf("the sink ends after %d messages", len(held))
				return
			}
			if of[m.MessageID] != "" {
				t.Errorf("packet id %d is that of %s, and of %s", m.MessageID, of[m.MessageID], m.Payload)
				return
			}
			of[m.MessageID] = string(m.Payload)
			held = append(held, m.MessageID)
		}
		p.ack(packets.Puback, birth.MessageID)
		var acks sync.WaitGroup
		defer acks.Wait()
		acks.Go(func() {
			for _, id := range held {
				p.ack(packets.Pubrec, id)
			}
		})
		for {
			switch m := p.next().(type) {
			case *packets.PublishPacket:
				p.ack(packets.Pubrec, m.MessageID)
			case *packets.PubrelPacket:
				p.ack(packets.Pubcomp, m.MessageID)
			default:
				return
			}
		}
	}), 2)
	set.MaxInflight, set.AckTimeout = window, time.Hour // whatever else the machine does
	set.Birth = &mqtt.Notice{Topic: "status", QoS: 2}
	write(t, openSink(t, set), bridgetest.Numbered(n))
}

func TestFirstBrokerThatAnswers(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	refuses := standIn(t, func(p *peer) {
		p.next()
		_, _ = p.Write([]byte{0x20, 2, 0, 5})
		p.drain()
	})
	nobody := "mqtt://" + bridgetest.FreeAddr(t)
	in := sourceSettings(t, broker.URL, 1, bridgetest.Topic)
	out := sinkSettings(t, broker.URL, 1)
	in.URL = []bridge.URL{parse(t, nobody), parse(t, refuses), parse(t, broker.URL)}
	out.URL = in.URL
	roundTrip(t, in, out)

	for _, c := range []struct {
		urls      []string
		permanent bool
	}{{[]string{nobody, refuses}, false}, {[]string{refuses, nobody}, false}, {
		[]string{refuses, refuses},
		true,
	}, {[]string{refuses}, true}} {
		in.URL = nil
		for _, u := range c.urls {
			in.URL = append(in.URL, parse(t, u))
		}
		_, err := mqtt.Connector().Source.Open(t.Context(), in, bridgetest.Env(t, "test-from"))
		missing := func(u string) bool { return err == nil || !strings.Contains(err.Error(), parse(t, u).Host) }
		if bridge.IsPermanent(err) != c.permanent || slices.ContainsFunc(c.urls, missing) {
			t.Errorf("%v: got %v (permanent: %t), want permanent: %t, and each address", c.urls, err,
				bridge.IsPermanent(err), c.permanent)
		}
	}
}

// when is a template that gives the header of that name.
type when string

func (w when) Render(m *bridge.Message) (string, error) { return m.Header[string(w)], nil }

func (when) Constant() (string, bool) { return "", false }

func (when) Prefix(string) string { return "" }

func TestRetainIsSaidByTheMessage(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sinkSettings(t, broker.URL, 1)
	set.Retain = when("keep")
	var batch bridge.Batch
	for _, keep := range []string{"true", "false", "perhaps", ""} {
		batch = append(batch, bridge.Message{
			Topic: "kept/" + keep + "x", Payload: []byte("x"),
			Header: map[string]string{"keep": keep},
		})
	}
	r, err := openSink(t, set).Write(t.Context(), batch)
	if r.Settled != 4 || len(r.Refused) != 2 || r.Refused[0].Index != 2 || r.Refused[1].Index != 3 || err != nil {
		t.Errorf("got %+v, %v, want the last two refused", r, err)
	}
	if got := retained(t, broker.URL, "kept/#"); len(got) != 1 || got[0].Topic != "kept/truex" {
		t.Errorf("the broker keeps %v, want kept/truex", got)
	}
	set.Retain = bridge.Text("true")
	write(t, openSink(t, set), bridge.Batch{text("always", "x")})
	if got := retained(t, broker.URL, "always"); len(got) != 1 {
		t.Errorf("the broker keeps %v, want always", got)
	}
}
