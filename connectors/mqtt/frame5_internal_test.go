package mqtt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"
)

// everyProperty is a block with all that a PUBLISH may have.
func everyProperty() []byte {
	b := []byte{propPayloadFormat, 1, propExpiry, 0, 0, 1, 44, propTopicAlias, 0, 9, 11, 0x85, 1}
	b = appendField(append(b, propContentType), "text/plain")
	b = appendField(append(b, propResponseTopic), "answers/1")
	b = appendField(append(b, propCorrelationData), []byte{0, 1, 0xff})
	for _, v := range []string{"b", "1", "a", "2", "b", "3"} {
		if v > "9" {
			b = append(b, propUser)
		}
		b = appendField(b, v)
	}
	return b
}

func FuzzFramesOfMQTT5(f *testing.F) {
	o := outgoing{topic: "a/b", payload: []byte("payload"), qos: 1, id: 7, five: true, properties: everyProperty()}
	seed := o.append(nil)
	o.properties, o.qos = nil, 0
	seed = appendAck(o.append(seed), pubrel, 7)
	seed = append(seed, puback<<4, 3, 0, 1, 0x87, pingresp<<4, 0, pubrec<<4, 4, 0, 1, 0x97, 0)
	seed = append(seed, append([]byte{pubcomp << 4, 9, 0, 2, 0x92, 5, propReasonString}, 0, 2, 'n', 'o')...)
	f.Add(seed, uint64(1))
	f.Add([]byte{0x30, 9, 0, 1, 'a', 0xff, 0xff, 0xff, 0x7f, 'x', 'y'}, uint64(2)) // longer than the packet
	f.Add([]byte{0x30, 6, 0, 1, 'a', 2, propContentType, 0}, uint64(3))            // cut within a property
	f.Add([]byte{0x30, 6, 0, 1, 'a', 2, 99, 0}, uint64(4))                         // of no such kind
	f.Add(append([]byte{0x30, 0xf0, 0xff, 0x7f, 0, 1, 'a', 0xe0, 0xff, 0x7f}, everyProperty()...), uint64(5))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole := screen(stream, nil, true)
		split := screen(stream, rand.New(rand.NewPCG(seed, 0)), true)
		if diff := cmp.Diff(whole.text(), split.text()); diff != "" {
			t.Fatalf("it matters how the stream is split:\n%s", diff)
		}
		r := bytes.NewReader(stream)
		for i, f := range whole.frames {
			if f.cut {
				return // paho would allocate it
			}
			cp, err := packets.ReadPacket(r)
			for err == nil && cp.Type == packets.PINGRESP {
				cp, err = packets.ReadPacket(r)
			}
			if err != nil {
				if strings.Contains(err.Error(), "invalid Prop") {
					return // it is stricter about what may stand in which packet
				}
				t.Fatalf("frame %d, %x %x: paho says %v", i, f.head, f.body, err)
			}
			if have, want := describe5(f), describePaho(cp); have != want {
				t.Fatalf("frame %d: got %q, paho has %q", i, have, want)
			}
		}
	})
}

func describe5(f frame) string {
	if f.kind() != publish {
		id, reason, _ := parseAck(f)
		return fmt.Sprint(f.kind(), id, reason)
	}
	p, _ := parsePublish(f)
	var all packets.Properties
	_ = eachProperty(p.properties, func(x property) {
		switch x.id {
		case propExpiry:
			n := uint32(x.number)
			all.MessageExpiry = &n
		case propPayloadFormat:
			n := byte(x.number)
			all.PayloadFormat = &n
		case propTopicAlias:
			n := uint16(x.number)
			all.TopicAlias = &n
		case 11:
			all.SubscriptionIdentifier = &x.number
		case propContentType:
			all.ContentType = string(x.text)
		case propResponseTopic:
			all.ResponseTopic = string(x.text)
		case propCorrelationData:
			all.CorrelationData = x.text
		case propUser:
			all.User = append(all.User, packets.User{Key: string(x.name), Value: string(x.text)})
		}
	})
	return fmt.Sprintf("%d %q %q %d %d %t %s", publish, p.topic, p.payload, p.id, f.qos(), f.retained(), &all)
}

func describePaho(cp *packets.ControlPacket) string {
	switch p := cp.Content.(type) {
	case *packets.Puback:
		return fmt.Sprint(cp.Type, p.PacketID, p.ReasonCode)
	case *packets.Pubrec:
		return fmt.Sprint(cp.Type, p.PacketID, p.ReasonCode)
	case *packets.Pubrel:
		return fmt.Sprint(cp.Type, p.PacketID, p.ReasonCode)
	case *packets.Pubcomp:
		return fmt.Sprint(cp.Type, p.PacketID, p.ReasonCode)
	case *packets.Publish:
		return fmt.Sprintf("%d %q %q %d %d %t %s", publish, p.Topic, p.Payload, p.PacketID, p.QoS, p.Retain, p.Properties)
	}
	return fmt.Sprint(cp)
}

func TestOutgoingOfMQTT5IsWhatPahoReads(t *testing.T) {
	for _, size := range []int{0, 1, 60, 127, 16384, 70_000, 2_097_152} {
		for qos := range byte(3) {
			for _, block := range [][]byte{nil, everyProperty(), bytes.Repeat(everyProperty(), 20)} {
				o := outgoing{
					topic: "a/ü", payload: bytes.Repeat([]byte("x"), size), qos: qos, retain: qos == 1, id: 300,
					five: true, properties: block,
				}
				b := o.append(nil)
				if len(b) != o.size() {
					t.Errorf("size %d: it is said to be %d, and is %d", size, o.size(), len(b))
				}
				cp, err := packets.ReadPacket(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				f, whole, err := nextFrame(b, len(b))
				if f.five = true; !whole || err != nil || describe5(f) != describePaho(cp) {
					t.Errorf("%t, %v: got %q, paho reads %q", whole, err, describe5(f), describePaho(cp))
				}
			}
		}
	}
}

// Each of all kinds is taken whole, and none that is cut anywhere.
func TestPropertiesThatAreCut(t *testing.T) {
	block := append(everyProperty(), 23, 1, propServerKeepalive, 0, 1, propSessionExpiry, 0, 0, 0, 1)
	ends := map[int]bool{0: true}
	for rest := block; len(rest) > 0; {
		_, size := nextProperty(rest)
		if size == 0 {
			t.Fatalf("property %d is taken for none", rest[0])
		}
		rest = rest[size:]
		ends[len(block)-len(rest)] = true
	}
	for n := range block {
		if err := eachProperty(block[:n], func(property) {}); (err == nil) != ends[n] {
			t.Errorf("cut at %d: got %v, want an error: %t", n, err, !ends[n])
		}
	}
}

// What a message has beside its payload takes no memory above the limit, on whatever its length.
func TestTooLargePropertiesAreNotHeld(t *testing.T) {
	const limit = 1000
	for _, n := range []int{900, 1 << 20} {
		body := binary.BigEndian.AppendUint16([]byte{0, 1, 'a'}, 7)
		body = appendVarint(body, n+3)
		body = append(appendField(append(body, propContentType), bytes.Repeat([]byte("c"), min(n, 60_000))), make([]byte, n)...)
		stream := append(appendVarint([]byte{publish<<4 | 2}, len(body)), body...)
		stream = appendAck(stream, pubrel, 7)
		for random := range uint64(20) {
			r := &recorder{}
			c := newConn(&pieces{text: stream, random: rand.New(rand.NewPCG(random, 0))}, nil, r, identity{five: true}, limit)
			c.greeted = true
			c.readAll()
			if len(r.frames) != 2 || !r.frames[0].cut || len(r.frames[0].body) > limit {
				t.Fatalf("%d bytes: got %d frames, and %v", n, len(r.frames), c.cause)
			}
			p, err := parsePublish(r.frames[0])
			if err != nil || string(p.topic) != "a" || p.id != 7 || (p.properties == nil) != (n > limit) {
				t.Errorf("%d bytes: got %q, id %d, %d bytes of properties, %v", n, p.topic, p.id, len(p.properties), err)
			}
		}
	}
}
