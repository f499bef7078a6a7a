package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

func TestPersistentSessionResumes(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, "a/+/c", bridgetest.Topic)
	closed(t, openSource(t, set).Close())
	publisher := client(t, broker.URL, nil)
	send(t, publisher, 1, bridge.Message{Topic: "a/b/c", Payload: []byte("while closed")})
	s := openSource(t, set)
	got := read(t, s, 1)
	send(t, publisher, 1, bridge.Message{Topic: "a/x/c", Payload: []byte("while open")})
	got = append(got, read(t, s, 1)...)
	if want := "while closed\nwhile open\n"; payloads(got) != want || got[1].Topic != "a/x/c" {
		t.Errorf("got %q, the second to %q, want %q", payloads(got), got[1].Topic, want)
	}
	if age := time.Since(got[1].Time); age < 0 || age > bridgetest.Timeout {
		t.Errorf("the message was seen %v ago", age)
	}
}

func TestCleanSessionForgets(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, "t")
	set.Session = "clean"
	closed(t, openSource(t, set).Close())
	publisher := client(t, broker.URL, nil)
	send(t, publisher, 1, bridge.Message{Topic: "t", Payload: []byte("while closed")})
	s := openSource(t, set)
	send(t, publisher, 1, bridge.Message{Topic: "t", Payload: []byte("while open")})
	if got := payloads(read(t, s, 1)); got != "while open\n" {
		t.Errorf("got %q", got)
	}
}

func TestP4RefusedBatchComesAgain(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, bridgetest.Topic)
	s := openSource(t, set)
	publisher := client(t, broker.URL, nil)
	send(t, publisher, 1, bridgetest.Numbered(1)...)
	_, ack, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ack(t.Context(), bridge.Permanent(errors.New("refused by the test"))); err != nil {
		t.Errorf("ack: %v", err)
	}
	_, _, err = s.Read(t.Context())
	if err == nil || bridge.IsPermanent(err) {
		t.Errorf("after a refusal Read returns %v (permanent: %t), want an error that asks for a new connection", err,
			bridge.IsPermanent(err))
	}
	closed(t, s.Close())
	if got := payloads(read(t, openSource(t, set), 1)); got != "{\"n\":0}\n" {
		t.Errorf("got %q", got)
	}
}

func TestCleanSessionCannotRefuse(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, bridgetest.Topic)
	set.Session = "clean"
	s := openSource(t, set)
	publisher := client(t, broker.URL, nil)
	send(t, publisher, 1, bridgetest.Numbered(1)...)
	_, ack, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ack(t.Context(), errors.New("refused by the test")); err == nil {
		t.Error("ack does not say that the message is lost")
	}
	send(t, publisher, 1, bridgetest.Numbered(1)...)
	read(t, s, 1)
}

func TestRetainedMessagesAreMarked(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	publisher := client(t, broker.URL, nil)
	done(t, publisher.Publish("t", 1, true, "old"))
	s := openSource(t, sourceSettings(t, broker.URL, 1, "t"))
	old := read(t, s, 1)[0]
	done(t, publisher.Publish("t", 1, true, "new"))
	fresh := read(t, s, 1)[0]
	if old.Header["mqtt_retained"] != "true" || fresh.Header != nil {
		t.Errorf("got headers %v and %v, want the mark on the first only", old.Header, fresh.Header)
	}
}

func TestSharedSubscriptionSplits(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	var counts [2]atomic.Int64
	for i := range counts {
		set := sourceSettings(t, broker.URL, 1, "$share/group/"+bridgetest.Topic)
		set.ClientID = fmt.Sprintf("member-%d", i)
		s := openSource(t, set)
		go func() {
			for {
				b, ack, err := s.Read(context.Background())
				if err != nil {
					return
				}
				counts[i].Add(int64(len(b)))
				_ = ack(context.Background(), nil)
			}
		}()
	}
	send(t, client(t, broker.URL, nil), 1, bridgetest.Numbered(100)...)
	bridgetest.Eventually(t, "all have arrived", func() bool { return counts[0].Load()+counts[1].Load() >= 100 })
	if a, b := counts[0].Load(), counts[1].Load(); a == 0 || b == 0 || a+b != 100 {
		t.Errorf("the members got %d and %d of 100 messages", a, b)
	}
}

func TestBigPayloads(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	in := openSource(t, sourceSettings(t, broker.URL, 1, "t"))
	out := openSink(t, sinkSettings(t, broker.URL, 1))
	var want bridge.Batch
	for _, size := range []int{1, 64<<10 - 1, 1 << 20, 3, 15 << 20, 0, 100_000} {
		want = append(want, bridge.Message{
			Topic:   "t",
			Payload: bytes.Repeat([]byte{byte(size), byte(size >> 8)}, size)[:size],
		})
	}
	if r, err := out.Write(t.Context(), want); r.Settled != len(want) || err != nil {
		t.Fatalf("wrote %d: %v", r.Settled, err)
	}
	got := read(t, in, len(want))
	for i := range want {
		if !bytes.Equal(got[i].Payload, want[i].Payload) {
			t.Errorf("message %d of %d bytes arrived different, with %d bytes", i, len(want[i].Payload), len(got[i].Payload))
		}
	}
}

func TestP12TakeoverNamesTheClientID(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, "t")
	set.ClientID = "twin"
	s := openSource(t, set)
	openSource(t, set)
	expectError(t, s, `another client may be using client_id "twin"`)
}

func TestCloseDeliversAcknowledgements(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, bridgetest.Topic)
	closed(t, openSource(t, set).Close())
	send(t, client(t, broker.URL, nil), 1, bridgetest.Numbered(5000)...)
	want := 0
	for want < 5000 { // each time close in the midst of a stream of messages
		s := openSource(t, set)
		for _, m := range read(t, s, min(400, 5000-want)) {
			if got := string(m.Payload); got != fmt.Sprintf(`{"n":%d}`, want) {
				t.Fatalf("got %s, want number %d: an acknowledgement was lost", got, want)
			}
			want++
		}
		closed(t, s.Close())
	}
}

// busyPing is what a machine that is busy needs for a ping and its answer: the broker ends a
// connection of which it hears nothing for half as long again.
const busyPing = 5 * time.Second

// A buffer of 64 KiB holds up 1 MB of QoS 1: nothing may be lost, and the
// connection must not be taken for dead though nobody reads the answers to pings.
func TestP5SlowPipelineHoldsUpTheBroker(t *testing.T) {
	t.Parallel()
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 1, "t")
	set.Buffer, set.Keepalive, set.WriteTimeout = 64<<10, busyPing, busyPing
	s := openSource(t, set)
	var want bridge.Batch
	for i := range 250 {
		want = append(want, bridge.Message{Topic: "t", Payload: fmt.Appendf(make([]byte, 4096), "%d", i)})
	}
	send(t, client(t, broker.URL, nil), 1, want...)
	<-time.After(4 * busyPing) // twice what it takes for a ping to time out
	if got := read(t, s, len(want)); payloads(got) != payloads(want) {
		t.Error("messages arrived different or in another order")
	}
}

func TestP5SlowPipelineDropsAndCountsQoS0(t *testing.T) {
	t.Parallel()
	const total = 20_000
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(0)
		for i := range total {
			p.publish(0, 0, fmt.Sprintf("%100d", i))
		}
		p.drain()
	})
	set := sourceSettings(t, address, 0, "t")
	set.Buffer = 64 << 10
	env := bridgetest.Env(t, "test-from")
	var dropped atomic.Int64
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	s, err := mqtt.Connector().Source.Open(t.Context(), set, env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, s.Close()) }()
	bridgetest.Eventually(t, "most were dropped", func() bool { return dropped.Load() > total*3/4 })
	got := 0
	bridgetest.Eventually(t, "each is read or dropped", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		b, _, _ := s.Read(ctx)
		got += len(b)
		return got+int(dropped.Load()) >= total
	})
	if got+int(dropped.Load()) != total || got == 0 {
		t.Errorf("%d were kept and %d dropped, of %d", got, dropped.Load(), total)
	}
}

func TestUnreadQoS0IsCountedAtClose(t *testing.T) {
	arrived, arrive := onceOnly()
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(0)
		for range 50 {
			p.publish(0, 0, "x")
		}
		for range 2 { // that the second one is answered says that all before the first one was taken
			p.ack(packets.Pubrel, 1)
			p.next()
		}
		arrive()
		p.drain()
	})
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 10
	var dropped atomic.Int64
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	s, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 0, "t"), env)
	if err != nil {
		t.Fatal(err)
	}
	got := len(read(t, s, 1))
	<-arrived
	closed(t, s.Close())
	if got+int(dropped.Load()) != 50 {
		t.Errorf("%d were read and %d dropped, of 50", got, dropped.Load())
	}
}

func TestLostConnectionKeepsQoS0(t *testing.T) {
	opened := make(chan struct{})
	gone, leave := onceOnly()
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(1)
		p.publish(0, 0, "first")
		p.publish(1, 1, "comes again")
		p.publish(0, 0, "last")
		<-opened
		_ = p.Close()
		leave()
	})
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 1
	s, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 1, "t"), env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, s.Close()) }()
	close(opened)
	<-gone
	<-time.After(100 * time.Millisecond) // for the loss to be noticed; the test holds if it is not
	var got []bridge.Message
	for {
		b, _, err := s.Read(t.Context())
		if err != nil {
			break
		}
		got = append(got, b...)
	}
	if text := payloads(got); text != "first\nlast\n" && text != "first\ncomes again\nlast\n" {
		t.Errorf("got %q", text)
	}
}

func TestCanceledReadStopsThoughMessagesWait(t *testing.T) {
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(1)
		var all []byte // to arrive at once
		for id := range byte(50) {
			all = append(all, 0x32, 6, 0, 1, 't', 0, id+1, 'x')
		}
		_, _ = p.Write(all)
		p.drain()
	})
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 1
	s, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 1, "t"), env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, s.Close()) }()
	read(t, s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, _, err := s.Read(ctx); len(b) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d messages and %v, want context.Canceled", len(b), err)
	}
}

func TestSeveralFilters(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	set := sourceSettings(t, broker.URL, 2, "a", "b/#", "+/c")
	s := openSource(t, set)
	publisher := client(t, broker.URL, func(o *paho.ClientOptions) { o.SetClientID("p") })
	send(t, publisher, 2,
		bridge.Message{Topic: "a", Payload: []byte("1")},
		bridge.Message{Topic: "b/x/y", Payload: []byte("2")},
		bridge.Message{Topic: "z", Payload: []byte("no")},
		bridge.Message{Topic: "z/c", Payload: []byte("3")})
	if got := payloads(read(t, s, 3)); got != "1\n2\n3\n" {
		t.Errorf("got %q", got)
	}
}

func TestIdleConnectionsStayUp(t *testing.T) {
	t.Parallel()
	broker := bridgetest.StartMosquitto(t)
	in, out := sourceSettings(t, broker.URL, 1, bridgetest.Topic), sinkSettings(t, broker.URL, 1)
	in.Keepalive, in.WriteTimeout = busyPing, busyPing
	out.Keepalive, out.WriteTimeout = busyPing, busyPing
	source, sink := openSource(t, in), openSink(t, out)
	<-time.After(4 * busyPing) // twice what it takes for a ping to time out
	if r, err := sink.Write(t.Context(), bridgetest.Numbered(1)); r.Settled != 1 || err != nil {
		t.Errorf("wrote %d: %v", r.Settled, err)
	}
	read(t, source, 1)
}
