package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// buffered is a file with the pipeline relay: MQTT → buffer → JetStream.
func buffered(t *testing.T, dir string, broker *bridgetest.Mosquitto, natsAddr, rest string) string {
	t.Helper()
	return write(t, dir, "pipelines.yaml", fmt.Sprintf(`
state: {dir: "%s"}
pipelines:
  relay:
    from: {mqtt: {url: "%s", topics: ["in/#"], qos: 1, client_id: relay}}
    buffer: {disk: {max_bytes: 4GiB}}
    to: {nats: {url: "nats://%s", stream: OUT, subject: "OUT.{{ segment(topic, 1) }}"}}
%s`, filepath.Join(dir, "state"), broker.URL, natsAddr, rest))
}

// F01: kill -9 at random progress between MQTT at QoS 1 and JetStream, with the buffer in between.
// Nothing is lost, order per key is kept, and a kill doubles no more than what was in flight.
func TestF01KillNineWithBuffer(t *testing.T) {
	t.Parallel()
	kills, n := faulttest.Pick(5, 30), faulttest.Pick(15_000, 100_000)
	const window = 1000 // max_in_flight, of the source and so of what may come again
	rng := faulttest.Rand(t)
	broker, h, dir := bridgetest.StartMosquitto(t), startHub(t), t.TempDir()
	ledger := new(faulttest.Ledger)
	out := h.outlet("OUT", ledger)
	config := buffered(t, dir, broker, h.addr, "")
	p := start(t, dir, io.Discard, "run", config)
	p.opened(4) // the source last: what is published before that is for nobody
	from := newProducer(t, broker.URL, "in", 256, ledger)
	published := make(chan struct{})
	go func() { defer close(published); from.publish(n, 2000, t.Context().Done()) }()
	var slowest time.Duration
	for k := range kills {
		at := (n/kills)*k + 1 + rng.IntN(n/kills-1)
		bridgetest.Eventually(t, fmt.Sprintf("%d messages are through", at), func() bool { return out.delivered() >= at })
		p.kill()
		before := out.delivered()
		p = start(t, dir, io.Discard, "run", config)
		began := time.Now()
		bridgetest.Eventually(t, "messages flow again", func() bool { return out.delivered() > before || before == n })
		slowest = max(slowest, time.Since(began))
	}
	<-published
	out.await(n)
	p.opened(4) // before that it may not know the signal, if nothing was left to deliver
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	out.delivered()
	ledger.Check(t, n)
	if again := ledger.Report().Duplicated; again > kills*window {
		t.Errorf("%d came again, more than %d kills explain", again, kills)
	}
	t.Logf("%d kills; the first delivery after one took %s at most", kills, slowest)
}

// F28: SIGTERM under load at 5,000 messages a second, with a slow way to the sink: nothing is lost,
// and nothing comes twice.
func TestF28SIGTERMWithBuffer(t *testing.T) {
	t.Parallel()
	stops, n := faulttest.Pick(4, 20), faulttest.Pick(20_000, 100_000)
	broker, h, dir := bridgetest.StartMosquitto(t), startHub(t), t.TempDir()
	proxy := faulttest.NewProxy(t, h.addr)
	proxy.Set(faulttest.Fault{Latency: 30 * time.Millisecond})
	ledger := new(faulttest.Ledger)
	// A stream that knows no message again, so that it does not hide what comes twice.
	out := h.outlet("OUT", ledger, func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
	config := buffered(t, dir, broker, proxy.Addr(), "")
	p := start(t, dir, io.Discard, "run", config)
	p.opened(4) // the source last: what is published before that is for nobody
	from := newProducer(t, broker.URL, "in", 256, ledger)
	published := make(chan struct{})
	go func() { defer close(published); from.publish(n, 5000, t.Context().Done()) }()
	var slowest time.Duration
	for k := range stops {
		bridgetest.Eventually(t, "messages flow", func() bool { return out.delivered() > n/(stops+1)*(k+1)/2 })
		began := time.Now()
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != exitDone {
			t.Errorf("exit code %d", code)
		}
		slowest = max(slowest, time.Since(began))
		p = start(t, dir, io.Discard, "run", config)
		p.opened(4) // a stop before everything is connected is exit code 1
	}
	<-published
	out.await(n)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	out.delivered()
	ledger.Check(t, n)
	if again := ledger.Report().Duplicated; again > 0 {
		t.Errorf("%d came twice", again)
	}
	t.Logf("%d stops, %s at most each", stops, slowest)
}

// F11 and what an operator does: the way to the sink swallows everything while messages come in,
// the bridge is restarted in the middle, and then the way is open again. Every message is in the
// stream once, memory stays flat, another pipeline notices nothing, and buffer status tells the
// truth throughout.
func TestF11SinkStalled(t *testing.T) {
	t.Parallel()
	const rate, size = 2000, 1024
	n := rate * int(faulttest.Pick(20*time.Second, 10*time.Minute).Seconds())
	broker, h, dir := bridgetest.StartMosquitto(t), startHub(t), t.TempDir()
	proxy := faulttest.NewProxy(t, h.addr)
	stalled, healthy := new(faulttest.Ledger), new(faulttest.Ledger)
	out, other := h.outlet("OUT", stalled), h.outlet("OTHER", healthy)
	config := buffered(t, dir, broker, proxy.Addr(), fmt.Sprintf(`
  other:
    from: {mqtt: {url: "%s", topics: ["other/#"], qos: 1, client_id: other}}
    to: {nats: {url: "nats://%s", stream: OTHER, subject: "OTHER.{{ segment(topic, 1) }}"}}
`, broker.URL, h.addr))
	run := func() *process {
		// The memory that is meant leaves out the program itself, 27 MiB; without a limit garbage may
		// pile up.
		return launch(t, dir, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Environ(), "GOMEMLIMIT=80MiB") }, "run", config)
	}
	p := run()
	p.opened(6)
	from, beside := newProducer(t, broker.URL, "in", size, stalled), newProducer(t, broker.URL, "other", size, healthy)
	from.publish(2*rate, rate, nil)
	// What has arrived, but without its confirmation, would be owed all the same.
	bridgetest.Eventually(t, "all of it is confirmed",
		func() bool { return out.delivered() == 2*rate && bufferStatus(t, dir) == 0 })
	calm := p.rss()

	proxy.Set(faulttest.Fault{BlackHole: true})
	published, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(published); from.publish(n, rate, t.Context().Done()) }()
	go func() { defer close(stopped); beside.publish(n/4, rate/4, t.Context().Done()) }()
	highest, looks, restarted := 0, 0, false
	for over := false; !over; {
		select {
		case <-published:
			over = true
		case <-time.After(500 * time.Millisecond):
		}
		if !restarted && int(from.sent.Load()) > 2*rate+n/2 {
			restarted = true
			p.signal(syscall.SIGTERM)
			if code := p.exit(); code != exitDone { // what is owed is in the buffer
				t.Errorf("exit code %d", code)
			}
			p = run()
			p.opened(4) // an end of the buffer among them
		}
		highest = max(highest, p.rss())
		accepted := stalled.Report().Accepted - 2*rate
		bridgetest.Eventually(t, "buffer status says that all is there that the broker had taken", func() bool {
			held := bufferStatus(t, dir)
			if most := int(from.sent.Load()) - 2*rate; held > most {
				t.Errorf("buffer status says %d, of %d that were sent", held, most)
			}
			return held >= accepted
		})
		looks++
	}
	<-stopped
	bridgetest.Eventually(t, "all of it is in the buffer", func() bool { return bufferStatus(t, dir) == n })
	other.await(n / 4) // while the first one is stalled

	proxy.Set(faulttest.Fault{})
	began := time.Now()
	out.await(2*rate + n)
	took := time.Since(began)
	bridgetest.Eventually(t, "the buffer is empty", func() bool { return bufferStatus(t, dir) == 0 })
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	out.delivered()
	other.delivered()
	stalled.Check(t, 2*rate+n)
	healthy.Check(t, n/4)
	if again := stalled.Report().Duplicated; again > 0 {
		t.Errorf("%d came twice", again)
	}
	const mib = 1 << 20
	if highest > calm+64*mib && !raceDetector {
		t.Errorf("memory rose from %d to %d MiB", calm/mib, highest/mib)
	}
	t.Logf("%d messages owed; memory %d MiB before, %d MiB at most; drained in %s, %.0f a second; "+
		"buffer status was right %d times",
		n, calm/mib, highest/mib, took, float64(n)/took.Seconds(), looks)
}

// bufferStatus returns how many messages xrtcbridge says are in the buffer of relay.
func bufferStatus(t *testing.T, dir string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xrtcbridge", "buffer", "status", "relay", "--json", "--state",
		filepath.Join(dir, "state"))
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("buffer status: %v", err)
	}
	var st store.Status
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Messages)
}
