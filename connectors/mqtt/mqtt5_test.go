package mqtt_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// What a message has beside its payload is in its headers, and in the message that a sink makes of
// it as it was.
func TestPropertiesCross(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	address := broker.URL + "#5"
	format, expiry := byte(1), uint32(3600)
	for i, c := range []struct {
		properties paho.PublishProperties
		want       map[string]string
	}{
		{paho.PublishProperties{}, nil},
		{
			paho.PublishProperties{User: paho.UserProperties{{Key: "a", Value: "1"}, {Key: "b", Value: "ü 2"}}},
			map[string]string{"a": "1", "b": "ü 2"},
		},
		{
			paho.PublishProperties{
				ContentType: "text/plain", PayloadFormat: &format, MessageExpiry: &expiry, ResponseTopic: "answers/1",
				CorrelationData: []byte("\x00\xff\r\n"),
			},
			map[string]string{
				"mqtt_content_type": "text/plain", "mqtt_payload_format": "utf-8", "mqtt_expiry": "3600",
				"mqtt_response_topic": "answers/1", "mqtt_correlation_data": "AP8NCg==",
			},
		},
		{
			paho.PublishProperties{User: paho.UserProperties{
				{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}, {Key: "mqtt_retained", Value: "true"},
			}},
			map[string]string{
				"a": "2", "b": "1", "mqtt_properties": `[["b","1"],["a","2"],["b","3"],["mqtt_retained","true"]]`,
			},
		},
		{
			paho.PublishProperties{User: paho.UserProperties{{Key: "", Value: "nameless"}}},
			map[string]string{"mqtt_properties": `[["","nameless"]]`},
		},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			set := sourceSettings(t, address, 1, "from/#")
			set.ClientID = fmt.Sprint("crossing-", i)
			from, to := openSource(t, set), openSink(t, sinkSettings(t, address, 1))
			in := subscribe5(t, address, "to/#")
			send5(t, client5(t, address, new(inbox5)), &paho.Publish{
				Topic: "from/x", QoS: 1, Payload: []byte("payload"), Properties: &c.properties,
			})
			m := read(t, from, 1)[0]
			if diff := cmp.Diff(c.want, m.Header); diff != "" {
				t.Errorf("headers: %s", diff)
			}
			m.Topic = "to/x"
			write(t, to, bridge.Batch{m})
			got := in.wait(t, 1)[0]
			if got.Properties.MessageExpiry != nil && *got.Properties.MessageExpiry >= expiry-60 {
				got.Properties.MessageExpiry = &expiry // less what it took
			}
			if diff := cmp.Diff(c.properties.User, got.Properties.User, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("user properties: %s", diff)
			}
			got.Properties.User, c.properties.User = nil, nil
			if diff := cmp.Diff(&c.properties, got.Properties); diff != "" || string(got.Payload) != "payload" {
				t.Errorf("payload %q, properties: %s", got.Payload, diff)
			}
		})
	}
}

// Steps, and other systems, write headers: what stands there counts, in a form that no broker hangs
// up at.
func TestHeadersBecomeProperties(t *testing.T) {
	address := bridgetest.StartMosquitto(t).URL + "#5"
	in := subscribe5(t, address, "#")
	sink := openSink(t, sinkSettings(t, address, 1))
	m := text("t", "payload \xff")
	m.Header = map[string]string{
		"b": "changed", "c": "new", "a": "line\nline\x00\xff ü",
		"mqtt_properties":     `[["b","1"],["gone","2"],["b","3"]]`,
		"mqtt_retained":       "true",
		"mqtt_payload_format": "utf-8", // which it no longer is
	}
	write(t, sink, bridge.Batch{m})
	got := in.wait(t, 1)[0].Properties
	want := paho.UserProperties{
		{Key: "b", Value: "changed"}, {Key: "b", Value: "3"}, {Key: "a", Value: "line%0Aline%00%FF ü"}, {Key: "c", Value: "new"},
	}
	if diff := cmp.Diff(want, got.User); diff != "" || got.PayloadFormat != nil {
		t.Errorf("payload format %v, user properties: %s", got.PayloadFormat, diff)
	}
	for _, h := range []map[string]string{
		{"mqtt_response_topic": "a/#"},
		{"mqtt_expiry": "soon"},
		{"mqtt_expiry": "4294967296"},
		{"mqtt_correlation_data": "%"},
		{"mqtt_content_type": strings.Repeat("x", 1<<16)},
		{"name": strings.Repeat("x", 1<<16)},
	} {
		m.Header = h
		r, err := sink.Write(t.Context(), bridge.Batch{m, text("t", "behind it")})
		if r.Settled != 2 || len(r.Refused) != 1 || err != nil || !strings.Contains(fmt.Sprint(r.Refused[0].Err), "header ") {
			t.Errorf("%.50q: got %+v, %v, want a refusal that names the header", h, r, err)
		}
	}
}

// A message loses of its expiry what it has waited for, and is left out when nothing is left.
func TestExpiryRunsOut(t *testing.T) {
	address := bridgetest.StartMosquitto(t).URL + "#5"
	in := subscribe5(t, address, "#")
	sink := openSink(t, sinkSettings(t, address, 1))
	old := func(age time.Duration, expiry string) bridge.Message {
		m := text("t", expiry)
		m.Time, m.Header = time.Now().Add(-age), map[string]string{"mqtt_expiry": expiry}
		return m
	}
	r, err := sink.Write(t.Context(), bridge.Batch{
		text("t", "first"), old(time.Hour, "3000"), old(time.Hour, "7200"), text("#", "refused"), old(time.Hour, "10"),
	})
	want := bridge.Result{Settled: 5, Omitted: []int{1, 4}}
	if len(r.Refused) != 1 || r.Refused[0].Index != 3 || err != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	if r.Refused = nil; cmp.Diff(want, r) != "" {
		t.Error(cmp.Diff(want, r))
	}
	got := in.wait(t, 2)
	if left := *got[1].Properties.MessageExpiry; string(got[1].Payload) != "7200" || left > 3600 || left < 3500 {
		t.Errorf("%q has %d seconds left, want 3600 less what it took", got[1].Payload, left)
	}
}

// What a broker does not take is never delivered: refused, or not settled.
func TestReasonsOfPublications(t *testing.T) {
	for _, c := range []struct {
		qos, reason byte
		refused     bool
	}{
		{1, 0x80, false},
		{1, 0x83, false},
		{1, 0x87, true},
		{1, 0x90, true},
		{1, 0x91, false},
		{1, 0x95, true},
		{1, 0x97, false},
		{1, 0x99, true},
		{2, 0x80, false},
		{2, 0x87, true},
		{2, 0x97, false},
	} {
		t.Run(fmt.Sprintf("QoS%d/%#x", c.qos, c.reason), func(t *testing.T) {
			address := standIn5(t, func(p peer5) {
				p.welcome(packets.Properties{})
				for n := 0; ; n++ {
					all := packets.Properties{}
					reason := byte(0x10) // nobody has subscribed, which is no refusal
					switch m := p.next().(type) {
					case *packets.Publish:
						if string(m.Payload) == "bad" {
							reason, all.ReasonString = c.reason, "because"
						}
						if m.QoS == 1 {
							p.send(&packets.Puback{PacketID: m.PacketID, ReasonCode: reason, Properties: &all})
						} else {
							p.send(&packets.Pubrec{PacketID: m.PacketID, ReasonCode: reason, Properties: &all})
						}
					case *packets.Pubrel:
						p.send(&packets.Pubcomp{PacketID: m.PacketID, ReasonCode: 0x92, Properties: &all}) // it has forgotten it
					default:
						return
					}
				}
			})
			sink := openSink(t, sinkSettings(t, address, int(c.qos)))
			r, err := sink.Write(t.Context(), bridge.Batch{
				text("#", "no topic"), text("a", "1"), text("b", "bad"), text("#", "no topic"), text("c", "2"),
			})
			said := fmt.Sprint(err)
			for _, x := range r.Refused {
				said += fmt.Sprint(x.Err)
			}
			if !strings.Contains(said, `publish to "b": refused by the broker`) || !strings.Contains(said, "because") ||
				!strings.Contains(said, fmt.Sprintf("%#02x", c.reason)) {
				t.Errorf("said is %s", said)
			}
			if c.refused && (err != nil || r.Settled != 5 || len(r.Refused) != 3 || r.Refused[1].Index != 2) {
				t.Errorf("got %+v, %v, want one refusal", r, err)
			}
			if !c.refused && (err == nil || r.Settled != 2 || len(r.Refused) != 1 || bridge.IsPermanent(err)) {
				t.Errorf("got %+v, %v, want an error that may pass", r, err)
			}
		})
	}
}

// Mosquitto says what its ACLs do not allow in version 5 only. Behind that it hangs up where its
// queues have no limit, which is none of ours.
func TestPublicationThatIsNotAuthorised(t *testing.T) {
	acl := file(t, "acl", "topic readwrite open/#\ntopic read #\n")
	address := bridgetest.StartMosquitto(t, "acl_file "+acl, "max_queued_messages 1000").URL + "#5"
	for qos := 1; qos <= 2; qos++ {
		in := subscribe5(t, address, "#")
		sink := openSink(t, sinkSettings(t, address, qos))
		r, err := sink.Write(t.Context(), bridge.Batch{text("open/1", "1"), text("closed", "2"), text("open/2", "3")})
		if err != nil || r.Settled != 3 || len(r.Refused) != 1 || r.Refused[0].Index != 1 ||
			!strings.Contains(r.Refused[0].Err.Error(), "not authorised") {
			t.Fatalf("QoS %d: got %+v, %v, want the second refused", qos, r, err)
		}
		if got := in.wait(t, 2); string(got[0].Payload)+string(got[1].Payload) != "13" {
			t.Errorf("QoS %d: got %q and %q", qos, got[0].Payload, got[1].Payload)
		}
	}
}

// Where the queues of mosquitto have no limit it hangs up behind what it refuses: what is not refused
// passes all the same.
func TestHangUpBehindARefusal(t *testing.T) {
	acl := file(t, "acl", "topic readwrite open/#\ntopic read #\n")
	address := bridgetest.StartMosquitto(t, "acl_file "+acl, "max_queued_messages 0").URL + "#5"
	for qos := 1; qos <= 2; qos++ {
		in, c := subscribe5(t, address, "#"), mqtt.Connector()
		rest := bridge.Batch{text("open/1", "1"), text("closed", "2"), text("open/2", "3")}
		refused := 0
		for try := 0; len(rest) > 0; try++ {
			if try == 5 {
				t.Fatalf("QoS %d: %d messages are left", qos, len(rest))
			}
			s, err := c.Sink.Open(t.Context(), sinkSettings(t, address, qos), bridgetest.Env(t, "test-to"))
			if err != nil {
				t.Fatal(err)
			}
			r, _ := s.Write(t.Context(), rest)
			refused += len(r.Refused)
			rest = rest[r.Settled:]
			closed(t, s.Close())
		}
		if refused != 1 {
			t.Errorf("QoS %d: %d were refused, want 1", qos, refused)
		}
		got := ""
		for _, m := range in.wait(t, 2) {
			got += string(m.Payload)
		}
		if !strings.HasPrefix(got, "1") || !strings.HasSuffix(got, "3") || strings.Contains(got, "2") {
			t.Errorf("QoS %d: got %q", qos, got)
		}
	}
}

// A broker says how much it takes at a time, and how large it may be.
func TestLimitsOfTheBroker(t *testing.T) {
	for _, receive := range []uint16{1, 2, 7} {
		for qos := 1; qos <= 2; qos++ {
			var most atomic.Int32
			size := uint32(200)
			address := standIn5(t, func(p peer5) {
				p.welcome(packets.Properties{ReceiveMaximum: &receive, MaximumPacketSize: &size})
				waiting := []uint16{}
				for {
					for len(waiting) > 0 && (p.r.Buffered() == 0 || len(waiting) > int(receive)) {
						if qos == 1 {
							p.send(&packets.Puback{PacketID: waiting[0], Properties: &packets.Properties{}})
						} else {
							p.send(&packets.Pubrec{PacketID: waiting[0], Properties: &packets.Properties{}})
						}
						waiting = waiting[1:]
					}
					switch m := p.next().(type) {
					case *packets.Publish:
						if m.QoS > 0 {
							waiting = append(waiting, m.PacketID)
						}
						most.Store(max(most.Load(), int32(len(waiting))))
					case *packets.Pubrel:
						p.send(&packets.Pubcomp{PacketID: m.PacketID, Properties: &packets.Properties{}})
					default:
						return
					}
				}
			})
			set := sinkSettings(t, address, qos)
			set.Birth = &mqtt.Notice{Topic: "status", QoS: 1}
			sink := openSink(t, set)
			batch := append(bridgetest.Numbered(50), text("t", strings.Repeat("x", 300)))
			r, err := sink.Write(t.Context(), batch)
			if err != nil || r.Settled != 51 || len(r.Refused) != 1 ||
				!strings.Contains(r.Refused[0].Err.Error(), "200 at most") {
				t.Errorf("got %+v, %v", r, err)
			}
			if n := most.Load(); n > int32(receive) {
				t.Errorf("receive maximum %d, QoS %d: %d messages were on their way", receive, qos, n)
			}
		}
	}
}

// A topic is sent once to a broker that takes an alias for it.
func TestTopicAliases(t *testing.T) {
	var bytes atomic.Int64
	most := uint16(2)
	topics := make(chan string, 100)
	address := standIn5(t, func(p peer5) {
		p.welcome(packets.Properties{TopicAliasMaximum: &most})
		known := make(map[uint16]string)
		for {
			m, ok := p.next().(*packets.Publish)
			if !ok {
				return
			}
			bytes.Add(int64(len(m.Topic)))
			if m.Properties.TopicAlias != nil {
				if m.Topic != "" {
					known[*m.Properties.TopicAlias] = m.Topic
				}
				m.Topic = known[*m.Properties.TopicAlias]
			}
			if len(known) > int(most) {
				m.Topic = "too many aliases"
			}
			topics <- m.Topic + "=" + string(m.Payload)
			p.send(&packets.Puback{PacketID: m.PacketID, Properties: &packets.Properties{}})
		}
	})
	sink := openSink(t, sinkSettings(t, address, 1))
	var batch bridge.Batch
	for i := range 30 {
		topic := []string{"sensors/first", "sensors/second", "sensors/third", "s"}[i%4]
		batch = append(batch, text(topic, topic))
	}
	batch[5].Payload = []byte(strings.Repeat("x", 5000)) // sent by itself
	write(t, sink, batch)
	for _, m := range batch {
		if got, want := <-topics, m.Topic+"="+string(m.Payload); got != want {
			t.Errorf("got %.30q, want %.30q", got, want)
		}
	}
	if n, want := bytes.Load(), int64(len("sensors/first")+len("sensors/second")+7*len("sensors/third")+7); n != want {
		t.Errorf("%d bytes of topics, want %d", n, want)
	}
	closed(t, sink.Close())
	real := bridgetest.StartMosquitto(t).URL + "#5"
	in := subscribe5(t, real, "#")
	write(t, openSink(t, sinkSettings(t, real, 1)), batch)
	for i, m := range in.wait(t, len(batch)) {
		if m.Topic != batch[i].Topic {
			t.Errorf("message %d: topic %q, want %q", i, m.Topic, batch[i].Topic)
		}
	}
}

// A broker that does not speak 5 costs one connection, once.
func TestOlderBrokers(t *testing.T) {
	for name, refuse := range map[string][]byte{
		"as 3.1.1": {0x20, 2, 0, 1}, "as 5": {0x20, 3, 0, 0x84, 0}, "hangs up": {}, "takes it for 3.1.1": {0x20, 2, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var fives, fours atomic.Int32
			address := standIn(t, func(p *peer) {
				begin, err := p.r.Peek(9)
				if err != nil {
					return
				}
				if begin[8] == 5 {
					fives.Add(1)
					_, _ = p.Write(refuse)
					return
				}
				fours.Add(1)
				p.welcome()
				p.drain()
			})
			set := sinkSettings(t, strings.Replace(address, "3.1.1", "auto", 1), 0)
			c := mqtt.Connector()
			for range 3 {
				s, err := c.Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
				if err != nil {
					t.Fatal(err)
				}
				closed(t, s.Close())
			}
			want := int32(1)
			if name == "hangs up" {
				want = 2 // the first may be by chance
			}
			if fives.Load() != want || fours.Load() != 3 {
				t.Errorf("%d connections with 5 and %d with 3.1.1, want %d and 3", fives.Load(), fours.Load(), want)
			}
			set.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "w"}, Delay: time.Second}
			_, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
			if name != "hangs up" && (!bridge.IsPermanent(err) || !strings.Contains(err.Error(), "will.delay needs MQTT 5")) {
				t.Errorf("got %v, want that will.delay needs MQTT 5", err)
			}
			if fours.Load() != 3 {
				t.Error("connected without what settings need")
			}
		})
	}
}

// What has a broker of MQTT 5 spoken to in 3.1.1 once does not keep it from being spoken to in 5: that
// it was coming up, or that another pipeline wants 3.1.1.
func TestOlderByChance(t *testing.T) {
	for _, chance := range []string{"hangs up", "another pipeline"} {
		t.Run(chance, func(t *testing.T) {
			var connections, fives atomic.Int32
			address := standIn(t, func(p *peer) {
				begin, err := p.r.Peek(9)
				if n := connections.Add(1); err != nil || n == 1 && chance == "hangs up" {
					return
				}
				if begin[8] == 5 {
					fives.Add(1)
					peer5{p}.welcome(packets.Properties{})
					peer5{p}.drain()
					return
				}
				p.welcome()
				p.drain()
			})
			c := mqtt.Connector()
			for _, protocol := range []string{"3.1.1", "auto"} {
				if chance == "hangs up" {
					protocol = "auto"
				}
				set := sinkSettings(t, strings.Replace(address, "3.1.1", protocol, 1), 0)
				s, err := c.Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
				if err != nil {
					t.Fatal(err)
				}
				closed(t, s.Close())
			}
			if fives.Load() != 1 {
				t.Errorf("%d of %d connections are of MQTT 5, want the last", fives.Load(), connections.Load())
			}
		})
	}
}

// What a broker refuses has a reason and often a text.
func TestRefusalsOfConnections(t *testing.T) {
	for reason, permanent := range map[byte]bool{
		0x85: true, 0x86: true, 0x87: true, 0x88: false, 0x89: false, 0x97: false, 0x9c: false, 0x9d: true,
	} {
		address := standIn5(t, func(p peer5) {
			p.next()
			p.send(&packets.Connack{
				ReasonCode: reason, Properties: &packets.Properties{ReasonString: "because", ServerReference: "other:1883"},
			})
			p.drain()
		})
		_, err := mqtt.Connector().Sink.Open(t.Context(), sinkSettings(t, address, 1), bridgetest.Env(t, "test-to"))
		said := fmt.Sprint(err)
		if bridge.IsPermanent(err) != permanent || !strings.Contains(said, "because") || !strings.Contains(said, "other:1883") ||
			!strings.Contains(said, fmt.Sprintf("%#x", reason)) {
			t.Errorf("%#x: got %v (permanent: %t), want permanent: %t", reason, err, bridge.IsPermanent(err), permanent)
		}
	}
}

func TestDisconnectSaysWhy(t *testing.T) {
	address := standIn5(t, func(p peer5) {
		p.welcome(packets.Properties{})
		p.grant(1)
		p.send(&packets.Disconnect{ReasonCode: 0x8e, Properties: &packets.Properties{ReasonString: "somebody else"}})
	})
	source, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 1, "t"),
		bridgetest.Env(t, "test-from"))
	if err == nil { // it may come before the subscription is known here
		defer source.Close()
		_, _, err = source.Read(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "taken over its client_id") ||
		!strings.Contains(err.Error(), "somebody else") {
		t.Errorf("err = %v, want one that says why", err)
	}
}

func TestRefusedSubscriptions(t *testing.T) {
	for reason, permanent := range map[byte]bool{0x87: true, 0x80: true, 0x9e: true, 0x97: false, 0x83: false} {
		address := standIn5(t, func(p peer5) { p.welcome(packets.Properties{}); p.grant(1, reason); p.drain() })
		_, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 1, "a", "b"),
			bridgetest.Env(t, "test-from"))
		if err == nil || bridge.IsPermanent(err) != permanent || !strings.Contains(err.Error(), `subscribe "b": refused`) ||
			!strings.Contains(err.Error(), fmt.Sprintf("%#x", reason)) {
			t.Errorf("%#x: got %v (permanent: %t), want permanent: %t", reason, err, bridge.IsPermanent(err), permanent)
		}
	}
}

// A subscription that the broker does not end, now that topics does not name it, holds up nothing.
func TestRefusedUnsubscribe(t *testing.T) {
	for reason, ends := range map[byte]bool{0x87: false, 0x80: false, 0x83: true} {
		address := standIn5(t, func(p peer5) {
			p.next()
			p.send(&packets.Connack{SessionPresent: true, Properties: &packets.Properties{}})
			p.grant(1)
			for m := p.next(); m != nil; m = p.next() {
				if u, ok := m.(*packets.Unsubscribe); ok {
					p.send(&packets.Unsuback{PacketID: u.PacketID, Reasons: []byte{reason}, Properties: &packets.Properties{}})
					p.send(&packets.Publish{Topic: "now", Payload: []byte("x"), Properties: &packets.Properties{}})
				}
			}
		})
		env := bridgetest.Env(t, "test-from")
		before := `{"client_id":"xrtcbridge-test-from","filters":["before"]}`
		if err := env.Checkpoint.Save(t.Context(), []byte(before)); err != nil {
			t.Fatal(err)
		}
		s, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 1, "now"), env)
		if err == nil {
			defer s.Close()
			_, _, err = next(t, s)
		}
		if (err != nil) != ends || ends && !strings.Contains(err.Error(), "unsubscribe: refused by the broker") {
			t.Errorf("%#x: got %v, want an error: %t", reason, err, ends)
		}
	}
}

// A notice that the broker would hang up at, each time, is an error that says so.
func TestNoticesThatCannotBeRetained(t *testing.T) {
	no := byte(0)
	var notices atomic.Int32
	address := standIn5(t, func(p peer5) {
		p.welcome(packets.Properties{RetainAvailable: &no})
		for m := p.next(); m != nil; m = p.next() {
			if _, ok := m.(*packets.Publish); ok {
				notices.Add(1)
			}
		}
	})
	for _, which := range []string{"birth", "will"} {
		set := sinkSettings(t, address, 1)
		if which == "birth" {
			set.Birth = &mqtt.Notice{Topic: "status", Retain: true}
		} else {
			set.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "status", Retain: true}}
		}
		s, err := mqtt.Connector().Sink.Open(t.Context(), set, bridgetest.Env(t, "test-to"))
		if err == nil {
			closed(t, s.Close())
		}
		if !bridge.IsPermanent(err) || !strings.Contains(fmt.Sprint(err), "leave out "+which+".retain") {
			t.Errorf("%s: got %v", which, err)
		}
		if notices.Load() > 0 {
			t.Errorf("%s: it has been sent", which)
		}
	}
}

// What settings say of the session, of subscriptions and the will is what the broker is told.
func TestWhatTheBrokerIsTold(t *testing.T) {
	type told struct {
		connect   *packets.Connect
		subscribe *packets.Subscribe
	}
	heard := make(chan told, 1)
	less, interval := uint32(60), uint16(1)
	address := standIn5(t, func(p peer5) {
		c := p.welcome(packets.Properties{SessionExpiryInterval: &less, ServerKeepAlive: &interval})
		heard <- told{c, p.grant(1)}
		p.drain()
	})
	set := sourceSettings(t, address, 1, "t")
	set.SessionExpiry, set.MaxInflight, set.Retained, set.RetainAsPublished = 2*time.Hour, 7, "none", true
	set.Will = &mqtt.Will{Delay: 3 * time.Second, Notice: mqtt.Notice{
		Topic: "w", Payload: "gone", QoS: 1,
		Header: map[string]string{"unit": "C", "mqtt_content_type": "text/plain"},
	}}
	log := new(logged)
	env := bridgetest.Env(t, "test-from")
	env.Logger = slog.New(slog.NewTextHandler(log, nil))
	openWith(t, set, env)
	got := <-heard
	p, w, o := got.connect.Properties, got.connect.WillProperties, got.subscribe.Subscriptions[0]
	if *p.SessionExpiryInterval != 7200 || *p.ReceiveMaximum != 7 || got.connect.CleanStart || p.MaximumPacketSize != nil {
		t.Errorf("CONNECT says %v", p)
	}
	if *w.WillDelayInterval != 3 || string(got.connect.WillMessage) != "gone" ||
		cmp.Diff(w.User, []packets.User{{Key: "unit", Value: "C"}}) != "" || w.ContentType != "text/plain" {
		t.Errorf("the will has %v", w)
	}
	if o.QoS != 1 || o.RetainHandling != 2 || !o.RetainAsPublished || o.NoLocal {
		t.Errorf("the subscription has %+v", o)
	}
	if !strings.Contains(log.String(), "keeps=1m0s") {
		t.Errorf("the log says %q, want for how long the session is kept", log.String())
	}
}

// A clean session ends with its connection, unless a will is to wait.
func TestSessionExpiryOfCleanSessions(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Minute} {
		heard := make(chan *packets.Connect, 1)
		address := standIn5(t, func(p peer5) { heard <- p.welcome(packets.Properties{}); p.drain() })
		set := sinkSettings(t, address, 1)
		set.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "w"}, Delay: delay}
		openSink(t, set)
		c := <-heard
		if got := *c.Properties.SessionExpiryInterval; got != uint32(delay/time.Second) || !c.CleanStart {
			t.Errorf("a delay of %v: the session is kept for %d s", delay, got)
		}
	}
}

func TestRetainedMessages(t *testing.T) {
	address := bridgetest.StartMosquitto(t).URL + "#5"
	c := client5(t, address, new(inbox5))
	send5(t, c, &paho.Publish{Topic: "state", QoS: 1, Retain: true, Payload: []byte("kept")})
	for retained, want := range map[string]string{
		"all": "kept true\nlive \nkept true\nlive \n", "none": "live \nlive \n", "once": "kept true\nlive \nlive \n",
	} {
		set := sourceSettings(t, address, 1, "state", "live")
		set.ClientID, set.Retained = "retained-"+retained, retained
		env := bridgetest.Env(t, "test-from")
		got := ""
		for range 2 {
			s := openWith(t, set, env)
			send5(t, c, &paho.Publish{Topic: "live", QoS: 1, Payload: []byte("live")})
			for came := ""; came != "live"; {
				for _, m := range read(t, s, 1) {
					came = string(m.Payload)
					got += fmt.Sprintf("%s %s\n", m.Payload, m.Header["mqtt_retained"])
				}
			}
			closed(t, s.Close())
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", retained, got, want)
		}
	}
	set := sourceSettings(t, address, 1, "flagged")
	set.RetainAsPublished = true
	s := openSource(t, set)
	send5(t, c, &paho.Publish{Topic: "flagged", QoS: 1, Retain: true, Payload: []byte("x")})
	if m := read(t, s, 1)[0]; m.Header["mqtt_retained"] != "true" {
		t.Errorf("got %v, want the flag", m.Header)
	}
}
