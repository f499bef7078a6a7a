package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"
)

// pieces is a connection on which a text arrives in pieces of random size.
type pieces struct {
	net.Conn
	text   []byte
	random *rand.Rand // nil: all at once
}

func (p *pieces) Read(b []byte) (int, error) {
	n := min(len(b), len(p.text))
	if n == 0 {
		return 0, io.EOF
	}
	if p.random != nil {
		n = 1 + p.random.IntN(n)
	}
	copy(b, p.text[:n])
	p.text = p.text[n:]
	return n, nil
}

func (*pieces) Close() error { return nil }

// recorder is a peer that writes down what it gets, but looks at it only at the end, when
// it must still be there.
type recorder struct {
	frames []frame
	cause  error
}

func (r *recorder) frame(f frame) error {
	if f.kind() == publish {
		p, err := parsePublish(f)
		if err == nil {
			err = eachProperty(p.properties, func(property) {})
		}
		if err != nil {
			return err
		}
	} else {
		if f.kind() < puback || f.kind() > pubcomp {
			return unexpectedError(f.head)
		}
		if _, _, err := parseAck(f); err != nil {
			return err
		}
		f.body = bytes.Clone(f.body) // only a PUBLISH may be kept
	}
	r.frames = append(r.frames, f)
	return nil
}

func (*recorder) flush(*conn) {}

func (*recorder) waits() bool { return false }

func (*recorder) lost(error) {}

func (r *recorder) text() []string {
	out := make([]string, 0, len(r.frames))
	for _, f := range r.frames {
		if f.cut { // where, hangs on what has arrived
			p, _ := parsePublish(f)
			f.body = slices.Concat(p.topic, []byte{0, byte(p.id >> 8), byte(p.id)}, p.properties)
		}
		out = append(out, fmt.Sprintf("%x %x", f.head, f.body))
	}
	return out
}

const testLimit = 300_000

func appendPublish(b []byte, topic string, payload []byte, qos byte, retain bool, id uint16) []byte {
	o := outgoing{topic: topic, payload: payload, qos: qos, retain: retain, id: id}
	return o.append(b)
}

// screen runs stream through a conn.
func screen(stream []byte, random *rand.Rand, five bool) *recorder {
	r := &recorder{}
	c := newConn(&pieces{text: stream, random: random}, nil, r, identity{five: five}, testLimit)
	c.greeted = true
	c.readAll()
	r.cause = c.cause
	return r
}

// stricter tells whether paho lets a packet pass that we do not.
func stricter(cp packets.ControlPacket, cause error) bool {
	switch p := cp.(type) {
	case *packets.PublishPacket:
		return p.Qos == 3 || p.Qos > 0 && p.MessageID == 0
	case *packets.PubackPacket, *packets.PubrecPacket, *packets.PubrelPacket, *packets.PubcompPacket:
		return errors.Is(cause, errMalformed)
	case *packets.PingrespPacket:
		return errors.Is(cause, errMalformed)
	}
	return true // not for clients, or not twice
}

func FuzzFrames(f *testing.F) {
	seed := appendPublish(nil, "a/b", []byte("payload"), 1, false, 7)
	seed = appendAck(seed, pubrel, 7)
	seed = appendPublish(seed, "a/b", bytes.Repeat([]byte("x"), 200), 0, true, 0)
	seed = append(seed, pingresp<<4, 0)
	seed = appendPublish(seed, "", nil, 2, false, 65535)
	f.Add(seed, uint64(1))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0}, uint64(2))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0}, uint64(3))
	f.Add([]byte{0x90, 3, 0, 1, 1}, uint64(4))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint64(5))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole := screen(stream, nil, false)
		split := screen(stream, rand.New(rand.NewPCG(seed, 0)), false)
		if diff := cmp.Diff(whole.text(), split.text()); diff != "" {
			t.Fatalf("it matters how the stream is split:\n%s", diff)
		}
		oracle(t, stream, whole)
	})
}

func TestFramesOfAllSizesArriveWhole(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var stream []byte
	for i := range 300 {
		payload := make([]byte, random.IntN(1<<random.IntN(18)))
		for k := range payload {
			payload[k] = byte(random.Uint32())
		}
		stream = appendPublish(stream, "t", payload, byte(i%3), false, uint16(i+1))
		if i%7 == 0 {
			stream = append(appendAck(stream, pubrel, uint16(i+1)), pingresp<<4, 0)
		}
	}
	for range 5 {
		got := screen(stream, random, false)
		oracle(t, stream, got)
		if want := 300 + 43; len(got.frames) != want {
			t.Fatalf("got %d frames, want %d; the end is %v", len(got.frames), want, got.cause)
		}
	}
}

// oracle compares with what paho's own parser makes of the stream.
func oracle(t *testing.T, stream []byte, got *recorder) {
	r := bytes.NewReader(stream)
	for i, f := range got.frames {
		cp, err := packets.ReadPacket(r)
		for _, ping := cp.(*packets.PingrespPacket); ping && err == nil; _, ping = cp.(*packets.PingrespPacket) {
			cp, err = packets.ReadPacket(r)
		}
		if err != nil {
			t.Fatalf("frame %d: paho says %v", i, err)
		}
		want := fmt.Sprint(cp.Details())
		if p, ok := cp.(*packets.PublishPacket); ok {
			want += p.TopicName + string(p.Payload) + fmt.Sprint(p.Retain)
		}
		if have := describeFrame(f); have != want {
			t.Fatalf("frame %d: got %q, paho has %q", i, have, want)
		}
	}
	if strings.Contains(fmt.Sprint(got.cause), "packet of") || strings.Contains(fmt.Sprint(got.cause), "4 bytes") {
		return // paho would allocate it, or loop
	}
	for {
		cp, err := packets.ReadPacket(r)
		if err != nil {
			return
		}
		if p, ok := cp.(*packets.PingrespPacket); ok && p.RemainingLength == 0 {
			continue
		}
		if !stricter(cp, got.cause) {
			t.Fatalf("stopped at %v because of %v", cp, got.cause)
		}
		return
	}
}

func describeFrame(f frame) string {
	if f.kind() != publish {
		id, _, _ := parseAck(f)
		return fmt.Sprint(packets.Details{Qos: f.qos(), MessageID: id})
	}
	p, _ := parsePublish(f)
	return fmt.Sprint(packets.Details{Qos: f.qos(), MessageID: p.id}) + string(p.topic) + string(p.payload) +
		fmt.Sprint(f.retained())
}

func TestAppendPublishIsWhatPahoReads(t *testing.T) {
	for _, size := range []int{0, 1, 110, 127, 128, 16383, 16384, 70_000, 2_097_151, 2_097_152} {
		for qos := range byte(3) {
			payload := bytes.Repeat([]byte("x"), size)
			o := outgoing{topic: "a/ü", payload: payload, qos: qos, retain: qos == 1, id: 300}
			b := o.append(nil)
			if len(b) != o.size() {
				t.Errorf("size %d: it is said to be %d, and is %d", size, o.size(), len(b))
			}
			cp, err := packets.ReadPacket(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			p := cp.(*packets.PublishPacket)
			if p.TopicName != "a/ü" || !bytes.Equal(p.Payload, payload) || p.Qos != qos || p.Retain != (qos == 1) ||
				qos > 0 && p.MessageID != 300 {
				t.Errorf("size %d, QoS %d: paho reads %v", size, qos, p)
			}
		}
	}
}

// A packet that says it is big gets memory as it comes, not at once.
func TestP9MemoryIsNotGivenOnTrust(t *testing.T) {
	c := newConn(&pieces{}, nil, &recorder{}, identity{}, 256<<20)
	c.greeted = true
	c.slab = make([]byte, slabSize)
	c.w = copy(c.slab, []byte{publish << 4, 0xff, 0xff, 0xff, 0x7e, 0, 1, 'a'})
	for c.w < 1<<20 {
		if err := c.walk(); err != nil {
			t.Fatal(err)
		}
		c.makeRoom()
		if have := c.w - c.r; len(c.slab) > max(slabSize, 4*have) {
			t.Fatalf("%d bytes have come, and there is a buffer of %d", have, len(c.slab))
		}
		c.w = len(c.slab)
	}
}

// What is skipped of a message that is too large is not held.
func TestTooLargeMessageTakesNoMemory(t *testing.T) {
	const limit = 1000
	head := []byte{publish << 4, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a'}
	r := &recorder{}
	c := newConn(&pieces{}, nil, r, identity{}, limit)
	c.greeted = true
	c.makeRoom()
	c.w = copy(c.slab, head)
	for came := len(head); came < maxRemaining+5; {
		if err := c.walk(); err != nil {
			t.Fatal(err)
		}
		c.makeRoom()
		n := min(len(c.slab)-c.w, maxRemaining+5-came)
		c.w += n
		came += n
		if len(c.slab) > slabSize {
			t.Fatalf("%d bytes have come, and there is a buffer of %d", came, len(c.slab))
		}
	}
	if err := c.walk(); err != nil || len(r.frames) != 1 || len(r.frames[0].body) > limit || !r.frames[0].cut {
		t.Errorf("got %v, and frames %v, want one that is cut", err, r.frames)
	}
}

// The filters are judged as their definition says, level by level, over all short ones.
func TestFilters(t *testing.T) {
	var filters, topics []string
	for _, parts := range [][]string{{"a", "b", "+", "#", "$x"}, {"", "/a", "/b", "/+", "/#"}, {"", "/a", "/+", "/#"}} {
		var longer []string
		for _, p := range parts {
			if len(filters) == 0 {
				longer = append(longer, p)
			}
			for _, f := range filters {
				longer = append(longer, f+p)
			}
		}
		filters = longer
	}
	filters = slices.DeleteFunc(filters, func(f string) bool { return checkFilter(f) != nil })
	for _, f := range filters {
		if checkTopic(f) == nil {
			topics = append(topics, f, f+"/z")
		}
	}
	matching := make(map[string]map[string]bool)
	for _, f := range filters {
		matching[f] = make(map[string]bool)
		pattern := strings.NewReplacer("/#", "(/.*)?", "#", ".*", "+", "[^/]*", "$", `\$`).Replace(f)
		if f[0] == '+' || f[0] == '#' {
			pattern = "[^$]" + strings.TrimPrefix(pattern, "[^/]*")
			if f[0] == '+' {
				pattern = strings.Replace(pattern, "[^$]", "[^$/][^/]*", 1)
			}
		}
		for _, topic := range topics {
			want := regexp.MustCompile("^" + pattern + "$").MatchString(topic)
			matching[f][topic] = want
			if got := names([]string{"$share/g/" + f})(topic); got != want && !strings.HasPrefix(f, "$") {
				t.Errorf("%s names %s: got %t, want %t", f, topic, got, want)
			}
		}
	}
	for _, a := range filters {
		for _, b := range filters {
			all, some := true, false
			for topic, is := range matching[b] {
				all = all && (!is || matching[a][topic])
				some = some || is && matching[a][topic]
			}
			if covers(a, b) && !all {
				t.Errorf("%s covers %s", a, b)
			}
			if overlap(a, b) != some {
				t.Errorf("%s and %s overlap: got %t, want %t", a, b, !some, some)
			}
		}
	}
}

func TestUncovered(t *testing.T) {
	for text, want := range map[string]string{
		"a/# a/b":                        "a/#",
		"a/b a/+ c":                      "a/+ c",
		"a/+/c a/b/+":                    "a/+/c a/b/+",
		"# $SYS/#":                       "# $SYS/#",
		"# +/# a":                        "#",
		"$share/g/# a":                   "$share/g/# a",
		"$share/g/# $share/g/a":          "$share/g/#",
		"$share/g/# $share/h/a":          "$share/g/# $share/h/a",
		"a a/#":                          "a/#",
		"$SYS/broker/load $SYS/broker/+": "$SYS/broker/+",
	} {
		kept, dropped := uncovered(strings.Fields(text))
		if strings.Join(kept, " ") != want || len(kept)+len(dropped) != len(strings.Fields(text)) {
			t.Errorf("of %s: got %v, want %s", text, kept, want)
		}
	}
}

func TestWindow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, qos := range []byte{1, 2} {
		w := newWindow(100, qos)
		w.next, w.oldest = 65_500, 65_500 // soon the packet ids begin again
		for round := range 50 {
			first, room := w.room()
			if room != 100 {
				t.Fatalf("round %d: room for %d messages, want 100", round, room)
			}
			w.add(100)
			var acks []ack
			for _, i := range random.Perm(100) {
				acks = append(acks, ack{kind: puback + (qos - 1), id: packetID(first + uint64(i))})
			}
			acks = append(acks, ack{kind: acks[0].kind}, ack{kind: acks[0].kind, id: packetID(first + 100)}) // of no message
			last := acks[99].id
			if qos == 2 {
				replies, err := w.settle(acks, nil)
				if err != nil || len(replies) != 400 || w.acknowledged() != first {
					t.Fatalf("%d bytes of PUBREL, error %v, %d acknowledged", len(replies), err, w.acknowledged()-first)
				}
				for i := range acks {
					acks[i].kind = pubcomp
				}
			}
			_, _ = w.settle(acks[:99], nil)
			want := 0
			for want < 100 && packetID(first+uint64(want)) != last {
				want++
			}
			if got := w.confirmed(first, 100); got != want {
				t.Fatalf("%d confirmed, want %d: the one that is missing and all behind it are not", got, want)
			}
			reached := w.wait(first + 100)
			_, _ = w.settle(acks[99:], nil)
			<-reached
		}
	}
}

func TestWindowRefusesTheWrongKind(t *testing.T) {
	for _, c := range []struct {
		qos, kind byte
	}{{1, pubrec}, {1, pubcomp}, {2, puback}, {2, pubcomp}} {
		w := newWindow(10, c.qos)
		w.add(1)
		if _, err := w.settle([]ack{{kind: c.kind, id: 1}}, nil); err == nil || w.acknowledged() != 0 {
			t.Errorf("QoS %d: an acknowledgement of type %d is taken", c.qos, c.kind)
		}
	}
}
