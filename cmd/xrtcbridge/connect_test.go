package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
)

// kept is what a server and a folder have: streams with their messages, consumers with how far they
// are, files with sizes, modes and times.
func kept(t *testing.T, js jetstream.JetStream, dir string) (all []string) {
	t.Helper()
	streams := js.ListStreams(t.Context())
	for s := range streams.Info() {
		all = append(all, fmt.Sprintf("%+v %d %d", s.Config, s.State.Msgs, s.State.LastSeq))
		stream, err := js.Stream(t.Context(), s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			all = append(all, fmt.Sprintf("%s %+v %d %d", c.Name, c.Config, c.Delivered.Consumer, c.AckFloor.Consumer))
		}
		if consumers.Err() != nil {
			t.Fatal(consumers.Err())
		}
	}
	if streams.Err() != nil {
		t.Fatal(streams.Err())
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if info, infoErr := os.Lstat(path); infoErr == nil {
			all = append(all, fmt.Sprint(path, info.Size(), info.Mode(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// settled reports whether all that consumers have been sent is acknowledged.
func settled(t *testing.T, js jetstream.JetStream) bool {
	t.Helper()
	streams := js.ListStreams(t.Context())
	for s := range streams.Info() {
		stream, err := js.Stream(t.Context(), s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			if c.NumAckPending > 0 {
				return false
			}
		}
		if consumers.Err() != nil {
			t.Fatal(consumers.Err())
		}
	}
	if streams.Err() != nil {
		t.Fatal(streams.Err())
	}
	return true
}

// check --connect leaves a bridge that runs with the same settings alone, which has a persistent
// session, a durable and a group that others share: each message arrives once and no connection is
// made anew. When the bridge is away, nothing on the servers or on the disk changes.
func TestConnectDisturbsNoBridge(t *testing.T) {
	t.Parallel()
	broker, hub, dir := bridgetest.StartMosquitto(t, "log_type all"), startHub(t), t.TempDir()
	if _, err := hub.js.CreateStream(t.Context(),
		jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "p.yaml", fmt.Sprintf(`
state: {nats: {url: "nats://%[2]s"}}
connections:
  broker: {mqtt: {url: "%[1]s", birth: {topic: notices/birth}, will: {topic: notices/will}}}
  hub: {nats: {url: "nats://%[2]s"}}
pipelines:
  session:
    from: {mqtt: {connection: broker, topics: ["a/#"], client_id: mine}}
    to: {nats: {connection: hub, stream: S, subject: "s.{{ toSubject(topic) }}"}}
  group:
    from: {mqtt: {connection: broker, topics: ["$share/g/b/#"]}}
    to: {nats: {connection: hub, stream: S, subject: "s.{{ toSubject(topic) }}"}}
  durable:
    from: {nats: {connection: hub, stream: S}}
    buffer: disk
    to: {file: {path: out/lines.txt}}
`, broker.URL, hub.addr))
	check := func() {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "xrtcbridge", "check", "--connect", "--timeout",
			bridgetest.Timeout.String(), "p.yaml")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	before := kept(t, hub.js, dir)
	check()
	if diff := cmp.Diff(before, kept(t, hub.js, dir)); diff != "" {
		t.Errorf("something has changed before the first start: %s", diff)
	}

	o := paho.NewClientOptions().AddBroker(broker.URL).SetClientID("publisher")
	notices := make(chan string, 100)
	publisher := paho.NewClient(o)
	done := func(token paho.Token) {
		t.Helper()
		if !token.WaitTimeout(bridgetest.Timeout) || token.Error() != nil {
			t.Fatalf("the test's own client: %v", token.Error())
		}
	}
	done(publisher.Connect())
	done(publisher.Subscribe("notices/#", 1, func(_ paho.Client, m paho.Message) { notices <- m.Topic() }))
	defer publisher.Disconnect(0)
	running := start(t, dir, nil, "run", "p.yaml")
	running.opened(8) // three pipelines, one of them with a buffer
	const rounds, each = 3, 100
	for round := range rounds {
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for i := range each {
				for _, topic := range []string{"a/x", "b/x"} {
					text := fmt.Sprintf("%s %d", topic, round*each+i)
					publisher.Publish(topic, 1, false, text).WaitTimeout(bridgetest.Timeout)
				}
			}
		}()
		check()
		<-stop
	}
	lines := filepath.Join(dir, "out", "lines.txt")
	bridgetest.Eventually(t, "all messages are in the file", func() bool {
		text, _ := os.ReadFile(lines)
		return strings.Count(string(text), "\n") >= 2*rounds*each
	})
	times := make(map[string]int)
	for _, line := range readLines(t, lines) {
		times[line]++
	}
	for line, n := range times {
		if n != 1 {
			t.Errorf("%q is there %d times", line, n)
		}
	}
	if len(times) != 2*rounds*each {
		t.Errorf("%d messages, want %d", len(times), 2*rounds*each)
	}
	if n := running.log.count(`"msg":"opened"`); n != 8 {
		t.Errorf("%d connectors were opened, want 8: one was thrown off", n)
	}
	running.signal(syscall.SIGTERM)
	if code := running.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	bridgetest.Eventually(t, "the server knows of all acknowledgements", func() bool { return settled(t, hub.js) })
	before = kept(t, hub.js, dir)
	check()
	if diff := cmp.Diff(before, kept(t, hub.js, dir)); diff != "" {
		t.Errorf("something has changed: %s", diff)
	}
	done(publisher.Publish("notices/end", 1, false, "")) // behind all that was published before
	births := 0
	for notice := ""; notice != "notices/end"; {
		select {
		case notice = <-notices:
		case <-time.After(bridgetest.Timeout):
			t.Fatal("the test's own client does not get what it has published")
		}
		if notice == "notices/birth" {
			births++
		}
	}
	if births != 2 {
		t.Errorf("%d births, want those of the 2 that ran", births)
	}
	if strings.Contains(broker.Log(), "already connected") {
		t.Error("a client was thrown off")
	}
}

// Where nobody answers in time, what the connector has to say of that is said, too.
func TestConnectSaysWhereNobodyAnswers(t *testing.T) {
	c := connected{probe: func(ctx context.Context) (bridge.Probed, error) {
		<-ctx.Done()
		return bridge.Probed{}, fmt.Errorf("connect to x: %w: check url", ctx.Err())
	}}
	c.try(t.Context(), time.Millisecond)
	if !strings.HasPrefix(c.Error, "connect to x: no answer within 1ms: ") || !strings.HasSuffix(c.Error, ": check url") {
		t.Errorf("error is %q", c.Error)
	}
}

// What does not hear that its time is over, as a folder of a server that is away, holds up nobody.
func TestConnectLeavesWhatHangs(t *testing.T) {
	t.Parallel()
	c := connected{probe: func(context.Context) (bridge.Probed, error) {
		<-t.Context().Done()
		return bridge.Probed{}, nil
	}}
	c.try(context.Background(), time.Millisecond)
	if c.OK || !strings.HasPrefix(c.Error, "no answer within 1ms: ") {
		t.Errorf("ok is %v, error is %q", c.OK, c.Error)
	}
}
