package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/faulttest"
	"github.com/xrtcbridge/xrtcbridge/xrtc"
)

// The tests beside examples pass, and each example that shapes or routes messages has some. Those
// of plugins are run where these are.
func TestExamplesTested(t *testing.T) {
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "pipelines.yaml"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("found %v, %v", examples, err)
	}
	args := []string{"test"}
	for _, example := range examples {
		text, err := os.ReadFile(example)
		if err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(strings.Replace(example, ".yaml", "_test.yaml", 1))
		switch {
		case err == nil && !strings.Contains(string(text), "\nplugins:"):
			whole, err := filepath.Abs(example)
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, whole)
		case err != nil && regexp.MustCompile(`\b(steps|all|route|any|share):`).Match(text):
			t.Errorf("%s has no tests beside it", example)
		}
	}
	runIn(t, t.TempDir(), "xrtcbridge", args...)
}

// portalEnv makes url and the test's account what examples use, and returns a client.
func portalEnv(t *testing.T, url string) *xrtc.Client {
	t.Helper()
	t.Setenv("ACCOUNT_ID", testAccount)
	t.Setenv("API_KEY", testKey)
	t.Setenv("XRTC_URL", url)
	c, err := xrtc.Open(t.Context(), xrtc.Config{BaseURL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// startExample runs an example, with other addresses in place of its own.
func startExample(t *testing.T, name string, addresses ...string) *process {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "examples", name, "pipelines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := start(t, dir, io.Discard, "run",
		write(t, dir, "pipelines.yaml", strings.NewReplacer(addresses...).Replace(string(text))))
	p.opened(2)
	return p
}

func endWell(t *testing.T, p *process) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestExampleConflateToPortals(t *testing.T) {
	c := portalEnv(t, startServer(t))
	broker, err := embedded.Start(t.Context(), embedded.Settings{MQTT: &embedded.MQTT{
		Listen: "127.0.0.1:0",
		Open:   true,
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	t.Setenv("BROKER", broker.MQTTURL())
	p := startExample(t, "conflate-to-portals")
	p.opened(5) // the step and the buffer, too
	sensor := paho.NewClient(paho.NewClientOptions().AddBroker(strings.Replace(broker.MQTTURL(), "mqtt:", "tcp:", 1)))
	if token := sensor.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer sensor.Disconnect(100)
	if token := sensor.Publish("sensors/kitchen/temp", 1, false, "21.5"); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	bridgetest.Eventually(t, "the reading is in its portal", func() bool {
		items, err := c.Get(t.Context(), xrtc.GetRequest{})
		return err == nil && len(items) == 1 && items[0].Payload == "21.5" &&
			strings.HasPrefix(items[0].PortalID, "sensorsKitchenTemp")
	})
	endWell(t, p)
}

func TestExampleXRTCToNATS(t *testing.T) {
	c := portalEnv(t, startServer(t))
	address := bridgetest.FreeAddr(t)
	p := startExample(t, "xrtc-to-nats", "127.0.0.1:24222", address)
	for _, room := range []string{"kitchen", "hall"} {
		if _, err := c.Set(t.Context(), xrtc.Item{PortalID: room, Payload: "in the " + room}); err != nil {
			t.Fatal(err)
		}
	}
	password, err := os.ReadFile(filepath.Join(p.cmd.Dir, "data/nats/nats.password"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+address, nats.UserInfo("nats", strings.TrimSpace(string(password))),
		nats.Timeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"kitchen", "hall"} {
		bridgetest.Eventually(t, "the items of "+room+" are in the stream", func() bool {
			stream, err := js.Stream(t.Context(), "PORTALS")
			if err != nil {
				return false
			}
			m, err := stream.GetLastMsgForSubject(t.Context(), "portals."+room)
			return err == nil && string(m.Data) == "in the "+room
		})
	}
	endWell(t, p)
}

// Alarms go to NATS, to a file while that is down, and to NATS again; everything else goes to
// files.
func TestExampleAlarmRouting(t *testing.T) {
	broker, err := embedded.Start(t.Context(), embedded.Settings{MQTT: &embedded.MQTT{Listen: "127.0.0.1:0", Open: true}},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	hub := startHub(t)
	proxy := faulttest.NewProxy(t, hub.addr)
	down := func() { proxy.Set(faulttest.Fault{Refuse: true}); proxy.Cut() }
	down()
	t.Setenv("BROKER", broker.MQTTURL())
	t.Setenv("NATS", "nats://"+proxy.Addr())
	text, err := os.ReadFile(filepath.Join(root, "examples/alarm-routing/pipelines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := start(t, dir, io.Discard, "run", write(t, dir, "pipelines.yaml", string(text)))
	connected := regexp.MustCompile(`"msg":"opened".*"connector":"mqtt","dir":"from"`)
	bridgetest.Eventually(t, "the broker is connected", func() bool { return connected.MatchString(p.log.String()) })

	sensor := paho.NewClient(paho.NewClientOptions().AddBroker(strings.Replace(broker.MQTTURL(), "mqtt:", "tcp:", 1)))
	if token := sensor.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer sensor.Disconnect(100)
	sent := 0
	alarm := func() {
		t.Helper()
		sent++
		payload := fmt.Sprintf(`{"level":9,"n":%d}`, sent)
		for topic, text := range map[string]string{
			"plant/boiler": payload,
			"plant/pump":   fmt.Sprintf(`{"level":1,"n":%d}`, sent),
		} {
			if token := sensor.Publish(topic, 1, false, text); token.Wait() && token.Error() != nil {
				t.Fatal(token.Error())
			}
		}
	}
	nth := func(payload string) (n int) {
		_, _ = fmt.Sscanf(payload, `{"level":9,"n":%d}`, &n)
		return n
	}
	inFile := func() int { // the last alarm
		lines := readLines(t, filepath.Join(dir, "alarms.ndjson"))
		if len(lines) == 0 {
			return 0
		}
		return nth(lines[len(lines)-1])
	}
	inStream := func() int {
		stream, err := hub.js.Stream(t.Context(), "ALARMS")
		if err != nil {
			return 0
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), "alarms.plant.boiler")
		if err != nil {
			return 0
		}
		return nth(string(m.Data))
	}
	// One that is sent from now on arrives there, however far behind the bridge is.
	arrives := func(where string, last func() int) {
		t.Helper()
		before := sent
		bridgetest.Eventually(t, "an alarm is "+where, func() bool { alarm(); return last() > before })
	}
	arrives("in the file while NATS is down", inFile)
	for range 2 {
		proxy.Set(faulttest.Fault{})
		arrives("in NATS once that is up", inStream)
		down()
		arrives("in the file once NATS is down again", inFile)
	}
	bridgetest.Eventually(t, "all the rest is in its file", func() bool {
		return len(readLines(t,
			filepath.Join(dir, "plant/pump.ndjson"))) >= sent
	})
	if lines := readLines(t, filepath.Join(dir, "plant/boiler.ndjson")); len(lines) > 0 {
		t.Errorf("alarms went to the rest: %q", lines)
	}
	endWell(t, p)
}

// What a consumer has given up is kept as a dead letter, also if that happened while the bridge was
// down, and a replay has it delivered once more.
func TestExampleDeadDeliveries(t *testing.T) {
	hub := startHub(t)
	t.Setenv("NATS", "nats://"+hub.addr)
	stream, err := hub.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "ORDERS", Subjects: []string{"orders.>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	worker, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 2, AckWait: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	deliveries := make(chan string, 16)
	working, err := worker.Consume(func(m jetstream.Msg) { deliveries <- m.Subject() + " " + string(m.Data()) })
	if err != nil {
		t.Fatal(err)
	}
	defer working.Stop()
	text, err := os.ReadFile(filepath.Join(root, "examples/dead-deliveries/pipelines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "pipelines.yaml", string(text))
	twice := func(order string) { // no more, and the server notes that at a third
		t.Helper()
		for range 2 {
			if got := <-deliveries; got != order {
				t.Errorf("delivered %q, want %q", got, order)
			}
		}
	}
	letters := func(want int) string {
		t.Helper()
		var list string
		bridgetest.Eventually(t, fmt.Sprintf("%d dead letters", want), func() bool {
			list = runIn(t, dir, "xrtcbridge", "dead", "list", "given-up", "--json")
			return strings.Count(list, "not processed in 2 deliveries by consumer \\\"worker\\\"") == want
		})
		return list
	}
	publish := func(subject, payload string) {
		t.Helper()
		if _, err := hub.js.Publish(t.Context(), subject, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		twice(subject + " " + payload)
	}
	p := start(t, dir, io.Discard, "run", "pipelines.yaml")
	bridgetest.Eventually(t, "the advisories are kept", func() bool {
		_, err := hub.js.Stream(t.Context(), "ADVISORIES")
		return err == nil
	})
	publish("orders.1", "a")
	letters(1)
	endWell(t, p)
	publish("orders.2", "b")
	advisories, err := hub.js.Stream(t.Context(), "ADVISORIES")
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Eventually(t, "the server has said that of both", func() bool {
		info, err := advisories.Info(t.Context())
		return err == nil && info.State.Msgs == 2
	})
	p = start(t, dir, io.Discard, "run", "pipelines.yaml")
	letters(2)
	runIn(t, dir, "xrtcbridge", "dead", "replay", "given-up")
	again := []string{<-deliveries, <-deliveries}
	for strings.Contains(strings.Join(again[:len(again)-1], "\n"), again[len(again)-1]) { // one of them comes twice
		again = append(again, <-deliveries)
	}
	if all := strings.Join(again, ", "); !strings.Contains(all, "orders.1 a") || !strings.Contains(all, "orders.2 b") {
		t.Errorf("delivered %s, want both once more", all)
	}
	endWell(t, p)
}
