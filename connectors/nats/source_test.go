package nats_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/engine"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

// next reads one batch, waiting no longer than a test should.
func next(t testing.TB, s bridge.Source) (bridge.Batch, bridge.Ack, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.Timeout)
	defer cancel()
	b, ack, err := s.Read(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nothing was read in %s", bridgetest.Timeout)
	}
	return b, ack, err
}

// readN reads n messages without settling them.
func readN(t testing.TB, s bridge.Source, n int) (bridge.Batch, []bridge.Ack) {
	t.Helper()
	var all bridge.Batch
	var acks []bridge.Ack
	for len(all) < n {
		b, ack, err := next(t, s)
		if err != nil {
			t.Fatal(err)
		}
		all, acks = append(all, b...), append(acks, ack)
	}
	return all, acks
}

func settle(t testing.TB, acks []bridge.Ack, reason error) {
	t.Helper()
	for _, ack := range acks {
		if err := ack(t.Context(), reason); err != nil {
			t.Fatal(err)
		}
	}
}

func publishN(t testing.TB, nc *natsgo.Conn, subject string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := nc.Publish(subject, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// storeN publishes to a stream, which has the messages when storeN returns: a consumer that begins
// with new messages, made then, begins behind them.
func storeN(t testing.TB, js jetstream.JetStream, subject string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := js.Publish(t.Context(), subject, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// counted returns an environment that adds what is dropped to n.
func counted(t testing.TB, n *int) bridge.Env {
	env := bridgetest.Env(t, "test-from")
	env.Dropped = func(d int) { *n += d }
	return env
}

func TestN5DroppedIsCounted(t *testing.T) {
	s := natstest.Start(t, nil)
	nc := client(t, s).Conn()
	var dropped atomic.Int64
	env := bridgetest.Env(t, "test-from")
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject, s.Buffer = "a", 4<<10 }), env)
	publishN(t, nc, "a", 0, 1000)
	sent, received := 1000, 0
	bridgetest.Eventually(t, "everything is received or dropped", func() bool {
		publishN(t, nc, "a", sent, sent+1) // a count is told with the next batch only
		sent++
		b, _, err := next(t, source)
		if err != nil {
			t.Fatal(err)
		}
		received += len(b)
		return received+int(dropped.Load()) == sent
	})
	if dropped.Load() == 0 {
		t.Error("4 KiB took 1000 messages")
	}
}

func TestN5LostConnectionIsCounted(t *testing.T) {
	s := natstest.Start(t, nil)
	nc := client(t, s).Conn()
	var dropped atomic.Int64
	env := bridgetest.Env(t, "test-from")
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject, s.Buffer = "a", 4<<10 }), env)
	publishN(t, nc, "a", 0, 1000)
	bridgetest.Eventually(t, "the server has sent everything", func() bool {
		c, err := s.Connz(nil)
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for _, info := range c.Conns {
			sent += int(info.OutMsgs)
		}
		return sent == 1000
	})
	natstest.Stop(s)
	received := 0
	for {
		b, _, err := next(t, source)
		received += len(b)
		if err != nil {
			break
		}
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if received+int(dropped.Load()) != 1000 {
		t.Errorf("received %d, dropped %d, together %d of 1000", received, dropped.Load(), received+int(dropped.Load()))
	}
}

// TestN5DroppedIsCountedWhileNobodyReads holds that drops show while the pipeline is stuck, which is
// when they happen.
func TestN5DroppedIsCountedWhileNobodyReads(t *testing.T) {
	s := natstest.Start(t, nil)
	var dropped atomic.Int64
	env := bridgetest.Env(t, "test-from")
	env.Dropped = func(n int) { dropped.Add(int64(n)) }
	openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject, s.Buffer = "a", 4<<10 }), env)
	publishN(t, client(t, s).Conn(), "a", 0, 1000)
	bridgetest.Eventually(t, "what does not fit is counted", func() bool { return dropped.Load() > 0 })
}

func TestQueueGroupShares(t *testing.T) {
	s := natstest.Start(t, nil)
	nc := client(t, s).Conn()
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subjects, s.Queue = []string{"a", "b"}, "q" })
	first := openSource(t, settings, bridgetest.Env(t, "one"))
	second := openSource(t, settings, bridgetest.Env(t, "two"))
	publishN(t, nc, "a", 0, 500)
	publishN(t, nc, "b", 0, 500)
	got := make(chan int)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for _, source := range []bridge.Source{first, second} {
		readers.Go(func() {
			for {
				b, _, err := source.Read(ctx)
				if err != nil {
					return
				}
				select {
				case got <- len(b):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	defer readers.Wait()
	defer cancel()
	total := 0
	for total < 1000 {
		select {
		case n := <-got:
			total += n
		case <-time.After(bridgetest.Timeout):
			t.Fatalf("%d of 1000 messages arrived", total)
		}
	}
	if total != 1000 {
		t.Errorf("%d messages arrived, 1000 were sent", total)
	}
}

func TestRefusedSubscription(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Deny: []string{"secret"}},
		}}}
	})
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Subject, s.Username, s.Password = "secret", "u", bridge.NewSecret("p")
	})
	_, err := nats.Connector().Source.Open(t.Context(), settings, bridgetest.Env(t, "test-from"))
	if !errors.Is(err, natsgo.ErrPermissionViolation) || !strings.Contains(err.Error(), "secret") {
		t.Errorf("err = %v, want one about the subject", err)
	}
}

func streamSource(t testing.TB, s *server.Server, env bridge.Env) bridge.Source {
	t.Helper()
	return openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Durable, s.AckWait = "S", "D", time.Minute
	}), env)
}

func TestN6SlowPipelineGetsNothingTwice(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	storeN(t, js, "a", 0, 300)
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 100 // so that some wait unread
	source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Durable, s.AckWait = "S", "D", 8*time.Second
	}), env)
	batch, acks := readN(t, source, 100)
	<-time.After(17 * time.Second) // more than twice ack_wait
	settle(t, acks, nil)
	_, acks = readN(t, source, 300-len(batch))
	settle(t, acks, nil)
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	info := settledInfo(t, stream)
	if info.Delivered.Consumer != 300 || info.AckFloor.Stream != 300 {
		t.Errorf("delivered %d times, acknowledged to %d; want 300, 300", info.Delivered.Consumer, info.AckFloor.Stream)
	}
}

func consumerInfo(t testing.TB, stream jetstream.Stream) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := stream.Consumer(t.Context(), "D")
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// settledInfo waits until nothing is without acknowledgement: the server has these before it counts
// them.
func settledInfo(t testing.TB, stream jetstream.Stream) (info *jetstream.ConsumerInfo) {
	t.Helper()
	bridgetest.Eventually(t, "all is acknowledged", func() bool {
		info = consumerInfo(t, stream)
		return info.NumAckPending == 0
	})
	return info
}

func TestN7GracefulStopDuplicatesNothing(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	seen := map[string]int{}
	for round := range 5 {
		storeN(t, js, "a", round*500, round*500+500)
		source := streamSource(t, s, bridgetest.Env(t, "test-from"))
		batch, acks := readN(t, source, 300)
		settle(t, acks, nil)
		for _, m := range batch {
			seen[m.ID]++
		}
		if err := source.Close(); err != nil {
			t.Fatal(err)
		}
	}
	source := streamSource(t, s, bridgetest.Env(t, "test-from"))
	batch, acks := readN(t, source, 2500-len(seen))
	settle(t, acks, nil)
	for _, m := range batch {
		seen[m.ID]++
	}
	for id, n := range seen {
		if n > 1 {
			t.Fatalf("message %s came %d times", id, n)
		}
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	if info := settledInfo(t, stream); info.NumPending != 0 {
		t.Errorf("%d are not delivered", info.NumPending)
	}
}

func TestN8ConsumerOrStreamDeleted(t *testing.T) {
	for name, remove := range map[string]func(context.Context, jetstream.JetStream) error{
		"consumer": func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteConsumer(ctx, "S", "D") },
		"stream":   func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, "S") },
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, nil)
			js := client(t, s)
			createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
			source := streamSource(t, s, bridgetest.Env(t, "test-from"))
			storeN(t, js, "a", 0, 1)
			_, acks := readN(t, source, 1)
			settle(t, acks, nil)
			if err := remove(t.Context(), js); err != nil {
				t.Fatal(err)
			}
			_, _, err := next(t, source)
			if err == nil || !strings.Contains(err.Error(), `consumer "D" of stream "S"`) {
				t.Errorf("err = %v, want one that names consumer and stream", err)
			}
		})
	}
}

func TestN9RestartGetsUnreadAtOnce(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	storeN(t, js, "a", 0, 100)
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.AckWait = "S", time.Hour })
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 20
	for range 4 {
		source := openSource(t, settings, env)
		readN(t, source, 50)
		if err := source.Close(); err != nil {
			t.Fatal(err)
		}
	}
	batch, _ := readN(t, openSource(t, settings, env), 100)
	seen := map[string]bool{}
	for _, m := range batch {
		seen[string(m.Payload)] = true
	}
	if len(batch) != 100 || len(seen) != 100 {
		t.Errorf("%d messages came, %d different ones; want 100 once each", len(batch), len(seen))
	}
}

func TestStreamMessages(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}})
	before := time.Now()
	if _, err := js.Publish(t.Context(), "a.own", nil, jetstream.WithMsgID("mine")); err != nil {
		t.Fatal(err)
	}
	storeN(t, js, "a.left-out", 0, 1)
	storeN(t, js, "a.other", 0, 1)
	source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
		s.Stream, s.Filter = "S", []string{"a.own", "a.other"}
	}), bridgetest.Env(t, "test-from"))
	batch, _ := readN(t, source, 2)
	if got := batch[0].Header[jetstream.MsgIDHeader]; got != "mine" {
		t.Errorf("the publisher's id is %q, want mine", got)
	}
	for i, m := range batch {
		if want := fmt.Sprintf("S:%d.%d", 2*i+1, m.Time.UnixNano()); m.ID != want {
			t.Errorf("id %q, want %q", m.ID, want)
		}
		if m.Time.Before(before.Add(-time.Second)) || m.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("time %v, want about %v", m.Time, before)
		}
	}
}

// A publisher's id need be unique in its own stream only, and there for the duplicate window only.
func TestEqualIDsOfPublishersAreNotEqualMessages(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	all := createStream(t, js, jetstream.StreamConfig{Name: "ALL", Subjects: []string{"all"}})
	sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
		s.Subject, s.JetStream = bridge.Text("all"), true
	}))
	for _, name := range []string{"ORDERS", "INVOICES"} {
		createStream(t, js, jetstream.StreamConfig{Name: name, Subjects: []string{name}})
		if _, err := js.Publish(t.Context(), name, []byte(name), jetstream.WithMsgID("42")); err != nil {
			t.Fatal(err)
		}
		source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream = name }),
			bridgetest.Env(t, "test-from"))
		batch, acks := readN(t, source, 1)
		deliverAll(t, sink, batch)
		settle(t, acks, nil)
	}
	if got := len(stored(t, all, 2)); got != 2 {
		t.Errorf("%d messages arrived, want 2", got)
	}
}

// Sequence numbers begin anew in a stream that was made anew; ids do not.
func TestStreamMadeAnewHasOtherIDs(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	seen := map[string]bool{}
	for range 3 {
		// In memory, because the server may find messages of a file that it is still deleting.
		createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage})
		storeN(t, js, "a", 0, 10)
		source := streamSource(t, s, bridgetest.Env(t, "test-from"))
		batch, acks := readN(t, source, 10)
		settle(t, acks, nil)
		for _, m := range batch {
			if seen[m.ID] {
				t.Errorf("the id %s was given before", m.ID)
			}
			seen[m.ID] = true
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
		if err := js.DeleteStream(t.Context(), "S"); err != nil {
			t.Fatal(err)
		}
	}
}

// Two publishers of core NATS may choose the same id, and a stream must keep both messages.
func TestCoreSourceTakesNoIDFromPublishers(t *testing.T) {
	s := natstest.Start(t, nil)
	nc := client(t, s).Conn()
	source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject = "a" }),
		bridgetest.Env(t, "test-from"))
	for range 2 {
		if err := nc.PublishMsg(toNATS(bridge.Message{
			Topic:  "a",
			Header: map[string]string{jetstream.MsgIDHeader: "1"},
		})); err != nil {
			t.Fatal(err)
		}
	}
	batch, _ := readN(t, source, 2)
	for _, m := range batch {
		if m.ID != "" || m.Header[jetstream.MsgIDHeader] != "1" {
			t.Errorf("id %q, headers %v, want no id, and the publisher's among the headers", m.ID, m.Header)
		}
	}
}

// Issue 11, row 4: two publishers of core NATS with one id, and a stream that has both messages.
func TestEqualIDsOfCorePublishersReachAStream(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	all := createStream(t, js, jetstream.StreamConfig{Name: "ALL", Subjects: []string{"all"}})
	from := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Subject = "dev.>" })
	to := sinkSettings(t, s, func(s *nats.SinkSettings) { s.Subject, s.JetStream = bridge.Text("all"), true })
	opened := make(chan struct{})
	isOpen := sync.OnceFunc(func() { close(opened) }) // the engine may open it again
	p := &engine.Pipeline{
		Name: "relay",
		From: []bridge.Endpoint[bridge.Source]{{
			Type: "nats",
			Open: func(ctx context.Context, env bridge.Env) (bridge.Source, error) {
				source, err := nats.Connector().Source.Open(ctx, from, env)
				if err == nil {
					isOpen()
				}
				return source, err
			},
		}},
		To: engine.To(bridge.Endpoint[bridge.Sink]{
			Type: "nats",
			Open: func(ctx context.Context, env bridge.Env) (bridge.Sink, error) {
				return nats.Connector().Sink.Open(ctx, to, env)
			},
		}),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, bridgetest.Env(t, ""), nil) }()
	<-opened
	for _, subject := range []string{"dev.1", "dev.2"} {
		if err := js.Conn().PublishMsg(toNATS(bridge.Message{
			Topic:  subject,
			Header: map[string]string{jetstream.MsgIDHeader: "1"},
		})); err != nil {
			t.Fatal(err)
		}
	}
	bridgetest.Eventually(t, "both are delivered", func() bool { return p.Ledger().Delivered == 2 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := len(stored(t, all, 2)); got != 2 {
		t.Errorf("the stream has %d messages, want 2", got)
	}
}

// bothSources runs a test with a source of core NATS and one of a stream, and batches of one
// message.
func bothSources(t *testing.T, run func(t *testing.T, s *server.Server, source bridge.Source)) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("jetstream=%t", stream), func(t *testing.T) {
			s := natstest.Start(t, nil)
			createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
			env := bridgetest.Env(t, "test-from")
			env.MaxBatch = 1
			run(t, s, openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
				if stream {
					s.Stream = "S"
				} else {
					s.Subject = "a"
				}
			}), env))
		})
	}
}

func TestServerGoneIsNotTheEndOfTheInput(t *testing.T) {
	bothSources(t, func(t *testing.T, s *server.Server, source bridge.Source) {
		natstest.Stop(s)
		_, _, err := next(t, source)
		if err == nil || errors.Is(err, io.EOF) || bridge.IsPermanent(err) {
			t.Errorf("err = %v, want one that makes the engine open a new instance", err)
		}
	})
}

func TestCanceledReadStopsThoughMessagesWait(t *testing.T) {
	bothSources(t, func(t *testing.T, s *server.Server, source bridge.Source) {
		publishN(t, client(t, s).Conn(), "a", 0, 100)
		readN(t, source, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b, _, err := source.Read(ctx); len(b) > 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("got %d messages and %v, want context.Canceled", len(b), err)
		}
	})
}

func TestSourceWithoutStream(t *testing.T) {
	for name, o := range map[string]func(*server.Options){
		"declare it under streams": nil,
		"switch JetStream on":      func(o *server.Options) { o.JetStream = false },
	} {
		s := natstest.Start(t, o)
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream = "S" })
		_, err := nats.Connector().Source.Open(t.Context(), settings, bridgetest.Env(t, "test-from"))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("err = %v, want the hint to %s", err, name)
		}
	}
}
