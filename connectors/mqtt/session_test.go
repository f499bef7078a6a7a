package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/connectors/mqtt"
)

// counting returns an Env that counts what is dropped.
func counting(t *testing.T) (bridge.Env, *atomic.Int64) {
	env, dropped := bridgetest.Env(t, "test-from"), new(atomic.Int64)
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	return env, dropped
}

func openWith(t *testing.T, set *mqtt.SourceSettings, env bridge.Env) bridge.Source {
	t.Helper()
	s, err := mqtt.Connector().Source.Open(t.Context(), set, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, s.Close()) })
	return s
}

func text(topic, payload string) bridge.Message {
	return bridge.Message{Topic: topic, Payload: []byte(payload)}
}

func TestChangedTopicsEndTheOldSubscription(t *testing.T) {
	for _, b := range brokers {
		for qos := 1; qos <= 2; qos++ {
			t.Run(fmt.Sprintf("%s/QoS%d", b.name, qos), func(t *testing.T) {
				address := b.start(t)
				publisher := client(t, address, nil)
				env, dropped := counting(t)
				before := openWith(t, sourceSettings(t, address, qos, "old/#", "both"), env)
				send(t, publisher, byte(qos), text("old/1", "first"))
				read(t, before, 1)
				closed(t, before.Close())
				send(t, publisher, byte(qos), text("old/2", "kept for the old filter"), text("both", "kept for both"))

				now := openWith(t, sourceSettings(t, address, qos, "new/#", "both"), env)
				send(t, publisher, byte(qos), text("old/3", "stale"), text("new/1", "named"))
				if got := payloads(read(t, now, 2)); got != "kept for both\nnamed\n" {
					t.Errorf("got %q", got)
				}
				if b.name != "NATS" { // which may end the subscription before it sends what it has kept
					bridgetest.Eventually(t, "what was kept for the old filter is dropped",
						func() bool { return dropped.Load() >= 1 })
				}
				if n := dropped.Load(); n > 1 {
					t.Errorf("%d were dropped, want 1: what was kept for the old filter", n)
				}
			})
		}
	}
}

// What the broker has kept comes though topics has become narrower or wider, and what is given up
// is named before. In the end each message comes once.
func TestChangedTopicsLoseNothingThatIsStillNamed(t *testing.T) {
	t.Parallel()
	for _, b := range brokers {
		for _, c := range []struct{ old, now []string }{
			{[]string{"x/#", "old"}, []string{"x/a"}},
			{[]string{"x/a", "old"}, []string{"x/#"}},
			{[]string{"x/+", "old"}, []string{"+/a", "new"}},
		} {
			t.Run(fmt.Sprint(b.name, c.now), func(t *testing.T) {
				address := b.start(t)
				publisher := client(t, address, nil)
				env, dropped := counting(t)
				before := openWith(t, sourceSettings(t, address, 1, c.old...), env)
				send(t, publisher, 1, text("old", "first"))
				read(t, before, 1)
				closed(t, before.Close())
				send(t, publisher, 1, text("old", "given up"))
				const kept = 2000 // more than nats-server sends unacknowledged
				waiting := make(bridge.Batch, kept)
				for i := range waiting {
					waiting[i] = text("x/a", fmt.Sprint(i))
				}
				send(t, publisher, 1, waiting...)
				log := new(logged)
				env.Logger, env.MaxBatch = slog.New(slog.NewTextHandler(log, nil)), 100
				env.Dropped = func(n int) {
					if !strings.Contains(log.String(), "old") {
						t.Error("dropped before the log says it")
					}
					dropped.Add(int64(n))
				}
				s := openWith(t, sourceSettings(t, address, 1, c.now...), env)
				if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "old") {
					t.Errorf("the log says %q, want a warning that names old", log)
				}
				got := make(map[string]bool)
				for len(got) < kept { // else read fails
					for _, m := range read(t, s, 1) {
						got[string(m.Payload)] = true
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				var reading sync.WaitGroup
				reading.Go(func() { // until the pause, and what nats-server sends again in a hurry
					for {
						_, ack, err := s.Read(ctx)
						if err != nil {
							if !errors.Is(err, context.Canceled) {
								t.Errorf("got %v, want the end of the test", err)
							}
							return
						}
						_ = ack(ctx, nil)
					}
				})
				bridgetest.Eventually(t, "the record has the topics of now", func() bool {
					b, err := env.Checkpoint.Load(t.Context())
					return err == nil && strings.Contains(string(b), fmt.Sprintf(`"filters":["%s"]`, strings.Join(c.now, `","`)))
				})
				cancel()
				reading.Wait()
				send(t, publisher, 1, text("x/a", "once"), text("x/a", "last"))
				if got := payloads(read(t, s, 2)); got != "once\nlast\n" && b.name != "NATS" { // which may lose patience
					t.Errorf("got %q, want one copy of each", got)
				}
			})
		}
	}
}

// A subscription that is refused costs nothing of those from before.
func TestRefusedTopicsKeepTheOldSubscription(t *testing.T) {
	ended := make(chan bool, 1)
	opened := false
	address := standIn(t, func(p *peer) {
		p.next()
		_, _ = p.Write([]byte{0x20, 2, 1, 0}) // there is a session
		if !opened {
			opened = true
			p.grant(1)
			p.publish(0, 0, "x")
			p.drain()
			return
		}
		p.grant(0x80)
		_, unsubscribed := p.next().(*packets.UnsubscribePacket)
		ended <- unsubscribed
	})
	env := bridgetest.Env(t, "test-from")
	first := openWith(t, sourceSettings(t, address, 1, "t"), env)
	read(t, first, 1) // what is granted is recorded
	closed(t, first.Close())
	if b, err := env.Checkpoint.Load(t.Context()); err != nil || !strings.Contains(string(b), `"filters":["t"]`) {
		t.Fatalf("the record is %q, %v", b, err)
	}
	if _, err := mqtt.Connector().Source.Open(t.Context(), sourceSettings(t, address, 1, "new"),
		env); !bridge.IsPermanent(err) {
		t.Errorf("got %v, want a permanent error", err)
	}
	if <-ended {
		t.Error("the old subscription has been ended")
	}
}

// Nobody else has taken over the connection of a source that ends it for messages to come again. It
// takes leave, so that the broker reads the acknowledgements from before: a reset can cost them.
func TestGivingBackSaysWhyItConnectsAnew(t *testing.T) {
	for settled := range 2 {
		left, leave := onceOnly()
		again := make(chan struct{})
		address := standIn(t, func(p *peer) {
			p.welcome()
			p.grant(1)
			_, _ = p.Write([]byte("\x32\x06\x00\x01t\x00\x01a\x32\x06\x00\x01t\x00\x02b")) // as one batch
			gone := false
			for m := p.next(); m != nil; m = p.next() {
				_, gone = m.(*packets.DisconnectPacket)
			}
			if !gone {
				t.Errorf("settled %d: no DISCONNECT came", settled)
			}
			leave()
			<-again
			for range 2 { // the answer to the first one would be the reset
				if _, err := p.Write([]byte("\x30\x03\x00\x01t")); err != nil {
					t.Error(err)
				}
			}
		})
		s := openSource(t, sourceSettings(t, address, 1, "t"))
		batch, ack, err := s.Read(t.Context())
		if err != nil || len(batch) != 2 {
			t.Fatalf("got %d messages, %v", len(batch), err)
		}
		for range 2 { // as with another batch
			if err := ack(t.Context(), bridge.GiveBack(settled, errors.New("of the test"))); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
			<-left
		}
		close(again)
		expectError(t, s, "connect anew for the broker to deliver again: of the test")
	}
}

func TestSessionThatBecomesCleanIsNoSecret(t *testing.T) {
	address := bridgetest.StartMosquitto(t).URL
	env := bridgetest.Env(t, "test-from")
	log := new(logged)
	env.Logger = slog.New(slog.NewTextHandler(log, nil))
	for i, session := range []string{"persistent", "clean", "clean"} {
		set := sourceSettings(t, address, 1, "t")
		set.Session = session
		s := openWith(t, set, env)
		send(t, client(t, address, nil), 1, text("t", "x"))
		read(t, s, 1)
		closed(t, s.Close())
		if n := strings.Count(log.String(), "the persistent session ends"); n != min(i, 1) {
			t.Errorf("%s: %d warnings in %q, want %d", session, n, log, min(i, 1))
		}
	}
}

// logged is what was written to it.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestInheritedClientIDGetsNothingForeign(t *testing.T) {
	for qos := 1; qos <= 2; qos++ {
		broker := bridgetest.StartMosquitto(t)
		publisher := client(t, broker.URL, nil)
		other := sourceSettings(t, broker.URL, qos, "other/#")
		other.ClientID = "heirloom"
		closed(t, openSource(t, other).Close())
		send(t, publisher, byte(qos), text("other/1", "foreign"))

		env, dropped := counting(t) // with a checkpoint of its own
		set := sourceSettings(t, broker.URL, qos, "own")
		set.ClientID = "heirloom"
		s := openWith(t, set, env)
		for i := range 30 { // more than are on their way unacknowledged
			send(t, publisher, byte(qos), text("other/2", "foreign"), text("own", fmt.Sprint(i)))
			if got := payloads(read(t, s, 1)); got != fmt.Sprintf("%d\n", i) {
				t.Fatalf("QoS %d: got %q, want %d", qos, got, i)
			}
		}
		if n := dropped.Load(); n != 31 {
			t.Errorf("QoS %d: %d were dropped, want 31", qos, n)
		}
	}
}

// The broker sends what waits before it answers SUBSCRIBE, and nobody reads while Open runs.
func TestResumedSessionOpensThoughMuchWaits(t *testing.T) {
	for _, b := range brokers {
		for _, c := range []struct {
			n, size int
			buffer  bridge.Size
		}{{20, 1_000_000, 16 << 20}, {20, 1_000_000, 1 << 20}, {300, 1000, 4096}} {
			t.Run(fmt.Sprintf("%s/%d of %d bytes/buffer %v", b.name, c.n, c.size, c.buffer), func(t *testing.T) {
				address := b.start(t)
				set := sourceSettings(t, address, 1, "t")
				set.Buffer = c.buffer
				env := bridgetest.Env(t, "test-from")
				closed(t, openWith(t, set, env).Close())
				publisher := client(t, address, nil)
				for i := range c.n {
					send(t, publisher, 1, bridge.Message{Topic: "t", Payload: fmt.Appendf(make([]byte, c.size), "%d", i)})
				}
				s := openWith(t, set, env)
				for got := make(map[string]bool); len(got) < c.n; { // nats-server may lose patience
					for _, m := range read(t, s, 1) {
						got[string(m.Payload[c.size:])] = true
					}
				}
			})
		}
	}
}

// The refusal of a subscription that Open did not wait for still ends the source.
func TestLateRefusalOfASubscription(t *testing.T) {
	address := standIn(t, func(p *peer) {
		p.welcome()
		for id := range uint16(300) {
			p.publish(1, id+1, strings.Repeat("x", 1000))
		}
		p.grant(0x80)
		p.drain()
	})
	set := sourceSettings(t, address, 1, "t")
	set.Buffer = 2000
	s := openWith(t, set, bridgetest.Env(t, "test-from"))
	for {
		_, ack, err := s.Read(t.Context())
		if err == nil {
			_ = ack(t.Context(), nil)
			continue
		}
		if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), `subscribe "t": refused`) {
			t.Errorf("got %v, want a permanent refusal", err)
		}
		return
	}
}

// What a broker handed over in a clean session does not come again, so it is delivered, though the
// connection has ended, or counted.
func TestCleanSessionDeliversOrCounts(t *testing.T) {
	for qos := 1; qos <= 2; qos++ {
		for _, readAll := range []bool{true, false} {
			arrived := make(chan struct{})
			address := standIn(t, func(p *peer) {
				p.welcome()
				p.grant(byte(qos))
				for id := range uint16(10) {
					p.publish(byte(qos), id+1, fmt.Sprint(id))
				}
				<-arrived
				_ = p.Conn.(*net.TCPConn).CloseWrite() // Close would take back what has not been read yet
				p.drain()
			})
			set := sourceSettings(t, address, qos, "t")
			set.Session = "clean"
			env, dropped := counting(t)
			env.MaxBatch = 3
			s := openWith(t, set, env)
			got := 0
			for {
				batch, ack, err := s.Read(t.Context())
				if got == 0 {
					close(arrived)
				}
				if err != nil {
					break
				}
				got += len(batch)
				if err := ack(t.Context(), nil); err != nil {
					t.Errorf("QoS %d: ack: %v", qos, err)
				}
				if !readAll {
					break
				}
			}
			closed(t, s.Close())
			if all := got + int(dropped.Load()); readAll && got != 10 || !readAll && all != 10 {
				t.Errorf("QoS %d: %d were delivered and %d counted, of 10", qos, got, dropped.Load())
			}
		}
	}
}

// A message of QoS 0 in a persistent session does not come again when its batch is refused.
func TestRefusedQoS0IsCounted(t *testing.T) {
	address := standIn(t, func(p *peer) {
		p.welcome()
		p.grant(1)
		_, _ = p.Write([]byte("\x30\x04\x00\x01tx" + "\x32\x06\x00\x01t\x00\x01x")) // at once
		p.drain()
	})
	env, dropped := counting(t)
	s := openWith(t, sourceSettings(t, address, 1, "t"), env)
	for got := 0; got < 2; {
		batch, ack, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got += len(batch)
		if err := ack(t.Context(), errors.New("refused by the test")); err != nil {
			t.Error(err)
		}
	}
	if n := dropped.Load(); n != 1 {
		t.Errorf("%d were dropped, want 1", n)
	}
}

// A member of a group that leaves must not keep messages from the others.
func TestSharedSubscriptionIsCleanUnlessToldOtherwise(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	open := func(name, session string) bridge.Source {
		set := sourceSettings(t, broker.URL, 1, "$share/group/"+bridgetest.Topic)
		set.ClientID, set.Session = name, session
		return openSource(t, set)
	}
	stays := open("stays", "")
	closed(t, open("leaves", "").Close())
	send(t, client(t, broker.URL, func(o *paho.ClientOptions) { o.SetClientID("p") }), 1, bridgetest.Numbered(50)...)
	if got := read(t, stays, 50); len(got) != 50 {
		t.Errorf("got %d of 50", len(got))
	}
}

func TestOverlappingFiltersGiveOneCopy(t *testing.T) {
	for _, b := range brokers {
		t.Run(b.name, func(t *testing.T) {
			address := b.start(t)
			s := openSource(t, sourceSettings(t, address, 1, "a/b", "a/+", "a/#", "z"))
			send(t, client(t, address, nil), 1, text("a/b", "once"), text("a/c", "too"), text("z", "last"))
			got := strings.Fields(payloads(read(t, s, 3)))
			slices.Sort(got) // one filter may be served before the other
			if want := []string{"last", "once", "too"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestForgetEndsTheSession(t *testing.T) {
	for _, b := range brokers {
		t.Run(b.name, func(t *testing.T) {
			address := b.start(t)
			env, dropped := counting(t)
			set := sourceSettings(t, address, 1, "t", "u")
			set.Will = &mqtt.Will{Notice: mqtt.Notice{Topic: "will"}}
			forget := func(want bool) {
				t.Helper()
				ended, err := set.Forget(t.Context(), env)
				if ended != want || err != nil {
					t.Errorf("got %v, %v, want %v", ended, err, want)
				}
			}
			forget(false)
			closed(t, openWith(t, set, env).Close())
			publisher := client(t, address, nil)
			send(t, publisher, 1, text("t", "waits for the session"))
			if got := set.Keeps(env); !strings.HasPrefix(got, "the session of client id xrtcbridge-test-from at 127.0.0.1:") {
				t.Errorf("it keeps %q", got)
			}
			forget(true)
			forget(false)
			set.Topics = []string{"t"}
			s := openWith(t, set, env)
			send(t, publisher, 1, text("u", "forgotten"), text("t", "begins anew"))
			if got := payloads(read(t, s, 1)); got != "begins anew\n" || dropped.Load() != 0 {
				t.Errorf("got %q, and %d dropped", got, dropped.Load())
			}
		})
	}
	set := sourceSettings(t, "mqtt://127.0.0.1:1", 0, "t")
	env := bridgetest.Env(t, "test-from")
	if ended, err := set.Forget(t.Context(), env); ended || err != nil || set.Keeps(env) != "" {
		t.Errorf("of a clean session: %v, %v, %q", ended, err, set.Keeps(env))
	}
}

// noCheckpoint cannot be had.
type noCheckpoint struct{}

func (noCheckpoint) Load(context.Context) ([]byte, error) { return nil, errors.New("of the test") }

func (noCheckpoint) Save(context.Context, []byte) error { return errors.New("of the test") }

func TestCheckpointIsNoCondition(t *testing.T) {
	broker := bridgetest.StartMosquitto(t)
	env := bridgetest.Env(t, "test-from")
	env.Checkpoint = noCheckpoint{}
	s := openWith(t, sourceSettings(t, broker.URL, 1, "t"), env)
	send(t, client(t, broker.URL, nil), 1, text("t", "x"))
	read(t, s, 1)
}

func TestNotes(t *testing.T) {
	for topics, want := range map[string]string{
		"a b/#":             "",
		"a/# a/b":           `left out, since another topic covers it: ["a/b"]`,
		"a/+/c a/b/+":       `"a/+/c" and "a/b/+" overlap`,
		"$share/g/x":        "$share is no part of MQTT 3.1.1: nats-server",
		"$share/g/x y":      "session: persistent makes messages for $share wait",
		"$share/g/# $SYS/#": "session: persistent",
	} {
		notes := strings.Join(sourceSettings(t, "mqtt://127.0.0.1:1", 1, strings.Fields(topics)...).Describe().Notes, "\n")
		if !strings.Contains(notes, want) || want == "" && notes != "" {
			t.Errorf("%s: got %q, want %q", topics, notes, want)
		}
	}
}

func TestWebsocketDialHeedsItsContext(t *testing.T) {
	for _, cancelled := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		address := standIn(t, func(p *peer) {
			if cancelled {
				cancel()
			}
			_, _ = io.Copy(io.Discard, p) // never an answer to the upgrade
		})
		set := sourceSettings(t, strings.Replace(address, "mqtt:", "ws:", 1), 1, "t")
		want := "context canceled"
		if set.ConnectTimeout = time.Hour; !cancelled {
			set.ConnectTimeout, want = time.Second, "no answer within 1s"
		}
		_, err := mqtt.Connector().Source.Open(ctx, set, bridgetest.Env(t, "test-from"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
