package connectors_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/connectors"
)

// BenchmarkPairs runs each pair of connectors as a pipeline and as the shortest
// hand-written loop over the same libraries, one after the other in each round, and reports the
// medians and their ratio. Servers and load share the process, so only ratios mean something.
func BenchmarkPairs(b *testing.B) {
	for _, p := range []pair{
		{"stdio-stdio", 1_000_000, linesToLines, `{stdio: {}}`, `{stdio: {}}`, loopLines},
		{"file-file", 1_000_000, linesToLines, `{file: {path: "$IN"}}`, `{file: {path: "$OUT", sync: false}}`, loopLines},
		{"file-nats", 500_000, linesToNATS, `{file: {path: "$IN"}}`, `{nats: {url: "$NATS", subject: out}}`, loopLinesToNATS},
		{
			"nats-file", 500_000, natsToLines, `{nats: {url: "$NATS", subject: in}}`,
			`{file: {path: "$OUT", sync: false}}`, loopNATSToLines,
		},
		{
			"mqtt-nats", 200_000, mqttToNATS, `{mqtt: {url: "$MQTT", topics: [in], qos: 0}}`,
			`{nats: {url: "$NATS", subject: out}}`, loopMQTTToNATS,
		},
		{
			"mqtt1-jetstream", 100_000, mqttToNATS, `{mqtt: {url: "$MQTT", topics: [in], qos: 1, session: clean}}`,
			`{nats: {url: "$NATS", subject: out, stream: OUT}}`, loopMQTTToJetStream,
		},
		{
			"nats-mqtt", 200_000, natsToMQTT, `{nats: {url: "$NATS", subject: in}}`,
			`{mqtt: {url: "$MQTT", topic: out, qos: 0}}`, loopNATSToMQTT,
		},
	} {
		b.Run(p.name, p.bench)
	}
}

const rounds = 5

// pair is a source and a sink, with the loop that does the same by hand.
type pair struct {
	name     string
	n        int // messages a round
	ends     func(b *testing.B, f *field, qos byte, n int, under func(ctx context.Context)) time.Duration
	from, to string
	loop     func(ctx context.Context, f *field)
}

func (p pair) bench(b *testing.B) {
	f := newField(b, p)
	var ours, loops []float64
	for b.Loop() {
		for range rounds {
			loops = append(loops, p.rate(b, f, func(ctx context.Context) { p.loop(ctx, f) }))
			ours = append(ours, p.rate(b, f, func(ctx context.Context) { p.pipeline(b, ctx, f) }))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ours), "bridge-msg/s")
	b.ReportMetric(median(loops), "loop-msg/s")
	b.ReportMetric(median(ours)/median(loops), "ratio")
}

func (p pair) rate(b *testing.B, f *field, under func(ctx context.Context)) float64 {
	f.reset(b)
	qos := byte(0)
	if strings.Contains(p.from, "qos: 1") {
		qos = 1
	}
	took := p.ends(b, f, qos, p.n, under)
	return float64(p.n) / took.Seconds()
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func (p pair) pipeline(b *testing.B, ctx context.Context, f *field) {
	fill := strings.NewReplacer("$IN", f.in, "$OUT", f.out, "$NATS", f.nats, "$MQTT", f.mqtt)
	text := fmt.Sprintf("pipelines: {bench: {from: %s, to: %s}}", fill.Replace(p.from), fill.Replace(p.to))
	c, err := config.Loader{Registry: bridge.NewRegistry(connectors.Builtin()...)}.Parse("bench", []byte(text))
	if err != nil {
		b.Error(err)
		return
	}
	if err := c.Pipelines[0].Run(ctx, bridge.Env{Stdin: f.stdin, Stdout: f.stdout}, nil); err != nil {
		b.Error(err)
	}
}

// field is what both contestants work on.
type field struct {
	in, out       string
	stdin, stdout *os.File
	nats, mqtt    string
	load          *nats.Conn
}

func newField(b *testing.B, p pair) *field {
	dir := b.TempDir()
	f := &field{in: filepath.Join(dir, "in"), out: filepath.Join(dir, "out")}
	if strings.Contains(p.from, "$IN") || strings.Contains(p.from, "stdio") {
		line := append(bytes.Repeat([]byte("x"), 199), '\n')
		check(b, os.WriteFile(f.in, bytes.Repeat(line, p.n), 0o600))
	}
	if strings.Contains(p.from+p.to, "$MQTT") {
		f.mqtt = bridgetest.StartMosquitto(b).URL
	}
	if strings.Contains(p.from+p.to, "$NATS") {
		s, err := embedded.Start(b.Context(), embedded.Settings{NATS: &embedded.NATS{
			Listen: "127.0.0.1:0",
			Open:   true, Durability: "process",
		}}, nil)
		check(b, err)
		b.Cleanup(func() { s.Close() })
		f.nats = s.NATSURL()
		f.load, err = nats.Connect(f.nats)
		check(b, err)
		b.Cleanup(f.load.Close)
		js, err := jetstream.New(f.load)
		check(b, err)
		if strings.Contains(p.to, "OUT}") {
			_, err = js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "OUT", Subjects: []string{"out"}})
			check(b, err)
		}
	}
	return f
}

// reset opens the line files anew.
func (f *field) reset(b *testing.B) {
	_ = os.Remove(f.out)
	var err error
	if f.stdin, err = os.Open(f.in); err != nil {
		f.stdin = nil
	}
	f.stdout, err = os.Create(f.out)
	check(b, err)
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// The ends feed a contestant and time it until everything has come out.

func linesToLines(b *testing.B, f *field, _ byte, n int, under func(context.Context)) time.Duration {
	start := time.Now()
	under(b.Context())
	took := time.Since(start)
	if info, err := os.Stat(f.out); err != nil || info.Size() != int64(n)*200 {
		b.Fatalf("%d lines did not all arrive: %v", n, err)
	}
	return took
}

func linesToNATS(b *testing.B, f *field, _ byte, n int, under func(context.Context)) time.Duration {
	done := f.countNATS(b, n)
	start := time.Now()
	under(b.Context())
	<-done
	return time.Since(start)
}

func (f *field) countNATS(b *testing.B, n int) <-chan struct{} {
	_, done := f.tallyNATS(b, n)
	return done
}

func (f *field) tallyNATS(b *testing.B, n int) (*atomic.Int64, <-chan struct{}) {
	var got atomic.Int64
	done := make(chan struct{})
	sub, err := f.load.Subscribe("out", func(*nats.Msg) {
		if got.Add(1) == int64(n) {
			close(done)
		}
	})
	check(b, err)
	check(b, sub.SetPendingLimits(-1, -1))
	check(b, f.load.Flush())
	b.Cleanup(func() { _ = sub.Unsubscribe() })
	go func() { <-done; _ = sub.Unsubscribe() }()
	return &got, done
}

// window is how many messages may be on their way: no broker drops any, and no queue grows.
const window = 8192

func send(n int, got *atomic.Int64, one func(), flush func()) {
	for i := range n {
		one()
		if i%256 == 255 || i == n-1 {
			flush()
			for int64(i)-got.Load() > window {
				time.Sleep(50 * time.Microsecond) //nolint:forbidigo // the load's pace, not a test's
			}
		}
	}
}

func (f *field) sendNATS(n int, got *atomic.Int64) {
	body := bytes.Repeat([]byte("x"), 199)
	send(n, got, func() { _ = f.load.Publish("in", body) }, func() { _ = f.load.Flush() })
}

func natsToLines(b *testing.B, f *field, _ byte, n int, under func(context.Context)) time.Duration {
	var got atomic.Int64
	return f.whileRunning(b, under, func() {
		go func() {
			for got.Load() < int64(n) {
				if info, err := os.Stat(f.out); err == nil {
					got.Store(info.Size() / 200)
				}
				time.Sleep(time.Millisecond) //nolint:forbidigo // the load's pace, not a test's
			}
		}()
		f.sendNATS(n, &got)
		for got.Load() < int64(n) {
			time.Sleep(time.Millisecond) //nolint:forbidigo // the load's pace, not a test's
		}
	})
}

func mqttToNATS(b *testing.B, f *field, qos byte, n int, under func(context.Context)) time.Duration {
	got, done := f.tallyNATS(b, n)
	c := dialRaw(b, f.mqtt)
	defer c.Close()
	return f.whileRunning(b, under, func() {
		c.publish(b, n, qos, got)
		<-done
	})
}

func natsToMQTT(b *testing.B, f *field, _ byte, n int, under func(context.Context)) time.Duration {
	c := dialRaw(b, f.mqtt)
	defer c.Close()
	got, done := c.subscribe(b, "out", n)
	return f.whileRunning(b, under, func() {
		f.sendNATS(n, got)
		<-done
	})
}

// whileRunning starts the contestant, waits until a probe shows that it is subscribed, and times work.
func (f *field) whileRunning(b *testing.B, under func(context.Context), work func()) time.Duration {
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { under(ctx) })
	time.Sleep(300 * time.Millisecond) //nolint:forbidigo // time to subscribe; too short shows as a hang, not as a wrong figure
	start := time.Now()
	work()
	took := time.Since(start)
	stop()
	running.Wait()
	return took
}

// raw is the load's end of an MQTT connection, cheaper than any client library.
type raw struct {
	net.Conn
	w *bufio.Writer
}

func dialRaw(b *testing.B, address string) *raw {
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "mqtt://"))
	check(b, err)
	c := &raw{conn, bufio.NewWriterSize(conn, 1<<16)}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.CleanSession = "MQTT", 4, true
	hello.ClientIdentifier = fmt.Sprintf("load-%d", time.Now().UnixNano())
	check(b, hello.Write(conn))
	_, err = packets.ReadPacket(conn)
	check(b, err)
	return c
}

func (c *raw) publish(b *testing.B, n int, qos byte, got *atomic.Int64) {
	if qos > 0 {
		go func() { _, _ = io.Copy(io.Discard, c.Conn) }() // acknowledgements
	}
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.TopicName, m.Qos, m.Payload = "in", qos, bytes.Repeat([]byte("x"), 199)
	send(n, got, func() {
		m.MessageID = m.MessageID%65535 + 1
		check(b, m.Write(c.w))
	}, func() { check(b, c.w.Flush()) })
}

func (c *raw) subscribe(b *testing.B, topic string, n int) (*atomic.Int64, <-chan struct{}) {
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics, s.Qoss = 1, []string{topic}, []byte{0}
	check(b, s.Write(c.Conn))
	r := bufio.NewReaderSize(c.Conn, 1<<16)
	_, err := packets.ReadPacket(r)
	check(b, err)
	var got atomic.Int64
	done := make(chan struct{})
	go func() {
		for got.Load() < int64(n) {
			if _, err := packets.ReadPacket(r); err != nil {
				return
			}
			got.Add(1)
		}
		close(done)
	}()
	return &got, done
}

// The loops: what one would write by hand for this one job.

func loopLines(_ context.Context, f *field) {
	in, out := f.stdin, bufio.NewWriterSize(f.stdout, 1<<16)
	r := bufio.NewReaderSize(in, 1<<16)
	for {
		line, err := r.ReadSlice('\n')
		_, _ = out.Write(line)
		if err != nil {
			break
		}
	}
	_ = out.Flush()
}

func loopLinesToNATS(_ context.Context, f *field) {
	nc, _ := nats.Connect(f.nats)
	defer nc.Close()
	r := bufio.NewReaderSize(f.stdin, 1<<16)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		_ = nc.Publish("out", line[:len(line)-1])
	}
	_ = nc.Flush()
}

func loopNATSToLines(ctx context.Context, f *field) {
	nc, _ := nats.Connect(f.nats)
	defer nc.Close()
	out := bufio.NewWriterSize(f.stdout, 1<<16)
	arrived := make(chan *nats.Msg, 1<<16)
	_, _ = nc.ChanSubscribe("in", arrived)
	for {
		select {
		case m := <-arrived:
			_, _ = out.Write(m.Data)
			_ = out.WriteByte('\n')
			if len(arrived) == 0 {
				_ = out.Flush()
			}
		case <-ctx.Done():
			return
		}
	}
}

func loopMQTTToNATS(ctx context.Context, f *field) {
	nc, _ := nats.Connect(f.nats)
	defer nc.Close()
	c := pahoClient(f.mqtt, false)
	defer c.Disconnect(0)
	c.Subscribe("in", 0, func(_ paho.Client, m paho.Message) { _ = nc.Publish("out", m.Payload()) }).Wait()
	<-ctx.Done()
}

func loopMQTTToJetStream(ctx context.Context, f *field) {
	nc, _ := nats.Connect(f.nats)
	defer nc.Close()
	js, _ := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024))
	type sent struct {
		m paho.Message
		f jetstream.PubAckFuture
	}
	inOrder := make(chan sent, 1000) // below the library's limit, where publishing fails
	var acking sync.WaitGroup
	acking.Go(func() {
		for s := range inOrder {
			select {
			case <-s.f.Ok():
				s.m.Ack()
			case <-s.f.Err(): //nolint:errcheck // the message is then missing at the end, which hangs
			}
		}
	})
	c := pahoClient(f.mqtt, true)
	c.Subscribe("in", 1, func(_ paho.Client, m paho.Message) {
		if future, err := js.PublishAsync("out", m.Payload()); err == nil {
			inOrder <- sent{m, future}
		}
	}).Wait()
	<-ctx.Done()
	c.Disconnect(100)
	close(inOrder)
	acking.Wait()
}

func loopNATSToMQTT(ctx context.Context, f *field) {
	nc, _ := nats.Connect(f.nats)
	defer nc.Close()
	c := pahoClient(f.mqtt, false)
	defer c.Disconnect(0)
	_, _ = nc.Subscribe("in", func(m *nats.Msg) { c.Publish("out", 0, false, m.Data) })
	<-ctx.Done()
}

// pahoClient connects paho over a connection that reads and writes many packets with one system call.
func pahoClient(address string, manualAck bool) paho.Client {
	o := paho.NewClientOptions().AddBroker(address).SetClientID(fmt.Sprintf("loop-%d", time.Now().UnixNano()))
	o.SetAutoAckDisabled(manualAck)
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			return nil, err
		}
		return newBuffered(conn), nil
	})
	c := paho.NewClient(o)
	c.Connect().Wait()
	return c
}

// buffered reads ahead, and writes what has gathered while the last write was under way.
type buffered struct {
	net.Conn
	r      *bufio.Reader
	mu     sync.Mutex // guards what follows
	more   *sync.Cond
	queue  []byte
	closed bool
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, r: bufio.NewReaderSize(c, 1<<16)}
	b.more = sync.NewCond(&b.mu)
	go b.flush()
	return b
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.queue) > 1<<18 && !b.closed {
		b.more.Wait()
	}
	b.queue = append(b.queue, p...)
	b.more.Broadcast()
	return len(p), nil
}

func (b *buffered) Close() error {
	b.mu.Lock()
	b.closed = true
	b.more.Broadcast()
	b.mu.Unlock()
	return b.Conn.Close()
}

func (b *buffered) flush() {
	var out []byte
	for {
		b.mu.Lock()
		for len(b.queue) == 0 && !b.closed {
			b.more.Wait()
		}
		out, b.queue = b.queue, out[:0]
		closed := b.closed
		b.more.Broadcast()
		b.mu.Unlock()
		if _, err := b.Conn.Write(out); err != nil || closed {
			return
		}
	}
}
