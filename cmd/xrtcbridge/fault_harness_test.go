package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
)

// hub is a NATS server that is not under test, and outlives the bridge.
type hub struct {
	t    testing.TB
	addr string
	js   jetstream.JetStream
}

func startHub(t testing.TB) *hub {
	t.Helper()
	s := natstest.Start(t, nil)
	c, err := natsgo.Connect(s.ClientURL(), natsgo.Timeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c, jetstream.WithDefaultTimeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	return &hub{t: t, addr: s.Addr().String(), js: js}
}

// outlet is a stream of a hub, and what is known of its messages.
type outlet struct {
	t        testing.TB
	stream   jetstream.Stream
	ledger   *faulttest.Ledger
	consumer jetstream.Consumer
	read     uint64 // of the stream's messages
	newest   []byte // payload of the last of them
}

// outlet makes a stream for the subjects NAME.>. It knows a message again for an hour, as an outage may be that long.
func (h *hub) outlet(name string, ledger *faulttest.Ledger, change ...func(*jetstream.StreamConfig)) *outlet {
	h.t.Helper()
	config := jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Duplicates: time.Hour}
	for _, c := range change {
		c(&config)
	}
	stream, err := h.js.CreateStream(h.t.Context(), config)
	if err != nil {
		h.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(h.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		h.t.Fatal(err)
	}
	return &outlet{t: h.t, stream: stream, consumer: consumer, ledger: ledger}
}

// delivered notes what has arrived since the last call, and returns how many messages have arrived in all.
func (o *outlet) delivered() int {
	o.t.Helper()
	info, err := o.stream.Info(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for last := info.State.LastSeq; o.read < last; {
		batch, err := o.consumer.Fetch(int(min(last-o.read, 1000)), jetstream.FetchMaxWait(bridgetest.Timeout))
		if err != nil {
			o.t.Fatal(err)
		}
		for m := range batch.Messages() {
			o.ledger.Delivered(m.Data())
			o.newest = m.Data()
			o.read++
		}
		if err := batch.Error(); err != nil && !errors.Is(err, natsgo.ErrTimeout) {
			o.t.Fatal(err)
		}
	}
	return o.ledger.Report().Delivered
}

// await waits until n different messages have arrived.
func (o *outlet) await(n int) {
	o.t.Helper()
	defer func() {
		if o.t.Failed() {
			o.t.Logf("%d records read: %s", o.read, o.ledger.Report())
		}
	}()
	bridgetest.Reach(o.t, "messages have arrived", n, o.delivered)
}

// producer publishes messages of a ledger over MQTT at QoS 1. Keys go round: key k is at topic PREFIX/k.
type producer struct {
	t      *testing.T
	client paho.Client
	prefix string
	size   int
	ledger *faulttest.Ledger
	sent   atomic.Int64
	unsure sync.WaitGroup // messages without a PUBACK
	next   uint64
}

const keys = 10

func newProducer(t *testing.T, url, prefix string, size int, ledger *faulttest.Ledger) *producer {
	t.Helper()
	options := paho.NewClientOptions().AddBroker(strings.Replace(url, "mqtt:", "tcp:", 1)).SetClientID(
		"producer-" + prefix).SetOrderMatters(false)
	options.SetPingTimeout(bridgetest.Timeout) // a connection that is lost costs what is under way
	p := &producer{t: t, client: paho.NewClient(options), prefix: prefix, size: size, ledger: ledger}
	if token := p.client.Connect(); !token.WaitTimeout(bridgetest.Timeout) || token.Error() != nil {
		t.Fatalf("connect to %s: %v", url, token.Error())
	}
	t.Cleanup(func() { p.client.Disconnect(0) })
	return p
}

// publish sends n messages, rate of them a second, and waits until the broker has them all. Stop ends it before.
func (p *producer) publish(n, rate int, stop <-chan struct{}) {
	const beat = 5 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	defer p.unsure.Wait()
	begin := time.Now()
	for done := 0; done < n; {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		for due := min(n, int(time.Since(begin).Seconds()*float64(rate))); done < due; done++ {
			p.one()
		}
	}
}

func (p *producer) one() {
	key := "k" + strconv.FormatUint(p.next%keys, 10)
	payload := faulttest.Payload(p.t.Name(), 0, p.next, key, p.size)
	p.next++
	p.ledger.Sent(payload)
	p.sent.Add(1)
	token := p.client.Publish(p.prefix+"/"+key, 1, false, payload)
	p.unsure.Go(func() {
		if token.WaitTimeout(bridgetest.Timeout) && token.Error() == nil {
			p.ledger.Accepted(payload)
		}
	})
}

// lineKey is the key of all lines of a file, which keep their order.
const lineKey = "file"

// lines appends n messages of a ledger to a file, and returns when they are on the disk.
func lines(t *testing.T, path string, first uint64, n, size int, ledger *faulttest.Ledger) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for i := range uint64(n) {
		payload := faulttest.Payload(t.Name(), 0, first+i, lineKey, size)
		ledger.Sent(payload)
		ledger.Accepted(payload)
		text = append(append(text, payload...), '\n')
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// rss returns the resident memory of a process in bytes, 0 if it has ended.
func (p *process) rss() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n << 10
}
