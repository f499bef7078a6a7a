package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// logged returns an environment whose log is in the text that is returned.
func logged(t testing.TB, instance string) (bridge.Env, *safeText) {
	env, text := bridgetest.Env(t, instance), new(safeText)
	env.Logger = slog.New(slog.NewTextHandler(text, nil))
	return env, text
}

type safeText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *safeText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *safeText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// numbersUpTo reads what is there up to message number last, in the order in which it comes.
func numbersUpTo(t *testing.T, source bridge.Source, last int) (all []int) {
	t.Helper()
	for len(all) == 0 || all[len(all)-1] != last {
		batch, ack, err := next(t, source)
		if err != nil {
			t.Fatal(err)
		}
		settle(t, []bridge.Ack{ack}, nil)
		for _, m := range batch {
			var n int
			if _, err := fmt.Sscan(string(m.Payload), &n); err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
	}
	return all
}

func wantNumbers(t *testing.T, got []int, from, to int) {
	t.Helper()
	for i := range max(len(got), to-from) {
		if i >= len(got) || i >= to-from || got[i] != from+i {
			t.Fatalf("got %v, want %d to %d in order", got, from, to-1)
		}
	}
}

// However an instance ends: what it had read and not acknowledged comes again at once, and before
// what is newer.
func TestOrderIsKeptOverBreaks(t *testing.T) {
	refused := errors.New("refused by the test")
	// Each returns how many messages more it has settled.
	breaks := map[string]func(t *testing.T, line *faulttest.Proxy, source bridge.Source, unsettled []bridge.Ack) int{
		"connection lost": func(_ *testing.T, line *faulttest.Proxy, _ bridge.Source, _ []bridge.Ack) int {
			line.Cut()
			return 0
		},
		"stopped": func(t *testing.T, _ *faulttest.Proxy, source bridge.Source, _ []bridge.Ack) int {
			shut(t, source)
			return 0
		},
		"refused": func(t *testing.T, _ *faulttest.Proxy, source bridge.Source, unsettled []bridge.Ack) int {
			settle(t, unsettled, refused)
			shut(t, source)
			return 0
		},
		"refused in part": func(t *testing.T, _ *faulttest.Proxy, source bridge.Source, unsettled []bridge.Ack) int {
			settle(t, unsettled[:1], bridge.GiveBack(1, refused))
			settle(t, unsettled[1:], refused)
			shut(t, source)
			return 1
		},
		"the server does not know": func(_ *testing.T, line *faulttest.Proxy, _ bridge.Source, _ []bridge.Ack) int {
			line.Set(faulttest.Fault{BlackHole: true})
			return 0
		},
	}
	for name, cut := range breaks {
		for _, deliver := range []string{"all", "new", "last"} {
			t.Run(name+", "+deliver, func(t *testing.T) {
				s := natstest.Start(t, nil)
				js := client(t, s)
				stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
				policy := map[string]jetstream.DeliverPolicy{
					"new": jetstream.DeliverNewPolicy, "last": jetstream.DeliverLastPolicy,
				}
				if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
					Durable: "D", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, DeliverPolicy: policy[deliver],
					MaxRequestExpires: time.Second, // which shortens the wait for those that the server takes for alive
				}); err != nil {
					t.Fatal(err)
				}
				storeN(t, js, "a", 0, 100)
				line := faulttest.NewProxy(t, s.Addr().String())
				env := bridgetest.Env(t, "test-from")
				env.MaxBatch = 10
				set := func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "D" }
				source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
					set(s)
					s.URL = url(t, "nats://"+line.Addr())
				}), env)
				settled, acks := readN(t, source, 20)
				_, unsettled := readN(t, source, 30)
				settle(t, acks, nil)
				floor := len(settled)
				bridgetest.Eventually(t, "the consumer knows what is acknowledged", func() bool {
					return consumerInfo(t, stream).AckFloor.Stream == uint64(floor)
				})
				floor += cut(t, line, source, unsettled)
				storeN(t, js, "a", 100, 110)
				wantNumbers(t, numbersUpTo(t, openSource(t, sourceSettings(t, s, set), env), 109), floor, 110)
				line.Set(faulttest.Fault{})
			})
		}
	}
}

func shut(t *testing.T, source bridge.Source) {
	t.Helper()
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

// What another bridge that shares the durable has is not taken from it, be it opened for the first
// time or again.
func TestSharedDurableIsNotRewound(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Durable, s.AckWait = "S", "D", time.Hour })
	here := openSource(t, settings, bridgetest.Env(t, "here"))
	storeN(t, js, "a", 0, 1)
	readN(t, here, 1)
	env := bridgetest.Env(t, "there")
	seen := map[string]int{}
	for round := range 2 { // the first time nothing is known of the other, but that it waits
		there := openSource(t, settings, env)
		for n := 1; len(seen) < 1+round; n++ {
			storeN(t, js, "a", 100*round+n, 100*round+n+1) // to one of the two
			soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			batch, ack, err := there.Read(soon)
			cancel()
			if err == nil {
				settle(t, []bridge.Ack{ack}, nil)
			}
			for _, m := range batch {
				seen[string(m.Payload)]++
			}
		}
		shut(t, there)
	}
	if info := consumerInfo(t, stream); seen["0"] > 0 || info.AckFloor.Stream > 0 || info.NumRedelivered > 0 {
		t.Errorf("%v came, and the consumer has acknowledged up to %d and delivered %d again; "+
			"want nothing of what the other has",
			seen, info.AckFloor.Stream, info.NumRedelivered)
	}
}

// What another bridge has that shares the durable is not taken from it however often one is opened
// that has seen it once, and though it is slow and does not ask for more.
func TestSharedDurableStaysShared(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Durable, s.AckWait, s.MaxAckPending = "S", "D", time.Hour, 100
	})
	slow := bridgetest.Env(t, "here")
	slow.MaxBatch = 1
	env, log := logged(t, "there")
	here, there := openSource(t, settings, slow), openSource(t, settings, env)
	storeN(t, js, "a", 0, 1)
	readN(t, here, 1)
	storeN(t, js, "a", 1, 11) // of which the slow one has asked for a few
	batch, acks := readN(t, there, 1)
	settle(t, acks, nil)
	shut(t, there)
	var held *jetstream.ConsumerInfo
	bridgetest.Eventually(t, "no request waits, and what is acknowledged is known to be", func() bool {
		held = consumerInfo(t, stream)
		return held.NumWaiting == 0 && int(held.NumPending)+held.NumAckPending == 11-len(batch)
	})
	if held.NumAckPending == 0 {
		t.Fatal("all messages are acknowledged; want that those of the slow one are not")
	}
	for range 3 {
		shut(t, openSource(t, settings, env))
		if n := consumerInfo(t, stream).NumAckPending; n != held.NumAckPending {
			t.Fatalf("%d messages are not acknowledged, want the %d of the slow one", n, held.NumAckPending)
		}
	}
	if n := strings.Count(log.String(), "others have read with the same durable"); n != 3 {
		t.Errorf("the log is\n%s\nand says %d times that others read, want 3", log, n)
	}
}

// Requests of a connection that has ended without the server's knowledge take no messages, not even
// when nothing had been read by it.
func TestDeadRequestsTakeNothing(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "D", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour,
		MaxRequestExpires: 2 * time.Second, // which shortens the wait
	}); err != nil {
		t.Fatal(err)
	}
	line := faulttest.NewProxy(t, s.Addr().String())
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 2
	set := func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "D" }
	dead := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
		set(s)
		s.URL = url(t, "nats://"+line.Addr())
	}), env)
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error, 1)
	go func() {
		_, _, err := dead.Read(ctx)
		read <- err
	}()
	bridgetest.Eventually(t, "the request waits at the server",
		func() bool { return consumerInfo(t, stream).NumWaiting > 0 })
	line.Set(faulttest.Fault{BlackHole: true})
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	source := openSource(t, sourceSettings(t, s, set), env)
	storeN(t, js, "a", 0, 10)
	wantNumbers(t, numbersUpTo(t, source, 9), 0, 10)
	line.Set(faulttest.Fault{})
}

// A user who may not reset consumers reads all the same, and hears what that costs.
func TestForbiddenToRewind(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.RESET.>"}},
		}}}
	})
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Durable, s.Username, s.Password = "S", "D", "u", bridge.NewSecret("p")
		s.AckWait, s.Streams = time.Second, map[string]nats.Stream{"S": {Subjects: []string{"a"}}}
	})
	env, log := logged(t, "test-from")
	lost := openSource(t, settings, env)
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
		s.Username, s.Password, s.JetStream = "u", bridge.NewSecret("p"), true
	}))
	deliverAll(t, sink, numbered(0, 1))
	readN(t, lost, 1)
	shut(t, lost)
	readN(t, openSource(t, settings, env), 1)
	for _, want := range []string{"level=WARN", "behind newer messages", "$JS.API.CONSUMER.RESET.S.D"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log is\n%s\nand does not say %s", log, want)
		}
	}
}

// A stream that was deleted and made anew is read from its start, wherever new consumers start, and
// the log says what is lost. One that was not read before is none that was made anew.
func TestStreamMadeAnewIsReadFromItsStart(t *testing.T) {
	for _, deliver := range []string{"all", "new", "last"} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprintf("deliver=%s,running=%t", deliver, running), func(t *testing.T) {
				s := natstest.Start(t, nil)
				js := client(t, s)
				// In memory, because the server may find messages of a file that it is still
				// deleting.
				config := jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage}
				createStream(t, js, config)
				env, log := logged(t, "test-from")
				env.MaxBatch = 4
				settings := sourceSettings(t, s, func(s *nats.SourceSettings) {
					s.Stream, s.Durable, s.Deliver = "S", "D", deliver
				})
				source := openSource(t, settings, env)
				storeN(t, js, "a", 0, 10)
				settled, acks := readN(t, source, 1)
				settle(t, acks, nil)
				if !running {
					shut(t, source)
				}
				if err := js.DeleteStream(t.Context(), "S"); err != nil {
					t.Fatal(err)
				}
				if running {
					_ = source.Close()
				}
				createStream(t, js, config)
				storeN(t, js, "a", 100, 105)
				source = openSource(t, settings, env)
				wantNumbers(t, numbersUpTo(t, source, 104), 100, 105)
				text := log.String()
				if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, `from="its start"`) ||
					!running && (!strings.Contains(text, fmt.Sprint("acknowledged=", len(settled))) ||
						strings.Contains(text, "unread=0")) {
					t.Errorf("the log is\n%s", text)
				}
				shut(t, source)
				shut(t, openSource(t, settings, env))
				if strings.Count(log.String(), "level=WARN") != 1 {
					t.Errorf("the log is\n%s\nand says it again", log)
				}
			})
		}
	}
}

// Another stream with the same durable has nothing to do with the one before.
func TestOtherStreamStartsAsDeliverSays(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	env, log := logged(t, "test-from")
	for _, name := range []string{"A", "B"} {
		stream := createStream(t, js, jetstream.StreamConfig{Name: name, Subjects: []string{name}})
		storeN(t, js, name, 0, 3)
		stored(t, stream, 3)
		source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
			s.Stream, s.Durable, s.Deliver = name, "D", "new"
		}), env)
		storeN(t, js, name, 3, 5)
		wantNumbers(t, numbersUpTo(t, source, 4), 3, 5)
		shut(t, source)
	}
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("the log is\n%s", log)
	}
}
