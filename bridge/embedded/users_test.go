package embedded_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/embedded"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
	"github.com/xrtcbridge/xrtcbridge/bridge/store"
)

// both are an MQTT broker and a NATS server with a way in for each.
type both struct {
	settings embedded.Settings
	nats     []nats.Option
	mqtt     func(*mqtt.ClientOptions)
}

func bothWays() map[string]both {
	return map[string]both{
		"Passwords": {
			embedded.Settings{
				MQTT: &embedded.MQTT{Listen: anyPort, Username: "m", Password: bridge.NewSecret("mp")},
				NATS: &embedded.NATS{Listen: anyPort, Username: "n", Password: bridge.NewSecret("np"), Durability: "process"},
			},
			[]nats.Option{nats.UserInfo("n", "np")},
			as("m", "mp"),
		},
		"Open": {
			embedded.Settings{
				MQTT: &embedded.MQTT{Listen: anyPort, Open: true},
				NATS: &embedded.NATS{Listen: anyPort, Open: true, Durability: "process"},
			},
			nil, as("", ""),
		},
	}
}

func as(username, password string) func(*mqtt.ClientOptions) {
	return func(o *mqtt.ClientOptions) { o.SetUsername(username).SetPassword(password) }
}

func enter(t *testing.T, e *embedded.Server, set ...func(*mqtt.ClientOptions)) mqtt.Client {
	t.Helper()
	c, err := mqttClient(t, e.MQTTURL(), func(o *mqtt.ClientOptions) {
		for _, f := range set {
			f(o)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// done waits for a token.
func done(t *testing.T, what string, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(bridgetest.Timeout) || token.Error() != nil {
		t.Fatalf("%s: %v", what, token.Error())
	}
}

// granted subscribes and reports whether the broker lets it.
func granted(t *testing.T, c mqtt.Client, filter string, qos byte, got chan<- string) bool {
	t.Helper()
	token := c.Subscribe(filter, qos, func(_ mqtt.Client, m mqtt.Message) {
		got <- fmt.Sprintf("%s %s", m.Topic(), m.Payload())
	})
	if !token.WaitTimeout(bridgetest.Timeout) {
		t.Fatalf("no answer to SUBSCRIBE %s", filter)
	}
	return token.(*mqtt.SubscribeToken).Result()[filter] <= 2
}

// ackWait is how long the server waits before it delivers again what it has sent to a connection
// that went away at that moment.
const ackWait = 30 * time.Second

func next(t *testing.T, got <-chan string) string {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(ackWait + bridgetest.Timeout):
		t.Fatal("nothing arrived")
		return ""
	}
}

// S31: whoever publishes over MQTT administers no stream and changes no key, by whatever QoS,
// retained or as a will.
func TestS31MQTTAdministersNothing(t *testing.T) {
	for name, way := range bothWays() {
		t.Run(name, func(t *testing.T) {
			e := start(t, way.settings)
			js := connect(t, e.NATSURL(), way.nats...)
			stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}})
			if err != nil {
				t.Fatal(err)
			}
			kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "B"})
			if err != nil {
				t.Fatal(err)
			}
			must(kv.Put(t.Context(), "key", []byte("kept")))
			for range 3 {
				must(js.Publish(t.Context(), "x.y", []byte("kept")))
			}
			c := enter(t, e, way.mqtt)
			keepState(t, e, way.settings.NATS)
			own := ownSubjects(t, js)
			before := names(t, js)
			orders := [][2]string{
				{"$JS/API/STREAM/UPDATE/X", `{"name":"X","subjects":["x.>"],"max_msgs":1}`},
				{
					"$JS/API/STREAM/CREATE/COPY",
					`{"name":"COPY","sources":[{"name":"X"}],"republish":{"src":">","dest":"stolen.>"}}`,
				},
				{"$JS/API/STREAM/PURGE/X", ""},
				{"$JS/API/CONSUMER/CREATE/X", `{"stream_name":"X","config":{"deliver_subject":"stolen"}}`},
				{"$JS/API/STREAM/DELETE/X", ""},
				{"$JS/API/STREAM/DELETE/$MQTT_sess", ""},
				{"$KV/B/key", "changed"},
				{"$O/B/C/x", "changed"},
				{"$MQTT/sess/x", "changed"},
				{"$MQTT/rmsgs/x", "changed"},
				{"$SYS/REQ/USER/INFO", ""},
				{"_INBOX/x", "changed"},
				{"_R_/x", "changed"},
			}
			for _, subject := range own {
				orders = append(orders, [2]string{strings.ReplaceAll(subject, ".", "/"), "changed"})
			}
			hear, err := js.Conn().SubscribeSync(">")
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range orders {
				for qos := range byte(3) {
					done(t, o[0], c.Publish(o[0], qos, qos == 1, o[1]))
				}
				// A client that is displaced leaves its will.
				id := func(o *mqtt.ClientOptions) { o.SetClientID(fmt.Sprint("will", i)) }
				enter(t, e, way.mqtt, id, func(opt *mqtt.ClientOptions) { opt.SetWill(o[0], o[1], 1, true) })
				done(t, "displace", enter(t, e, way.mqtt, id).Publish("displaced", 1, false, ""))
			}
			done(t, "last", c.Publish("last", 1, false, ""))
			for {
				m, err := hear.NextMsg(bridgetest.Timeout)
				if err != nil {
					t.Fatal(err)
				}
				if m.Subject == "last" {
					break
				}
				for _, o := range orders {
					if m.Subject == strings.ReplaceAll(o[0], "/", ".") && (o[1] == "" || string(m.Data) == o[1]) {
						t.Errorf("%s was published: %q", m.Subject, m.Data)
					}
				}
			}
			if diff := cmp.Diff(before, names(t, js)); diff != "" {
				t.Errorf("streams:\n%s", diff)
			}
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.State.Msgs != 3 || info.Config.MaxMsgs > 0 || info.State.Consumers > 0 {
				t.Errorf("stream has %d messages, at most %d, and %d consumers", info.State.Msgs, info.Config.MaxMsgs,
					info.State.Consumers)
			}
			if entry, err := kv.Get(t.Context(), "key"); err != nil || string(entry.Value()) != "kept" {
				t.Errorf("key: %v, %v", entry, err)
			}
		})
	}
}

// keepState lets a bridge keep something of each kind in the server.
func keepState(t *testing.T, e *embedded.Server, n *embedded.NATS) {
	t.Helper()
	u, err := bridge.ParseURL(e.NATSURL())
	if err != nil {
		t.Fatal(err)
	}
	client := natsclient.Settings{URL: []bridge.URL{u}, Username: n.Username, Password: n.Password}
	s := store.New(store.Settings{NATS: &store.NATS{Settings: client, Prefix: "p"}}, nil)
	defer func() { _ = s.Close() }()
	dead := must(s.DeadLetters("p").Open(t.Context(), bridgetest.Env(t, "p-dead")))
	buffer := must(s.Buffer("p", bridge.BufferSettings{}).OpenSink(t.Context(), bridgetest.Env(t, "p-to")))
	batch := bridge.Batch{{ID: "1", Payload: []byte("kept")}}
	must(buffer.Write(t.Context(), batch))
	must(dead.Write(t.Context(), batch))
	if err := errors.Join(s.Checkpoint("p", "from").Save(t.Context(), []byte("kept")), buffer.Close(),
		dead.Close()); err != nil {
		t.Fatal(err)
	}
}

// ownSubjects returns one for each stream that the bridge itself makes: for a state and the probe.
func ownSubjects(t *testing.T, js jetstream.JetStream) (all []string) {
	t.Helper()
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		if c := info.Config; strings.HasPrefix(c.Name, "xrtcbridge-") || strings.HasPrefix(c.Name, "p-") {
			all = append(all, strings.Replace(c.Subjects[0], ">", "p.from", 1))
		}
	}
	if list.Err() != nil || len(all) != 4 {
		t.Fatalf("the streams of a state and the probe have %q, %v", all, list.Err())
	}
	return all
}

func names(t *testing.T, js jetstream.JetStream) (all []string) {
	t.Helper()
	list := js.StreamNames(t.Context())
	for name := range list.Name() {
		all = append(all, name)
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
	slices.Sort(all)
	return all
}

// S31: where nobody gets in by NATS, its user has no name that MQTT could want.
func TestS31MQTTUserNamedNATS(t *testing.T) {
	e := start(t, embedded.Settings{MQTT: &embedded.MQTT{
		Listen: anyPort, Username: "nats",
		Password: bridge.NewSecret("p"),
	}})
	c := enter(t, e, as("nats", "p"))
	if got := make(chan string, 1); granted(t, c, "$JS/#", 0, got) || !granted(t, c, "x", 1, got) {
		t.Error("it may do something else than a user of MQTT")
	} else {
		done(t, "publish", c.Publish("x", 1, false, "1"))
		next(t, got)
	}
}

// S31: an MQTT client hears nothing of what NATS clients and the server say to one another, by
// whatever filter, and everything else.
func TestS31MQTTHearsMessagesOnly(t *testing.T) {
	for name, way := range bothWays() {
		t.Run(name, func(t *testing.T) {
			e := start(t, way.settings)
			js := connect(t, e.NATSURL(), way.nats...)
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}}); err != nil {
				t.Fatal(err)
			}
			kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "B"})
			if err != nil {
				t.Fatal(err)
			}
			keepState(t, e, way.settings.NATS)
			var own []string
			for _, subject := range ownSubjects(t, js) {
				first, _, _ := strings.Cut(subject, ".")
				own = append(own, strings.ReplaceAll(subject, ".", "/"), first+"/#", first+"/+/#")
			}
			for _, filter := range append(own,
				"$JS/#", "$JS/API/#", "$JS/+/STREAM/DELETE/X", "$JS/ACK/X/c/+/+/+/+/+", "$SYS/#", "$KV/B/key",
				"$KV/#", "$O/#", "$MQTT/#", "$MQTT/sess/#",
				"$MQTT/msgs/#", "_INBOX/#", "_INBOX/+/+", "_R_/#", "$SRV/#",
			) {
				c := enter(t, e, way.mqtt)
				got := make(chan string, 10)
				for qos := range byte(3) {
					if granted(t, c, filter, qos, got) {
						t.Errorf("%s may be subscribed with QoS %d", filter, qos)
					}
				}
			}
			for qos := range byte(3) {
				c := enter(t, e, way.mqtt)
				got := make(chan string, 1000)
				for _, filter := range []string{"#", "+/#", "+/+", "+/+/+", "+/+/+/+", "+"} {
					if !granted(t, c, filter, qos, got) {
						t.Errorf("%s is refused", filter)
					}
				}
				must(js.Publish(t.Context(), "x.y", nil)) // with an answer to _INBOX
				must(kv.Put(t.Context(), "key", []byte("value")))
				must(kv.Get(t.Context(), "key"))
				keepState(t, e, way.settings.NATS)
				consumer := must(js.OrderedConsumer(t.Context(), "X", jetstream.OrderedConsumerConfig{}))
				must(consumer.Next(jetstream.FetchMaxWait(bridgetest.Timeout)))
				if err := errors.Join(js.Conn().Publish("_R_.reply", nil), js.Conn().Publish("last", nil),
					js.Conn().Flush()); err != nil {
					t.Fatal(err)
				}
				for {
					m := next(t, got)
					if m == "last " {
						break
					}
					if m != "x/y " {
						t.Errorf("QoS %d: got %q", qos, m)
					}
				}
				c.Disconnect(0)
			}
		})
	}
}

// S31: what MQTT and NATS clients have to do with one another goes on: messages in both directions,
// into streams, retained messages, and sessions with QoS 1 and 2, all over a restart.
func TestS31MQTTGoesOn(t *testing.T) {
	for name, way := range bothWays() {
		t.Run(name, func(t *testing.T) {
			way.settings.NATS.Store = t.TempDir()
			e := start(t, way.settings)
			js := connect(t, e.NATSURL(), way.nats...)
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}}); err != nil {
				t.Fatal(err)
			}
			session := func(id string) func(*mqtt.ClientOptions) {
				return func(o *mqtt.ClientOptions) { o.SetClientID(id).SetCleanSession(false) }
			}
			for qos, id := range []string{1: "one", 2: "two"} {
				if qos > 0 && !granted(t, enter(t, e, way.mqtt, session(id)), "#", byte(qos), make(chan string, 10)) {
					t.Fatalf("QoS %d: # is refused", qos)
				}
			}
			// The sessions are away.
			enter(t, e, way.mqtt, session("one")).Disconnect(100)
			enter(t, e, way.mqtt, session("two")).Disconnect(100)
			c := enter(t, e, way.mqtt)
			done(t, "retained", c.Publish("x/kept", 1, true, "retained"))
			done(t, "1", c.Publish("x/1", 1, false, "one"))
			done(t, "2", c.Publish("x/2", 2, false, "two"))
			c.Disconnect(100)
			js.Conn().Close()
			stop(t, e)

			e = start(t, way.settings)
			js = connect(t, e.NATSURL(), way.nats...)
			for _, id := range []string{"one", "two"} {
				got := make(chan string, 100)
				enter(t, e, way.mqtt, session(id), func(o *mqtt.ClientOptions) {
					o.SetDefaultPublishHandler(func(_ mqtt.Client,
						m mqtt.Message,
					) {
						got <- fmt.Sprintf("%s %s", m.Topic(), m.Payload())
					})
				})
				want := map[string]bool{"x/kept retained": true, "x/1 one": true, "x/2 two": true}
				for len(want) > 0 {
					delete(want, next(t, got))
				}
			}
			got := make(chan string, 100)
			late := enter(t, e, way.mqtt)
			granted(t, late, "x/#", 1, got)
			if m := next(t, got); m != "x/kept retained" {
				t.Errorf("got %q instead of the retained message", m)
			}
			if err := js.Conn().Publish("x.nats", []byte("from NATS")); err != nil {
				t.Fatal(err)
			}
			if m := next(t, got); m != "x/nats from NATS" {
				t.Errorf("got %q from NATS", m)
			}
			stream := must(js.Stream(t.Context(), "X"))
			if m, err := stream.GetLastMsgForSubject(t.Context(), "x.2"); err != nil || string(m.Data) != "two" {
				t.Errorf("stream has %v, %v", m, err)
			}
		})
	}
}

// S31: each user gets in by its own protocol.
func TestS31UsersKeepToTheirProtocol(t *testing.T) {
	way := bothWays()["Passwords"]
	e := start(t, way.settings)
	for _, c := range []struct {
		user, password string
		mqtt, nats     bool
	}{
		{"m", "mp", true, false},
		{"n", "np", false, true},
		{"m", "np", false, false},
		{"n", "mp", false, false},
		{"m", "", false, false},
		{"", "", false, false},
		{"mqtt", "", false, false},
	} {
		_, err := mqttClient(t, e.MQTTURL(), as(c.user, c.password))
		if (err == nil) != c.mqtt {
			t.Errorf("MQTT as %q with %q: %v", c.user, c.password, err)
		}
		nc, err := nats.Connect(e.NATSURL(), nats.UserInfo(c.user, c.password), nats.Timeout(bridgetest.Timeout))
		if (err == nil) != c.nats {
			t.Errorf("NATS as %q with %q: %v", c.user, c.password, err)
		}
		if err == nil {
			nc.Close()
		}
	}
}

// S32: a client of JetStream may fetch as much at once as a server lets wait for it unless told
// otherwise. With the limit of an MQTT broker alone it would be disconnected, again and again.
func TestS32FetchOfManyBytes(t *testing.T) {
	e := start(t, embedded.Settings{
		MQTT: &embedded.MQTT{Listen: anyPort, Open: true},
		NATS: &embedded.NATS{Listen: anyPort, Open: true, Durability: "process"},
	})
	js := connect(t, e.NATSURL())
	stream := must(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x"}}))
	const total = 2000
	payload := make([]byte, 16<<10)
	for range total {
		must(js.PublishAsync("x", payload))
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(bridgetest.Timeout):
		t.Fatal("the messages are not stored")
	}
	consumer := must(stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy}))
	batch := must(consumer.Fetch(total, jetstream.FetchMaxWait(bridgetest.Timeout)))
	n := 0
	for range batch.Messages() {
		n++
	}
	if err := batch.Error(); n != total || err != nil || js.Conn().Stats().Reconnects > 0 {
		t.Errorf("%d of %d messages came in %d connections, %v", n, total, js.Conn().Stats().Reconnects+1, err)
	}
}
