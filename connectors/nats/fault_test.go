package nats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
)

func TestF04ServerRestartedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	port := server.RANDOM_PORT
	start := func() *server.Server {
		s := serve(t, func(o *server.Options) { o.StoreDir, o.Port = dir, port })
		port = s.Addr().(*net.TCPAddr).Port
		return s
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
		shutdown(s)
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
		shutdown(s)
		s = start()
	})
}

// deliver writes a batch as the engine does: opening a new instance after each error.
func deliver(t *testing.T, s *nats.SinkSettings, batch bridge.Batch, delivered chan<- int) error {
	defer close(delivered)
	total := len(batch)
	for end := time.Now().Add(3 * bridgetest.Timeout); len(batch) > 0; {
		if time.Now().After(end) {
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
			batch = batch[r.Settled:]
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
	for end := time.Now().Add(3 * bridgetest.Timeout); len(seen) < total; {
		if time.Now().After(end) {
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
	s := serve(t, nil)
	stream := createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	line, silence := newLine(t, s.Addr().String())
	set := func(s *nats.SinkSettings) { s.JetStream, s.AckTimeout = true, 200*time.Millisecond }
	cut := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) {
		set(s)
		s.URL = url(t, "nats://"+line)
	}))
	batch := numbered(0, 500)
	deliverAll(t, cut, batch[:100])
	silence()
	if r, err := cut.Write(t.Context(), batch[100:]); r.Settled != 0 || err == nil {
		t.Fatalf("wrote %d with %v without any confirmation", r.Settled, err)
	}
	stored(t, stream, 500)
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
	defer func() { _ = l.Close() }() // it takes connections and never says a word
	settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
	settings.URL, settings.Subject = url(t, "nats://"+l.Addr().String()), bridge.Text("a")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	_, err = nats.Connector().Sink.Open(ctx, settings, bridgetest.Env(t, "test-to"))
	if took := time.Since(began); !errors.Is(err, context.Canceled) || took > 5*time.Second {
		t.Errorf("after %s: %v, want context.Canceled at once", took, err)
	}
}

// TestF08HalfOpenPeer cuts the line without telling anybody.
func TestF08HalfOpenPeer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the time in which a silent server is noticed")
	}
	s := serve(t, nil)
	createStream(t, client(t, s), jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}})
	for name, run := range map[string]func(t *testing.T, u []bridge.URL, silence func()) error{
		"core sink": func(t *testing.T, u []bridge.URL, silence func()) error {
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.URL = u }))
			silence()
			_, err := sink.Write(t.Context(), numbered(0, 1))
			return err
		},
		"jetstream sink": func(t *testing.T, u []bridge.URL, silence func()) error {
			sink := openSink(t, sinkSettings(t, s, func(s *nats.SinkSettings) { s.URL, s.JetStream, s.AckTimeout = u, true, time.Second }))
			silence()
			_, err := sink.Write(t.Context(), numbered(0, 1))
			return err
		},
		"jetstream source": func(t *testing.T, u []bridge.URL, silence func()) error {
			source := openSource(t, sourceSettings(t, s, func(s *nats.SourceSettings) { s.URL, s.Stream = u, "S" }), bridgetest.Env(t, "test-from"))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			if _, _, err := source.Read(ctx); !errors.Is(err, context.Canceled) { // the request is on its way
				return fmt.Errorf("first read: %w", err)
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
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("noticed after %s", took)
			}
		})
	}
}
