package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/browsertest"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
)

// BenchmarkWatched is a bridge from mosquitto to JetStream that is looked at by all that can look:
// the page in chromium, top on a terminal, three taps and a scraper of /metrics. In each round it is
// not looked at first and looked at then. It reports the medians of both and their ratio, what
// processor time the bridge takes for a million messages, and how many processors those who look
// take. They, the brokers and the load share the machine with it, so that only ratios mean something.
// Elsewhere has those who look run when nobody else wants a processor, as if theirs was another
// machine: what is left is what they cost the bridge. No message may be lost or doubled.
func BenchmarkWatched(b *testing.B) {
	n := faulttest.Pick(100_000, 400_000)
	b.Run("Full", func(b *testing.B) { benchmarkWatched(b, n, 0, false) })
	b.Run("FullElsewhere", func(b *testing.B) { benchmarkWatched(b, n, 0, true) })
	b.Run("At20k", func(b *testing.B) { benchmarkWatched(b, n, 20_000, false) })
}

func benchmarkWatched(b *testing.B, n, rate int, elsewhere bool) {
	w := newWatched(b)
	w.run(n/4, rate) // what is warm stays warm
	var alone, watched runs
	for b.Loop() {
		for range faulttest.Pick(3, 9) {
			alone.add(w.run(n, rate))
			w.look()
			if elsewhere {
				w.standBack()
			}
			watched.add(w.run(n, rate))
			w.lookAway()
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(alone.rates), "alone-msg/s")
	b.ReportMetric(median(watched.rates), "watched-msg/s")
	b.ReportMetric(median(watched.rates)/median(alone.rates), "ratio")
	b.ReportMetric(median(alone.cpu), "alone-cpu-s/Mmsg")
	b.ReportMetric(median(watched.cpu), "watched-cpu-s/Mmsg")
	b.ReportMetric(median(watched.lookers), "lookers-cpus")
	b.Logf("messages/s alone %.0f, watched %.0f; processor seconds %.1f, %.1f",
		alone.rates, watched.rates, alone.cpu, watched.cpu)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// runs is what was measured: messages a second, processor seconds of the bridge for a million, and
// processors that those who look have taken.
type runs struct{ rates, cpu, lookers []float64 }

func (r *runs) add(rate, cpu, lookers float64) {
	r.rates, r.cpu, r.lookers = append(r.rates, rate), append(r.cpu, cpu), append(r.lookers, lookers)
}

// watched is a bridge, its two ends, and who looks at it.
type watched struct {
	b      *testing.B
	bridge *process
	dir    string
	admin  string // its address
	load   *mqttLoad
	stream jetstream.Stream
	nc     *natsgo.Conn
	tab    *browsertest.Tab
	number int // of the run
	all    int // messages that were sent
	looks  []looker
}

const watchedToken = "a-token-for-the-benchmark-0123456789"

func newWatched(b *testing.B) *watched {
	b.Helper()
	w := &watched{b: b, dir: b.TempDir(), admin: bridgetest.FreeAddr(b), tab: browsertest.Start(b)(b)}
	broker, hub := bridgetest.StartMosquitto(b), startHub(b)
	// The server is slower the more messages it knows again, which would be a matter of the run's number.
	stream, err := hub.js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: "OUT", Subjects: []string{"out"}, Duplicates: time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	w.stream, w.nc = stream, hub.js.Conn()
	write(b, w.dir, "p.yaml", fmt.Sprintf(`
admin: {listen: %q, token: %q}
pipelines:
  watched:
    from: {mqtt: {url: %q, topics: [in], qos: 1}}
    to: {nats: {url: "nats://%s", stream: OUT, subject: out}}
`, w.admin, watchedToken, broker.URL, hub.addr))
	w.bridge = start(b, w.dir, io.Discard, "run", "--log-format", "json", "p.yaml")
	w.bridge.opened(2)
	w.load = newMQTTLoad(b, broker.Addr)
	return w
}

// run sends n messages, so many a second, or as fast as they arrive, and returns when the stream has
// each of them once.
func (w *watched) run(n, rate int) (messages, cpu, lookers float64) {
	w.b.Helper()
	w.number++
	w.all += n
	var got, strange atomic.Int64
	seen, done := make([]bool, n), make(chan struct{})
	prefix := fmt.Sprintf("%06d ", w.number)
	sub, err := w.nc.Subscribe("out", func(m *natsgo.Msg) {
		rest, mine := strings.CutPrefix(string(m.Data), prefix)
		i, err := strconv.Atoi(rest[:min(8, len(rest))])
		if !mine || err != nil || i >= n || seen[i] {
			strange.Add(1)
			return
		}
		seen[i] = true
		if got.Add(1) == int64(n) {
			close(done)
		}
	})
	w.check(err)
	w.check(sub.SetPendingLimits(-1, -1))
	w.check(w.nc.Flush())
	began, used, before := time.Now(), cpuOf(w.b, w.bridge.cmd.Process.Pid), w.lookersCPU()
	w.load.send(prefix, n, rate, &got)
	bridgetest.Reach(w.b, "messages", n, func() int { return int(got.Load()) })
	<-done
	// What is on its way to the stream was seen before it is there.
	stored := func() int {
		info, err := w.stream.Info(w.b.Context())
		w.check(err)
		return int(info.State.Msgs)
	}
	bridgetest.Reach(w.b, "messages are stored", n, stored)
	took := time.Since(began)
	used = cpuOf(w.b, w.bridge.cmd.Process.Pid) - used
	var theirs time.Duration
	for pid, after := range w.lookersCPU() {
		theirs += after - before[pid]
	}
	w.check(sub.Unsubscribe())
	if s, has := strange.Load(), stored(); s > 0 || has != n {
		w.b.Errorf("run %d: %d messages came twice, and the stream has %d of %d", w.number, s, has, n)
	}
	w.check(w.stream.Purge(w.b.Context()))
	return float64(n) / took.Seconds(), used.Seconds() / float64(n) * 1e6, theirs.Seconds() / took.Seconds()
}

func (w *watched) check(err error) {
	w.b.Helper()
	if err != nil {
		w.b.Fatal(err)
	}
}

// look has all look, and returns when they do.
func (w *watched) look() {
	w.b.Helper()
	w.looks = []looker{w.page(), w.top(), w.scraper()}
	for _, args := range [][]string{
		{"watched"}, {"watched/from", "--json"}, {"watched/sinks", "--when", `payload contains "7 "`},
	} {
		w.looks = append(w.looks, startLooker(w.b, w.dir, nil, append([]string{"tap"}, args...)...))
	}
	for _, l := range w.looks[:3] { // taps are silent until a message comes
		bridgetest.Eventually(w.b, l.name+" looks", func() bool { return l.seen() > 0 })
	}
}

// standBack gives those who look the lowest priority.
func (w *watched) standBack() {
	w.b.Helper()
	for pid := range w.lookersCPU() {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		w.check(err)
		for _, path := range threads { // each has its own, which those that it starts inherit
			id, _ := strconv.Atoi(filepath.Base(path))
			if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, 19); !errors.Is(err, syscall.ESRCH) { // it has ended
				w.check(err)
			}
		}
	}
}

// lookAway has all look away, and checks that each has seen something.
func (w *watched) lookAway() {
	w.b.Helper()
	for _, l := range w.looks {
		if n := l.seen(); n == 0 {
			w.b.Errorf("%s has seen nothing", l.name)
		}
		l.stop()
	}
	w.looks = nil
}

// page opens the page, of which is counted what it says was delivered.
func (w *watched) page() looker {
	w.b.Helper()
	w.tab.Go(dashboardLink(w.b, w.dir))
	w.tab.Until(browsertest.Has("#name", "watched"))
	return looker{
		"the page",
		func() int64 {
			return browsertest.Eval[int64](w.tab, `view.status.pipelines[0].ledger.delivered`)
		},
		func() {
			// What was delivered is on it within two seconds.
			late := time.Now().Add(2 * time.Second)
			w.tab.Until(fmt.Sprintf(`view.status.pipelines[0].ledger.delivered === %d && `, w.all) +
				browsertest.Has("#list", "watched"))
			if time.Now().After(late) {
				w.b.Errorf("the page shows what was delivered %v too late", time.Since(late))
			}
			w.tab.Go("about:blank")
		},
	}
}

// top runs on a terminal.
func (w *watched) top() looker {
	w.b.Helper()
	keys, its := openTerminal(w.b)
	var seen atomic.Int64
	go func() {
		for part := make([]byte, 1<<16); ; {
			n, err := keys.Read(part)
			if seen.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	l := startLooker(w.b, w.dir, its, "top", "p.yaml")
	l.seen = seen.Load
	return l
}

// scraper asks for /metrics once a second, in the format that Prometheus asks for.
func (w *watched) scraper() looker {
	w.b.Helper()
	var seen atomic.Int64
	var asking sync.WaitGroup
	over := make(chan struct{})
	asking.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			r, err := http.NewRequestWithContext(w.b.Context(), http.MethodGet, "http://"+w.admin+"/metrics", nil)
			if err != nil {
				w.b.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+watchedToken)
			r.Header.Set("Accept",
				"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				w.b.Error(err)
				return
			}
			n, _ := io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				w.b.Errorf("the scraper gets %s", answer.Status)
			}
			seen.Add(n)
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	return looker{"the scraper", seen.Load, func() { close(over); asking.Wait() }}
}

// lookersCPU returns the processor time of each process below this one but the bridge and the broker.
func (w *watched) lookersCPU() map[int]time.Duration {
	w.b.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*")
	w.check(err)
	used, self := make(map[int]time.Duration), os.Getpid()
	slices.SortFunc(pids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, path := range pids { // parents are older, and have smaller numbers
		pid, _ := strconv.Atoi(filepath.Base(path))
		name, fields := procStat(pid)
		if len(fields) == 0 {
			continue // it has ended
		}
		parent, _ := strconv.Atoi(fields[1])
		_, below := used[parent]
		if (below || parent == self) && pid != w.bridge.cmd.Process.Pid && name != "mosquitto" {
			used[pid] = cpuOf(w.b, pid)
		}
	}
	return used
}

// procStat returns the name of a process and what the system says of it behind that; nothing of one
// that has ended.
func procStat(pid int) (name string, fields []string) {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(text), " (")
	end := max(0, strings.LastIndex(rest, ")")) // the name may have anything in it
	return rest[:end], strings.Fields(strings.TrimPrefix(rest[end:], ")"))
}

// cpuOf returns the processor time that a process has taken; 0 if it has ended.
func cpuOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	_, fields := procStat(pid)
	if len(fields) == 0 {
		return 0
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * time.Second / 100 // USER_HZ
}

// mqttLoad publishes with QoS 1 to a topic, cheaper than any client library.
type mqttLoad struct {
	t testing.TB
	w *bufio.Writer
	m *packets.PublishPacket
}

func newMQTTLoad(t testing.TB, addr string) *mqttLoad {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.CleanSession = "MQTT", 4, true
	hello.ClientIdentifier = "load"
	if err := hello.Write(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := packets.ReadPacket(conn); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }() // acknowledgements
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.TopicName, m.Qos = "in", 1
	return &mqttLoad{t, bufio.NewWriterSize(conn, 1<<16), m}
}

// send publishes n numbered messages of 200 bytes, so many a second if rate is above 0, and never so
// many ahead of what has arrived that a queue grows.
func (l *mqttLoad) send(prefix string, n, rate int, got *atomic.Int64) {
	l.t.Helper()
	const window, beat = 8192, time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	filling := strings.Repeat("x", 184)
	late := time.Now().Add(bridgetest.Timeout + time.Duration(max(0, n/max(1, rate)))*time.Second)
	for sent, began := 0, time.Now(); sent < n; {
		due := sent + 256
		if rate > 0 {
			due = int(time.Since(began).Seconds() * float64(rate))
		}
		due = min(due, n, int(got.Load())+window)
		for ; sent < due; sent++ {
			l.m.MessageID = l.m.MessageID%65535 + 1
			l.m.Payload = fmt.Appendf(l.m.Payload[:0], "%s%08d %s", prefix, sent, filling)
			if err := l.m.Write(l.w); err != nil {
				l.t.Fatal(err)
			}
		}
		if err := l.w.Flush(); err != nil {
			l.t.Fatal(err)
		}
		if time.Now().After(late) {
			l.t.Fatalf("%d of %d messages were sent, and %d have arrived", sent, n, got.Load())
		}
		if rate > 0 || sent-int(got.Load()) >= window {
			<-tick.C
		}
	}
}
