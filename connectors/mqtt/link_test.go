package mqtt_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// keepsFlag is the template {{ header.mqtt_retained == 'true' }}.
type keepsFlag struct{ when }

func (keepsFlag) Render(m *bridge.Message) (string, error) {
	return fmt.Sprint(m.Header["mqtt_retained"] == "true"), nil
}

// bridged starts both directions between two brokers, all topics as they are.
func bridged(t *testing.T, a, b string, qos int) {
	c := mqtt.Connector()
	for _, way := range [][2]string{{a, b}, {b, a}} {
		in, out := sourceSettings(t, way[0], qos, "#"), sinkSettings(t, way[1], min(qos, 1))
		in.Bridge, out.Bridge, out.Retain = "site", "site", keepsFlag{}
		name := "from-" + strings.NewReplacer(":", "-", "#", "-").Replace(way[0])
		run(t, &engine.Pipeline{Name: name, From: from(c, in), To: to(c, out)})
	}
}

func TestTwoWayBridgeHasNoEcho(t *testing.T) { forVersions(t, noEcho) }

func noEcho(t *testing.T, version string) {
	for qos := range 3 {
		t.Run(fmt.Sprintf("QoS%d", qos), func(t *testing.T) {
			a, b := bridgetest.StartMosquitto(t), bridgetest.StartMosquitto(t)
			bridged(t, a.URL+version, b.URL+version, qos)
			atA, atB := subscribe(t, a.URL, "x/#", 2), subscribe(t, b.URL, "x/#", 2)
			clients := []paho.Client{client(t, a.URL, nil), client(t, b.URL, nil)}
			up := func(from, to int) {
				topic := fmt.Sprintf("x/probe%d", from)
				bridgetest.Eventually(t, "a probe has crossed", func() bool {
					done(t, clients[from].Publish(topic, 2, false, ""))
					return slices.ContainsFunc([]*inbox{atA, atB}[to].messages(),
						func(m bridge.Message) bool { return m.Topic == topic })
				})
			}
			up(0, 1)
			up(1, 0)
			for i := range 100 {
				done(t, clients[i%2].Publish(fmt.Sprintf("x/%d", i), 2, i%10 < 2, fmt.Sprint(i)))
			}
			for name, in := range map[string]*inbox{"a": atA, "b": atB} {
				copies := make(map[string]int)
				bridgetest.Eventually(t, "all are at "+name, func() bool {
					clear(copies)
					for _, m := range in.messages() {
						copies[m.Topic]++
					}
					delete(copies, "x/probe0")
					delete(copies, "x/probe1")
					return len(copies) == 100
				})
				for topic, n := range copies {
					if n != 1 {
						t.Errorf("%d copies of %s at %s", n, topic, name)
					}
				}
			}
			for name, address := range map[string]string{"a": a.URL, "b": b.URL} {
				bridgetest.Eventually(t, "the retained messages are kept at "+name,
					func() bool { return len(retained(t, address, "x/#")) == 20 })
			}
		})
	}
}

// Each end of a shared connection goes on when the other one, or the connection, is lost.
func TestTwoWayBridgeSurvivesTheBroker(t *testing.T) { forVersions(t, bridgeSurvives) }

func bridgeSurvives(t *testing.T, version string) {
	a, b := bridgetest.StartMosquitto(t), bridgetest.StartMosquitto(t)
	bridged(t, a.URL+version, b.URL+version, 1)
	for round := range 3 {
		topic := fmt.Sprintf("x/%d", round)
		for from, to := range map[string]string{a.URL: b.URL, b.URL: a.URL} {
			in := subscribe(t, to, topic, 1)
			c := client(t, from, nil)
			bridgetest.Eventually(t, "messages cross from "+from, func() bool {
				done(t, c.Publish(topic, 1, false, ""))
				return len(in.messages()) > 0
			})
		}
		a.Stop()
		a.Start()
	}
}

func TestBridgeFallsBack(t *testing.T) {
	for name, refuse := range map[string]func(p *peer){
		"refuses":  func(p *peer) { _, _ = p.Write([]byte{0x20, 2, 0, 1}); p.drain() },
		"hangs up": func(p *peer) { _ = p.Close() },
		"NATS":     nil,
	} {
		var address string
		if refuse == nil {
			address = startNATS(t)
		} else {
			address = standIn(t, func(p *peer) {
				var head [9]byte // up to the protocol level
				if _, _ = p.r.Read(head[:1]); true {
					_, _ = p.r.Read(head[1:])
				}
				if head[8] != 4 {
					refuse(p)
					return
				}
				_, _ = p.Write([]byte{0x20, 2, 0, 0})
				_, _ = p.r.Discard(int(head[1]) - 7)
				p.grant(1)
				p.drain()
			})
		}
		var log bytes.Buffer
		env := bridgetest.Env(t, "test-from")
		env.Logger = slog.New(slog.NewTextHandler(&log, nil))
		set := sourceSettings(t, address, 1, "t")
		set.Bridge = "site"
		openWith(t, set, env)
		if !strings.Contains(log.String(), "knows no bridges") {
			t.Errorf("%s: the log says %q, want that the broker knows no bridges", name, log.String())
		}
	}
}

// A broker that knew bridges, and hangs up now and then, is not connected to as if it did not.
func TestBridgeDoesNotFallBackLater(t *testing.T) {
	var connections atomic.Int32
	address := standIn(t, func(p *peer) {
		if connections.Add(1) == 2 {
			return // hangs up
		}
		head, _ := p.r.Peek(2)
		_, _ = p.r.Discard(2 + int(head[1]))
		_, _ = p.Write([]byte{0x20, 2, 0, 0})
		p.grant(1)
		p.drain()
	})
	c := mqtt.Connector()
	set := sourceSettings(t, address, 1, "t")
	set.Bridge = "site"
	env := bridgetest.Env(t, "test-from")
	first, err := c.Source.Open(t.Context(), set, env)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, first.Close())
	if s, err := c.Source.Open(t.Context(), set, env); err == nil || !strings.Contains(err.Error(), "has known bridges") {
		t.Errorf("got %v, %v, want an error", s, err)
	}
	again, err := c.Source.Open(t.Context(), set, env)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, again.Close())
}

// Which end comes first must not decide whose will and credentials count.
func TestEndsOfABridgeThatDiffer(t *testing.T) {
	broker, c := bridgetest.StartMosquitto(t), mqtt.Connector()
	in, out := sourceSettings(t, broker.URL, 1, "t"), sinkSettings(t, broker.URL, 1)
	in.Bridge, out.Bridge = "site", "site"
	in.ClientID = "is not used" // and may differ
	in.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "will"}}
	first, err := c.Source.Open(t.Context(), in, bridgetest.Env(t, "test-from"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, first.Close()) })
	if _, err := c.Sink.Open(t.Context(), out, bridgetest.Env(t, "test-to")); !bridge.IsPermanent(err) ||
		!strings.Contains(err.Error(), "differ") {
		t.Errorf("without the will: got %v, want a permanent error", err)
	}
	out.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "will"}}
	second, err := c.Sink.Open(t.Context(), out, bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, second.Close())
}

// What a bridge has published to be retained does not come back when it connects again, when it may
// be older than what the other side has by now.
func TestRetainedMessagesOfABridgeDoNotComeBack(t *testing.T) {
	broker := bridgetest.StartMosquitto(t).URL + "#5"
	in, out := sourceSettings(t, broker, 1, "#"), sinkSettings(t, broker, 1)
	in.Bridge, out.Bridge, out.Retain = "site", "site", keepsFlag{}
	c, env, live := mqtt.Connector(), bridgetest.Env(t, "test-from"), client(t, broker, nil)
	kept := text("mine", "kept")
	kept.Header = map[string]string{"mqtt_retained": "true"}
	for range 2 {
		source, err := c.Source.Open(t.Context(), in, env)
		if err != nil {
			t.Fatal(err)
		}
		sink, err := c.Sink.Open(t.Context(), out, bridgetest.Env(t, "test-to"))
		if err != nil {
			t.Fatal(err)
		}
		done(t, live.Publish("live", 1, false, "live"))
		if m := read(t, source, 1)[0]; m.Topic != "live" {
			t.Errorf("got %s %q, want what others publish only", m.Topic, m.Payload)
		}
		write(t, sink, bridge.Batch{kept})
		closed(t, sink.Close())
		closed(t, source.Close())
	}
}
