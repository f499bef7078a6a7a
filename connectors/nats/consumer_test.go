package nats_test

import (
	"context"
	"fmt"
	"net"
	neturl "net/url"
	"slices"
	"strconv"
	"strings"
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

// What the file says of a durable that is there is what runs, or is refused.
func TestDurableIsAdjusted(t *testing.T) {
	explicit := jetstream.ConsumerConfig{
		Durable: "D", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute,
		MaxAckPending: 70, FilterSubject: "a.b",
	}
	type set = func(*nats.SourceSettings)
	for name, c := range map[string]struct {
		foreign func(*jetstream.ConsumerConfig) // not nil: somebody else has made it
		before  set                             // of the instance that makes it otherwise
		after   set
		want    func(jetstream.ConsumerConfig) bool
		err     string // of a permanent error
	}{
		"filter removed": {
			before: func(s *nats.SourceSettings) { s.Filter = []string{"a.b"} },
			want:   func(c jetstream.ConsumerConfig) bool { return c.FilterSubject == "" && len(c.FilterSubjects) == 0 },
		},
		"filter added": {
			after: func(s *nats.SourceSettings) { s.Filter = []string{"a.b", "a.c"} },
			want:  func(c jetstream.ConsumerConfig) bool { return slices.Equal(c.FilterSubjects, []string{"a.b", "a.c"}) },
		},
		"filter changed": {
			before: func(s *nats.SourceSettings) { s.Filter = []string{"a.b", "a.c"} },
			after:  func(s *nats.SourceSettings) { s.Filter = []string{"a.d"} },
			want:   func(c jetstream.ConsumerConfig) bool { return c.FilterSubject == "a.d" && len(c.FilterSubjects) == 0 },
		},
		"ack_wait": {
			after: func(s *nats.SourceSettings) { s.AckWait = time.Minute },
			want:  func(c jetstream.ConsumerConfig) bool { return c.AckWait == time.Minute },
		},
		"ack_wait removed": {
			before: func(s *nats.SourceSettings) { s.AckWait = time.Minute },
			want:   func(c jetstream.ConsumerConfig) bool { return c.AckWait == 30*time.Second },
		},
		"max_ack_pending": {
			before: func(s *nats.SourceSettings) { s.MaxAckPending = 5 },
			after:  func(s *nats.SourceSettings) { s.MaxAckPending = 7 },
			want:   func(c jetstream.ConsumerConfig) bool { return c.MaxAckPending == 7 },
		},
		"max_ack_pending removed": {
			before: func(s *nats.SourceSettings) { s.MaxAckPending = 5 },
			want:   func(c jetstream.ConsumerConfig) bool { return c.MaxAckPending == 1024 },
		},
		"foreign, the file says nothing": {
			foreign: func(*jetstream.ConsumerConfig) {},
			want: func(c jetstream.ConsumerConfig) bool {
				return c.AckWait == time.Minute && c.MaxAckPending == 70 && c.FilterSubject == "a.b"
			},
		},
		"foreign, the file says all": {
			foreign: func(*jetstream.ConsumerConfig) {},
			after: func(s *nats.SourceSettings) {
				s.AckWait, s.MaxAckPending, s.Filter = 2*time.Minute, 80, []string{"a.>"}
			},
			want: func(c jetstream.ConsumerConfig) bool {
				return c.AckWait == 2*time.Minute && c.MaxAckPending == 80 && c.FilterSubject == "a.>"
			},
		},
		"foreign, backoff decides": {
			foreign: func(c *jetstream.ConsumerConfig) { c.BackOff, c.MaxDeliver = []time.Duration{time.Minute}, 5 },
			after:   func(s *nats.SourceSettings) { s.AckWait = 2 * time.Minute },
			err:     "change ack_wait from 1m0s to 2m0s",
		},
		"limit of the stream": {
			before: func(s *nats.SourceSettings) { s.MaxAckPending = 5 },
			after:  func(s *nats.SourceSettings) { s.MaxAckPending = 5000 },
			err:    "change max_ack_pending from 5 to 5000",
		},
		"foreign, it pushes": {
			foreign: func(c *jetstream.ConsumerConfig) { c.DeliverSubject = "d" },
			err:     "it is there and pushes messages",
		},
		"foreign, acknowledges nothing": {
			foreign: func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckNonePolicy },
			err:     "does not acknowledge explicitly",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, nil)
			stream := createStream(t, client(t, s), jetstream.StreamConfig{
				Name: "S", Subjects: []string{"a.>"}, ConsumerLimits: jetstream.StreamConsumerLimits{MaxAckPending: 2000},
			})
			open := func(change set) error {
				source, err := nats.Connector().Source.Open(t.Context(), sourceSettings(t, s, func(s *nats.SourceSettings) {
					s.Stream, s.Durable = "S", "D"
					if change != nil {
						change(s)
					}
				}), bridgetest.Env(t, "test-from"))
				if err == nil {
					t.Cleanup(func() { _ = source.Close() })
				}
				return err
			}
			var err error
			if c.foreign != nil {
				made := explicit
				c.foreign(&made)
				if made.DeliverSubject == "" {
					_, err = stream.CreateConsumer(t.Context(), made)
				} else {
					_, err = stream.CreatePushConsumer(t.Context(), made)
				}
			} else {
				err = open(c.before)
			}
			if err != nil {
				t.Fatal(err)
			}
			err = open(c.after)
			if c.err != "" {
				if !bridge.IsPermanent(err) || !strings.Contains(err.Error(), c.err) ||
					!strings.Contains(err.Error(), "choose another durable") {
					t.Errorf("err = %v, want a permanent one that says %s, and what to do", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := consumerInfo(t, stream).Config; !c.want(got) {
				t.Errorf("the consumer is %+v", got)
			}
		})
	}
}

// A consumer that somebody deletes goes on behind what was acknowledged, wherever a new one starts.
//
// The streams are in memory: the server removes the files of a consumer while it makes one anew.
func TestConsumerDeletedGoesOn(t *testing.T) {
	for _, deliver := range []string{"all", "new", "last"} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("deliver=%s,running=%t", deliver, running), func(t *testing.T) {
				s := natstest.Start(t, nil)
				js := client(t, s)
				createStream(t, js, jetstream.StreamConfig{
					Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage,
				})
				storeN(t, js, "a", 0, 1) // before the consumer
				env := bridgetest.Env(t, "test-from")
				env.MaxBatch = 4
				settings := sourceSettings(t, s, func(s *nats.SourceSettings) {
					s.Stream, s.Durable, s.Deliver = "S",
						"D", deliver
				})
				source := openSource(t, settings, env)
				storeN(t, js, "a", 1, 21)
				batch, acks := readN(t, source, 12)
				settle(t, acks[:2], nil)
				batch = batch[8:]
				rest := func() {
					settle(t, acks[2:], nil) // as the engine does before it closes an instance
					if err := source.Close(); err != nil {
						t.Error(err)
					}
				}
				if !running {
					rest()
				}
				if err := js.DeleteConsumer(t.Context(), "S", "D"); err != nil {
					t.Fatal(err)
				}
				storeN(t, js, "a", 21, 23)
				if running {
					for range 10 { // what had come before
						var err error
						var ack bridge.Ack
						var more bridge.Batch
						if more, ack, err = next(t, source); err != nil {
							break
						}
						batch, acks = append(batch, more...), append(acks, ack)
					}
					rest()
				}
				last := string(batch[len(batch)-1].Payload)
				source = openSource(t, settings, env)
				again, _ := readN(t, source, 1)
				var first, end int
				_, _ = fmt.Sscan(last, &first)
				_, _ = fmt.Sscan(string(again[0].Payload), &end)
				if end != first+1 {
					t.Errorf("behind message %d came %d", first, end)
				}
			})
		}
	}
}

// A consumer that is deleted before anything was read starts where it did.
func TestConsumerDeletedBeforeItsFirstMessage(t *testing.T) {
	for deliver, want := range map[string]string{"all": "0", "new": "3"} {
		s := natstest.Start(t, nil)
		js := client(t, s)
		createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage})
		env := bridgetest.Env(t, "test-from")
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Durable, s.Deliver = "S", "D", deliver })
		storeN(t, js, "a", 0, 3)
		source := openSource(t, settings, env)
		if err := js.DeleteConsumer(t.Context(), "S", "D"); err != nil {
			t.Fatal(err)
		}
		storeN(t, js, "a", 3, 5)
		if err := source.Close(); err != nil {
			t.Error(err)
		}
		batch, _ := readN(t, openSource(t, settings, env), 1)
		if got := string(batch[0].Payload); got != want {
			t.Errorf("deliver %s: the first message is %s, want %s", deliver, got, want)
		}
	}
}

// A run that no other one follows has a consumer for itself, which goes with it; the server forgets
// it if that could not be.
func TestConsumerOfOneRun(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage})
	storeN(t, js, "a", 0, 1)
	var sources []bridge.Source
	for _, durable := range []string{"", "", "D"} {
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", durable })
		settings.OneRun()
		source := openSource(t, settings, bridgetest.Env(t, "test-from"))
		readN(t, source, 1)
		sources = append(sources, source)
	}
	forgotten := 0
	for c := range stream.ListConsumers(t.Context()).Info() {
		if c.Config.InactiveThreshold > 0 {
			forgotten++
		} else if c.Name != "D" {
			t.Errorf("the server would keep %s", c.Name)
		}
	}
	if forgotten != 2 {
		t.Errorf("%d consumers of one run, want one for each", forgotten)
	}
	for _, source := range sources {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
	for c := range stream.ListConsumers(t.Context()).Info() {
		if c.Name != "D" {
			t.Errorf("%s stays behind", c.Name)
		}
	}
}

// A stream that is a queue of work has one consumer for each subject: one run can follow another at
// once.
func TestConsumersOfOneRunAfterAnother(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{
		Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage, Retention: jetstream.WorkQueuePolicy,
	})
	storeN(t, js, "a", 0, 4)
	for i := range 2 {
		env := bridgetest.Env(t, "test-from")
		env.MaxBatch = 1
		settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream = "S" })
		settings.OneRun()
		for k := range 2 { // the second instance of a run goes on
			source := openSource(t, settings, env)
			batch, acks := readN(t, source, 1)
			settle(t, acks, nil)
			if got, want := string(batch[0].Payload), strconv.Itoa(2*i+k); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if err := source.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Of what another instance has taken nobody here knows the end.
func TestConsumerDeletedWhileShared(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage})
	env := bridgetest.Env(t, "test-from")
	env.MaxBatch = 4
	settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Durable, s.Deliver = "S", "D", "new" })
	other, source := openSource(t, settings, bridgetest.Env(t, "other")), openSource(t, settings, env)
	seen := map[string]bool{}
	storeN(t, js, "a", 0, 1)
	undelivered, _ := readN(t, other, 1)
	reading, stop := context.WithCancel(t.Context())
	defer stop()
	for i := 1; len(seen) < 8; i++ {
		storeN(t, js, "a", i, i+1) // to one of the two
		soon, cancel := context.WithTimeout(reading, 50*time.Millisecond)
		batch, ack, err := source.Read(soon)
		cancel()
		if err == nil {
			settle(t, []bridge.Ack{ack}, nil)
		}
		for _, m := range batch {
			seen[string(m.Payload)] = true
		}
	}
	if err := js.DeleteConsumer(t.Context(), "S", "D"); err != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	again, _ := readN(t, openSource(t, settings, env), 1)
	if string(again[0].Payload) != string(undelivered[0].Payload) {
		t.Errorf("the first message that came again is %s, want %s, which was never acknowledged", again[0].Payload,
			undelivered[0].Payload)
	}
}

// Whatever a consumer limits: everything comes, once.
func TestLimitsOfConsumersAreRespected(t *testing.T) {
	for name, limit := range map[string]func(*jetstream.ConsumerConfig){
		"max_batch 10":       func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 10 },
		"max_batch 1":        func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 1 },
		"max_expires":        func(c *jetstream.ConsumerConfig) { c.MaxRequestExpires = 100 * time.Millisecond },
		"max_bytes":          func(c *jetstream.ConsumerConfig) { c.MaxRequestMaxBytes = 500 },
		"max_waiting 1":      func(c *jetstream.ConsumerConfig) { c.MaxWaiting = 1 },
		"max_waiting 3":      func(c *jetstream.ConsumerConfig) { c.MaxWaiting, c.MaxRequestBatch = 3, 10 },
		"max_ack_pending 1":  func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 },
		"max_ack_pending -1": func(c *jetstream.ConsumerConfig) { c.MaxAckPending = -1 },
		"inactive_threshold": func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Minute },
		"backoff": func(c *jetstream.ConsumerConfig) {
			c.BackOff, c.MaxDeliver = []time.Duration{time.Minute, 2 * time.Minute}, 5
		},
		"all": func(c *jetstream.ConsumerConfig) {
			c.MaxRequestBatch, c.MaxRequestExpires, c.MaxRequestMaxBytes, c.MaxWaiting, c.MaxAckPending = 7, time.Second,
				1000, 2, 20
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, nil)
			js := client(t, s)
			stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
			config := jetstream.ConsumerConfig{Durable: "D", AckPolicy: jetstream.AckExplicitPolicy}
			limit(&config)
			if _, err := stream.CreateConsumer(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			const total = 600
			storeN(t, js, "a", 0, total)
			source := openSource(t, sourceSettings(t, s,
				func(s *nats.SourceSettings) { s.Stream, s.Durable = "S", "D" }), bridgetest.Env(t, "test-from"))
			for i := 0; i < total; {
				batch, ack, err := next(t, source)
				if err != nil {
					t.Fatal(err)
				}
				settle(t, []bridge.Ack{ack}, nil)
				for _, m := range batch {
					if string(m.Payload) != fmt.Sprint(i) {
						t.Fatalf("message %d is %s", i, m.Payload)
					}
					i++
				}
			}
			if err := source.Close(); err != nil {
				t.Error(err)
			}
			if info := settledInfo(t, stream); info.Delivered.Consumer != total {
				t.Errorf("delivered %d times", info.Delivered.Consumer)
			}
		})
	}
}

// A server that has lost the requests, and answers all else, is noticed by the missing heartbeats.
func TestLostRequestsAreNoticed(t *testing.T) {
	t.Parallel()
	dir, leaf := t.TempDir(), bridgetest.FreeAddr(t)
	far := func() *server.Server {
		return natstest.Start(t, func(o *server.Options) {
			host, port, _ := net.SplitHostPort(leaf)
			o.StoreDir, o.JetStreamDomain, o.LeafNode.Host = dir, "far", host
			o.LeafNode.Port, _ = strconv.Atoi(port)
		})
	}
	s := far()
	line := faulttest.NewProxy(t, leaf)
	near := natstest.Start(t, func(o *server.Options) {
		o.JetStream, o.LeafNode.ReconnectInterval = false, 10*time.Millisecond
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*neturl.URL{{Scheme: "nats-leaf", Host: line.Addr()}}}}
	})
	way, err := jetstream.NewWithDomain(client(t, near).Conn(), "far")
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Eventually(t, "the servers are connected", func() bool {
		_, err := way.AccountInfo(t.Context())
		return err == nil
	})
	stream := createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	source := openSource(t, sourceSettings(t, near, func(s *nats.SourceSettings) {
		s.Domain, s.Stream, s.Durable = "far", "S", "D"
	}), bridgetest.Env(t, "test-from"))
	failed := make(chan error, 1)
	go func() {
		_, _, err := source.Read(t.Context())
		failed <- err
	}()
	bridgetest.Eventually(t, "the request waits at the server",
		func() bool { return consumerInfo(t, stream).NumWaiting > 0 })
	line.Set(faulttest.Fault{BlackHole: true}) // so that it has no last word
	natstest.Stop(s)
	far()
	line.Cut()
	line.Set(faulttest.Fault{})
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "no heartbeat") {
		t.Errorf("err = %v, want one about heartbeats", err)
	}
}

// The server ends a request without a word whose bytes are used up to the last one.
func TestBytesOfARequestAreUsedUp(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "D", AckPolicy: jetstream.AckExplicitPolicy, MaxRequestMaxBytes: 1000,
	}); err != nil {
		t.Fatal(err)
	}
	source := streamSource(t, s, bridgetest.Env(t, "test-from"))
	const total = 99 // the tokens of the reply subject grow from 10 on
	for i := range total {
		size := 100 - len(fmt.Sprintf("a$JS.ACK.S.D.1.%[1]d.%[1]d.1764295200000000000.%[2]d", i+1, total-i-1))
		if _, err := js.Publish(t.Context(), "a", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < total; {
		batch, ack, err := next(t, source)
		if err != nil { // such as that heartbeats are missed
			t.Fatalf("%d of %d messages came: %v", n, total, err)
		}
		settle(t, []bridge.Ack{ack}, nil)
		n += len(batch)
	}
}

func TestMessageLargerThanAConsumerLetsAskFor(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	stream := createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	if _, err := stream.CreateConsumer(t.Context(),
		jetstream.ConsumerConfig{
			Durable: "D", AckPolicy: jetstream.AckExplicitPolicy,
			MaxRequestMaxBytes: 1000,
		}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "a", make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	_, _, err := next(t, streamSource(t, s, bridgetest.Env(t, "test-from")))
	if err == nil || bridge.IsPermanent(err) || !strings.Contains(err.Error(),
		`consumer "D" of stream "S": the next message is larger than its max_bytes`) {
		t.Errorf("err = %v, want one that says which limit to raise", err)
	}
}

// What nobody has set is as large as the server allows.
func TestDefaultsKeepToTheLimitsOfServerAndStream(t *testing.T) {
	for name, limits := range map[string]struct {
		server func(*server.Options)
		stream jetstream.StreamConsumerLimits
	}{
		"server": {server: func(o *server.Options) { o.JetStreamLimits.MaxAckPending = 100 }},
		"stream": {stream: jetstream.StreamConsumerLimits{MaxAckPending: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			s := natstest.Start(t, limits.server)
			stream := createStream(t, client(t, s),
				jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, ConsumerLimits: limits.stream})
			for range 2 {
				if err := streamSource(t, s, bridgetest.Env(t, "test-from")).Close(); err != nil {
					t.Error(err)
				}
			}
			if got := consumerInfo(t, stream).Config.MaxAckPending; got != 100 {
				t.Errorf("max_ack_pending is %d, want 100", got)
			}
		})
	}
}
