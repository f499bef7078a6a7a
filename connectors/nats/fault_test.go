package nats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
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

func TestF04ServerRestartedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	port := netip.MustParseAddrPort(bridgetest.FreeAddr(t)).Port()
	start := func() *server.Server {
		return natstest.Start(t, func(o *server.Options) { o.StoreDir, o.Port = dir, int(port) })
	}
	s := start()
	settings := sinkSettings(t, s, func(s *nats.SinkSettings) {
		s.JetStream = true
		s.Streams = map[string]nats.Stream{"S": {Subjects: []string{"a"}}}
	})
	from := sourceSettings(t, s, func(s *nats.SourceSettings) { s.Stream, s.Durable, s.AckWait = "S", "D", 2*time.Second })

	const total = 30_000
	delivered := make(chan int, total) // how many so far
	done := make(chan error, 1)
	go func() { done <- deliver(t, settings, numbered(0, total), delivered) }()
	restarts := faulttest.Pick(3, 20)
	for round := range restarts {
		for n := range delivered {
			if n > (round+1)*total/(restarts+2) {
				break
			}
		}
		natstest.Stop(s)
		s = start()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	stream, err := client(t, s).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range stored(t, stream, total) {
		if string(m.Payload) != strconv.Itoa(i) {
			t.Fatalf("message %d of the stream is %s", i, m.Payload)
		}
	}
	if n := stream.CachedInfo().State.Msgs; n != total {
		t.Errorf("the stream has %d messages, %d were sent", n, total)
	}
	collect(t, from, total, func(round int) {
		natstest.Stop(s)
		s = start()
	})
}

// deliver writes a batch as the engine does: opening a new instance after each error.
func deliver(t *testing.T, s *nats.SinkSettings, batch bridge.Batch, delivered chan<- int) error {
	defer close(delivered)
	total := len(batch)
	for end := time.Now().Add(bridgetest.Timeout); len(batch) > 0; {
		if time.Now().After(end) { // without a message delivered
			return fmt.Errorf("%d of %d messages delivered", total-len(batch), total)
		}
		sink, err := nats.Connector().Sink.Open(t.Context(), s, bridgetest.Env(t, "test-to"))
		if err != nil {
			<-time.After(10 * time.Millisecond)
			continue
		}
		for err == nil && len(batch) > 0 {
			var r bridge.Result
			r, err = sink.Write(t.Context(), batch[:min(len(batch), 1000)])
			if batch = batch[r.Settled:]; r.Settled > 0 {
				end = time.Now().Add(bridgetest.Timeout)
			}
			delivered <- total - len(batch)
		}
		_ = sink.Close()
	}
	return nil
}

// collect reads all messages of a stream, as the engine does, and calls restart three times on the
// way.
func collect(t *testing.T, s *nats.SourceSettings, total int, restart func(round int)) {
	t.Helper()
	seen := map[string]bool{}
	restarts := 0
	for end := time.Now().Add(bridgetest.Timeout); len(seen) < total; {
		if time.Now().After(end) { // without a message read
			t.Fatalf("%d of %d messages came", len(seen), total)
		}
		source, err := nats.Connector().Source.Open(t.Context(), s, bridgetest.Env(t, "test-from"))
		for err == nil && len(seen) < total {
			var batch bridge.Batch
			var ack bridge.Ack
			batch, ack, err = next(t, source)
			for _, m := range batch {
				seen[string(m.Payload)] = true
			}
			if len(batch) > 0 {
				end = time.Now().Add(bridgetest.Timeout)
				_ = ack(t.Context(), nil)
			}
			if restarts < 3 && len(seen) > (restarts+1)*total/5 {
				restart(restarts)
				restarts++
			}
		}
		if source != nil {
			_ = source.Close()
		}
	}
	if restarts < 3 {
		t.Errorf("only %d restarts", restarts)
	}
}

func TestN3UnconfirmedIsStoredOnce(t *testing.T) {
	s := natstest.Start(t, nil)
	stream := createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	line, silence := newLine(t, s.Addr().String())
	set := func(s *nats.SinkSettings) { s.JetStream = true }
	cut := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
		set(s)
		s.URL = url(t, "nats://"+line)
	}))
	batch := numbered(0, 500)
	deliverAll(t, cut, batch[:100])
	silence()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := make(chan struct{})
	go func() {
		defer close(written)
		if r, err := cut.Write(ctx, batch[100:]); r.Settled != 0 || err == nil {
			t.Errorf("wrote %d with %v without any confirmation", r.Settled, err)
		}
	}()
	stored(t, stream, 500)
	cancel()
	<-written
	deliverAll(t, openSink(t, sinkSettings(t, s, set)), batch[100:])
	if n := len(stored(t, stream, 500)); n != 500 {
		t.Errorf("the stream has %d messages, 500 were sent", n)
	}
}

func TestOpenHeedsItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // it takes a connection and never says a word
		if c, err := l.Accept(); err == nil {
			cancel()
			<-t.Context().Done()
			_ = c.Close()
		}
	}()
	settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
	settings.URL, settings.Subject = url(t, "nats://"+l.Addr().String()), bridge.Text("a")
	settings.ConnectTimeout = time.Hour
	if _, err = nats.Connector().Sink.Open(ctx, settings, bridgetest.Env(t, "test-to")); !errors.Is(err,
		context.Canceled) {
		t.Errorf("err = %v, want context.Canceled", err)
	}
}

// TestF08HalfOpenPeer cuts the line without telling anybody.
func TestF08HalfOpenPeer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	empty := createStream(t, client(t, s), jetstream.StreamConfig{Name: "EMPTY", Subjects: []string{"b"}})
	for name, run := range map[string]func(t *testing.T, u []bridge.URL, silence func()) error{
		"core sink": func(t *testing.T, u []bridge.URL, silence func()) error {
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.URL = u }))
			silence()
			_, err := sink.Write(t.Context(), numbered(0, 1))
			return err
		},
		"jetstream sink": func(t *testing.T, u []bridge.URL, silence func()) error {
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
				s.URL, s.JetStream, s.AckTimeout = u, true, time.Second
			}))
			silence()
			_, err := sink.Write(t.Context(), numbered(0, 1))
			return err
		},
		"jetstream source": func(t *testing.T, u []bridge.URL, silence func()) error {
			settings := sourceSettings(t, s, func(s *nats.SourceSettings) { s.URL, s.Stream, s.Durable = u, "EMPTY", "D" })
			source := openSource(t, settings, bridgetest.Env(t, "test-from"))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first := make(chan error, 1)
			go func() {
				_, _, err := source.Read(ctx)
				first <- err
			}()
			bridgetest.Eventually(t, "the request waits at the server", func() bool {
				return consumerInfo(t, empty).NumWaiting > 0
			})
			cancel()
			if err := <-first; !errors.Is(err, context.Canceled) {
				t.Errorf("first read: %v", err)
			}
			silence()
			_, _, err := next(t, source)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line, silence := newLine(t, s.Addr().String())
			began := time.Now()
			err := run(t, url(t, "nats://"+line), silence)
			if err == nil || errors.Is(err, context.Canceled) {
				t.Errorf("err = %v, want one about silence", err)
			}
			if !regexp.MustCompile("no (answer|confirmation from JetStream|heartbeat) for ").MatchString(fmt.Sprint(err)) {
				t.Errorf("err = %v, which is not about silence", err)
			}
			t.Logf("noticed after %s", time.Since(began))
		})
	}
}

// A connection of which the other end says nothing any more is closed within two seconds or so, and
// what was not acknowledged comes again.
func TestF08ClosingWhenTheServerIsSilent(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faulttest.Fault{"half open": {HalfOpen: true}, "black hole": {BlackHole: true}} {
		for _, what := range []string{"jetstream source", "core source", "sink"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				s := natstest.Start(t, nil)
				js := client(t, s)
				createStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
				storeN(t, js, "a", 0, 3)
				line := faulttest.NewProxy(t, s.Addr().String())
				over := url(t, "nats://"+line.Addr())
				env := bridgetest.Env(t, "test-from")
				set := sourceSettings(t, s, func(s *nats.SourceSettings) {
					s.Stream, s.Durable, s.AckWait = "S", "D",
						time.Second
				})
				var end func() error
				switch what {
				case "jetstream source":
					dead := *set
					dead.URL = over
					source := openSource(t, &dead, env)
					readN(t, source, 3)
					end = source.Close
				case "core source":
					end = openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) {
						s.URL, s.Subjects = over, []string{"b.*", "*.c"}
					}), env).Close
				case "sink":
					end = openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.URL, s.JetStream = over, true })).Close
				}
				line.Set(fault)
				began := time.Now()
				err := end()
				t.Logf("closing took %s", time.Since(began))
				if what == "jetstream source" && (err == nil || !strings.Contains(err.Error(), "no answer for 2s")) {
					t.Errorf("closing: %v, want that the server has not answered for 2s", err)
				}
				if line.Set(faulttest.Fault{}); what == "jetstream source" {
					readN(t, openSource(t, set, env), 3)
				}
			})
		}
	}
}
