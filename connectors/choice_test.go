package connectors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/config"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
	"github.com/xrtcbridge/xrtcbridge/connectors"
	portals "github.com/xrtcbridge/xrtcbridge/xrtc/server"
	"github.com/xrtcbridge/xrtcbridge/xrtc/xrtctest"
)

// choice is a setting of a sink that may be left to messages.
type choice struct {
	settings map[string]any
	good     string
	bad      []string // what a message must not choose
}

// What a message chooses is never one of the server's own subjects, and never outside of a folder,
// at each sink that leaves it a choice, and with a server that would do what it is told.
func TestS33MessagesChooseNothingReserved(t *testing.T) {
	natsURL, mqttURL, js := natsWithMQTT(t)
	own := keepState(t, natsURL, js)
	before := stored(t, js, own)
	web := xrtctest.Start(t, portals.Config{})
	folder := t.TempDir() + "/in/here"
	dots := []string{
		"$JS.API.STREAM.DELETE.X", "$JS.API.STREAM.PURGE.X", "$JS.API.STREAM.CREATE.Y", "$SYS.REQ.SERVER.PING",
		"$KV.B.k", "$O.B.C.1",
		"$", "$x", "_INBOX.abc", "_INBOX.abc.1", "_INBOX_own.abc", "_R_.abc", "_GR_.abc", "a.>", "a b",
		"a\r\nPUB x 0\r\n", "",
	}
	for subject := range own {
		dots = append(dots, subject)
	}
	var slashes []string
	for _, subject := range dots {
		slashes = append(slashes, strings.NewReplacer(".", "/", ">", "#", " ", "\x00").Replace(subject))
	}
	bucket := map[string]any{"B": map[string]any{}}
	client := map[string]any{"url": web.URL, "account_id": web.Config().AccountID, "api_key": web.Config().APIKey}
	choices := map[string][]choice{
		"mqtt.topic": {
			{map[string]any{"url": mqttURL}, "x/ok", slashes},
			{map[string]any{"url": mqttURL, "qos": 0}, "x/ok", slashes},
		},
		"mqtt.retain": {{
			map[string]any{"url": mqttURL, "topic": "x/ok"},
			"true",
			[]string{"", "1", "$JS/API/STREAM/DELETE/X"},
		}},
		"nats.subject": {
			{map[string]any{"url": natsURL}, "x.ok", dots},
			{map[string]any{"url": natsURL, "jetstream": true}, "x.ok", dots},
		},
		"nats.headers{}": {{map[string]any{"url": natsURL, "subject": "x.ok"}, "a\r\nNats-Rollup: all\r\n\r\n", nil}},
		// Within a bucket all keys are theirs: they cannot leave it.
		"nats.key": {
			{
				map[string]any{"url": natsURL, "kv": "B", "buckets": bucket},
				"_INBOX.abc",
				[]string{"$JS.API.STREAM.DELETE.X", "a.>", "*", "a b", "", ".", "..", "a..b", "a\r\nPUB x 0\r\n"},
			},
			{map[string]any{"url": natsURL, "objects": "B", "object_stores": bucket}, "$JS.API.>", []string{""}},
		},
		"nats.revision": {{
			map[string]any{"url": natsURL, "kv": "B", "buckets": bucket, "key": "k"},
			"",
			[]string{"-1", "1 ", "x", "99", "0\r\nNats-Rollup: all"},
		}},
		"file.path": {{
			map[string]any{},
			"ok",
			[]string{"", "..", "../x", "/x", "a/../../x", "a\nb", "a\x00", strings.Repeat("a/", 2000) + "a"},
		}},
		// The folder is not theirs to choose, and a payload is what a message is: only its lines
		// count.
		"file.payload":  {{map[string]any{"path": folder + "/ok"}, "ok", []string{"a\nb"}}},
		"stdio.payload": {{map[string]any{}, "ok", []string{"a\nb"}}},
		"xrtc.portal":   {{client, "ok", []string{"", "$JS", "../ok", "a/b", "a\nb", strings.Repeat("a", 33)}}},
	}
	for _, c := range connectors.Builtin() {
		if c.Sink == nil {
			continue
		}
		for _, key := range config.Keys(c.Sink.Settings()) {
			if key.Kind != "template" {
				continue
			}
			name := c.Name + "." + key.Path
			if choices[name] == nil {
				t.Errorf("nothing is known of %s: say here what a message must not choose by it", name)
			}
			for i, given := range choices[name] {
				t.Run(fmt.Sprint(name, i), func(t *testing.T) {
					template := "{{ header.Dest }}"
					switch name {
					case "file.path":
						template = folder + "/" + template
					case "nats.headers{}":
						given.settings["headers"] = map[string]string{"Chosen": template}
					}
					if key.Path == key.Name {
						given.settings[key.Name] = template
					}
					given.check(t, c)
				})
			}
		}
	}
	s, err := js.Stream(t.Context(), "X")
	if err != nil {
		t.Fatalf("the stream is gone: %v", err)
	}
	if n := s.CachedInfo().State.Msgs; n < 3 {
		t.Errorf("the stream has %d messages", n)
	}
	if diff := cmp.Diff(before, stored(t, js, own)); diff != "" {
		t.Errorf("messages in the streams of the state:\n%s", diff)
	}
	if entries, err := os.ReadDir(folder + "/.."); err != nil || len(entries) != 1 {
		t.Errorf("outside of the folder there are %v, %v", entries, err)
	}
}

// check writes a message with each choice between two that are right, and wants it alone refused.
func (c choice) check(t *testing.T, connector bridge.Connector) {
	settings := connector.Sink.Settings()
	text, err := json.Marshal(c.settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.DecodePlain(text, settings); err != nil {
		t.Fatal(err)
	}
	sink, err := connector.Sink.Open(t.Context(), settings, bridgetest.Env(t, "choice-to"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sink.Close() }()
	message := func(id, dest string) bridge.Message {
		return bridge.Message{ID: id, Topic: "t", Payload: []byte("{}"), Header: map[string]string{"Dest": dest}}
	}
	for i, bad := range append(c.bad, c.good) {
		batch := bridge.Batch{
			message(fmt.Sprint(i, "a"), c.good), message(fmt.Sprint(i, "b"), bad),
			message(fmt.Sprint(i, "c"), c.good),
		}
		r, err := sink.Write(t.Context(), batch)
		refused := len(r.Refused) == 1 && r.Refused[0].Index == 1
		if r.Settled != 3 || err != nil || refused != (i < len(c.bad)) {
			t.Errorf("%.50q: %+v, %v, want that it is refused: %t", bad, r, err, i < len(c.bad))
		}
	}
}

// keepState lets bridges with and without a prefix keep their state in the server. It returns a
// subject to which each of its streams listens, and the name of that.
func keepState(t *testing.T, natsURL string, js jetstream.JetStream) map[string]string {
	t.Helper()
	u, err := bridge.ParseURL(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", "x", "other"} {
		s := store.New(store.Settings{NATS: &store.NATS{
			Settings: natsclient.Settings{URL: []bridge.URL{u}},
			Prefix:   prefix,
		}}, nil)
		dead, err := s.DeadLetters("p").Open(t.Context(), bridgetest.Env(t, "p-dead"))
		if err != nil {
			t.Fatal(err)
		}
		buffer, err := s.Buffer("p", bridge.BufferSettings{}).OpenSink(t.Context(), bridgetest.Env(t, "p-to"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Checkpoint("p", "from").Save(t.Context(), []byte("kept")), buffer.Close(),
			dead.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	own := map[string]string{}
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		if info.Config.Name != "X" {
			own[strings.Replace(info.Config.Subjects[0], ">", "p.from", 1)] = info.Config.Name
		}
	}
	if list.Err() != nil || len(own) != 9 {
		t.Fatalf("the streams of three states are %v, %v", own, list.Err())
	}
	return own
}

// stored returns how many messages have come to each of the streams.
func stored(t *testing.T, js jetstream.JetStream, own map[string]string) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	for _, name := range own {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = s.CachedInfo().State.LastSeq
	}
	return all
}

// natsWithMQTT starts a server without users, where everybody may do everything, and with a stream
// X of what is below x.
func natsWithMQTT(t *testing.T) (natsURL, mqttURL string, js jetstream.JetStream) {
	t.Helper()
	var o *server.Options
	s := natstest.Start(t, func(set *server.Options) {
		o, set.ServerName = set, "choice"
		set.MQTT = server.MQTTOpts{Host: set.Host, Port: server.RANDOM_PORT}
	})
	nc, err := natsgo.Connect(s.ClientURL(), natsgo.Timeout(bridgetest.Timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(bridgetest.Timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}}); err != nil {
		t.Fatal(err)
	}
	return s.ClientURL(), fmt.Sprintf("mqtt://127.0.0.1:%d", o.MQTT.Port), js
}
