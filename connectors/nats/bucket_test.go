package nats_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

func createBucket(t testing.TB, js jetstream.JetStream, c jetstream.KeyValueConfig) jetstream.KeyValue {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t testing.TB, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	if _, err := kv.PutString(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// changed returns what a key has become, as a client of NATS sees it: its values, DEL and PURGE.
func changed(t testing.TB, kv jetstream.KeyValue, key string) (all []string) {
	t.Helper()
	history, err := kv.History(t.Context(), key)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatal(err)
	}
	for _, e := range history {
		switch e.Operation() {
		case jetstream.KeyValueDelete:
			all = append(all, "DEL")
		case jetstream.KeyValuePurge:
			all = append(all, "PURGE")
		default:
			all = append(all, string(e.Value()))
		}
	}
	return all
}

// openEnds opens a source and a sink, in this process or in that of a plugin.
func openEnds(t *testing.T, c bridge.Connector, from *nats.SourceSettings, to *nats.SinkSettings) (
	bridge.Source, bridge.Sink,
) {
	t.Helper()
	source, err := c.Source.Open(t.Context(), from, counted(t, new(int)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	sink, err := c.Sink.Open(t.Context(), to, bridgetest.Env(t, "test-to"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return source, sink
}

func TestBucketToBucket(t *testing.T) { plugintest.Both(t, nats.Connector(), testBucketToBucket) }

func testBucketToBucket(t *testing.T, c bridge.Connector) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	from := createBucket(t, js, jetstream.KeyValueConfig{Bucket: "SRC", History: 5})
	put(t, from, "a.kept", "1")
	put(t, from, "a.kept", "2")
	put(t, from, "a/deleted", "1")
	put(t, from, "purged", "1")
	if err := errors.Join(from.Delete(t.Context(), "a/deleted"), from.Purge(t.Context(), "purged")); err != nil {
		t.Fatal(err)
	}
	source, sink := openEnds(t, c, sourceYAML(t, s, "kv: SRC"),
		sinkYAML(t, s, "{kv: DST, key: \"x.{{ topic }}\", buckets: {DST: 5}}"))
	batch, acks := readN(t, source, 5)
	deliverAll(t, sink, batch)
	settle(t, acks, nil)
	to, err := js.KeyValue(t.Context(), "DST")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"x.a.kept": "[1 2]", "x.a/deleted": "[1 DEL]", "x.purged": "[PURGE]",
	} {
		if got := fmt.Sprint(changed(t, to, key)); got != want {
			t.Errorf("%s has become %s, want %s", key, got, want)
		}
	}
	for _, m := range batch {
		if m.Header["Nats-Sequence"] == "" || strings.HasPrefix(m.Topic, "$") {
			t.Errorf("read %+v, want the key as topic, and the revision", m)
		}
	}
}

// What a source of a bucket reads of a key with two values, of one that is deleted, and of another
// one.
func TestSourceOfABucket(t *testing.T) {
	s := natstest.Start(t, nil)
	kv := createBucket(t, client(t, s), jetstream.KeyValueConfig{Bucket: "B", History: 5})
	put(t, kv, "a.b", "1")
	put(t, kv, "a.c", "2")
	put(t, kv, "a.b", "3")
	put(t, kv, "d", "4")
	if err := kv.Delete(t.Context(), "a.c"); err != nil {
		t.Fatal(err)
	}
	for settings, want := range map[string]string{
		"{kv: B, durable: A}":                             "a.b=1 a.c=2 a.b=3 d=4 a.c=DEL",
		"{kv: B, durable: B, deliver: last}":              "a.b=3 d=4 a.c=DEL",
		"{kv: B, durable: C, filter: a.*}":                "a.b=1 a.c=2 a.b=3 a.c=DEL",
		"{kv: B, durable: D, filter: a.*, deliver: last}": "a.b=3 a.c=DEL",
		"{kv: B, durable: E, filter: d, deliver: last}":   "d=4",
		"{kv: B, durable: F, filter: [a.c, d]}":           "a.c=2 d=4 a.c=DEL",
	} {
		t.Run(settings, func(t *testing.T) {
			source := openSource(t, sourceYAML(t, s, settings), counted(t, new(int)))
			batch, acks := readN(t, source, len(strings.Fields(want)))
			var got []string
			for _, m := range batch {
				value := string(m.Payload)
				if value == "" {
					value = m.Header["KV-Operation"]
				}
				got = append(got, m.Topic+"="+value)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("read %s, want %s", strings.Join(got, " "), want)
			}
			settle(t, acks, nil)
		})
	}
}

// A value whose time is over is deleted by the server, and comes as one that somebody deletes.
func TestBucketDeletesByTime(t *testing.T) {
	s := natstest.Start(t, nil)
	kv := createBucket(t, client(t, s), jetstream.KeyValueConfig{Bucket: "B", LimitMarkerTTL: time.Minute})
	if _, err := kv.Create(t.Context(), "a", []byte("1"), jetstream.KeyTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	batch, _ := readN(t, openSource(t, sourceYAML(t, s, "kv: B"), counted(t, new(int))), 2)
	if last := batch[1]; last.Topic != "a" || last.Header["KV-Operation"] != "PURGE" || len(last.Payload) > 0 {
		t.Errorf("read %+v, want a with KV-Operation: PURGE", last)
	}
}

func TestSinkOfABucket(t *testing.T) {
	s := natstest.Start(t, nil)
	kv := createBucket(t, client(t, s), jetstream.KeyValueConfig{Bucket: "B", History: 5})
	empty := bridge.Message{ID: "2", Topic: "a"}
	deliverAll(t, openSink(t, sinkYAML(t, s, "kv: B")),
		bridge.Batch{{ID: "1", Topic: "a", Payload: []byte("1")}, empty})
	if got := fmt.Sprint(changed(t, kv, "a")); got != "[1 ]" {
		t.Errorf("a has become %s, want an empty value", got)
	}
	empty.Topic = "b"
	deliverAll(t, openSinkAt(t, "other-to", sinkYAML(t, s, "{kv: B, empty: delete}")),
		bridge.Batch{{ID: "1", Topic: "b", Payload: []byte("1")}, empty})
	if got := fmt.Sprint(changed(t, kv, "b")); got != "[1 DEL]" {
		t.Errorf("b has become %s, want that it is deleted", got)
	}
	for i, key := range []string{"", "a b", ".a", "a.", "a..b", "a.*", "é", "$a", "a\n"} {
		m := bridge.Message{ID: fmt.Sprint("bad", i), Topic: key, Payload: []byte("1")}
		good := bridge.Message{ID: fmt.Sprint("good", i), Topic: "good", Payload: []byte("1")}
		refuses(t, openSink(t, sinkYAML(t, s, "kv: B")), bridge.Batch{good, m}, 1, "cannot be a key")
	}
}

// Who has not seen the last change of a key does not change it.
func TestRevisions(t *testing.T) {
	s := natstest.Start(t, nil)
	kv := createBucket(t, client(t, s), jetstream.KeyValueConfig{Bucket: "B"})
	put(t, kv, "a", "1")
	read, _ := readN(t, openSource(t, sourceYAML(t, s, "kv: B"), counted(t, new(int))), 1)
	sink := openSink(t, sinkYAML(t, s, `{kv: B, revision: '{{ header["Nats-Sequence"] ?? "" }}'}`))
	at := func(id, key, revision string) bridge.Message {
		m := bridge.Message{ID: id, Topic: key, Payload: []byte(id)}
		if revision != "" {
			m.Header = map[string]string{"Nats-Sequence": revision}
		}
		return m
	}
	known := read[0].Header["Nats-Sequence"]
	deliverAll(t, sink, bridge.Batch{at("2", "a", known), at("3", "new", "0")})
	refuses(t, sink, bridge.Batch{at("4", "b", ""), at("5", "a", known), at("6", "c", "")}, 1, "another revision")
	refuses(t, sink, bridge.Batch{at("7", "new", "0")}, 0, "another revision")
	refuses(t, sink, bridge.Batch{at("8", "a", "last")}, 0, "not a whole number")
	deliverAll(t, sink, bridge.Batch{at("2", "a", known)}) // comes again, and is known
	for key, want := range map[string]string{"a": "[2]", "new": "[3]", "b": "[4]", "c": "[6]"} {
		if got := fmt.Sprint(changed(t, kv, key)); got != want {
			t.Errorf("%s has become %s, want %s", key, got, want)
		}
	}
}

// A bucket that is made is as clients make one; one that is there is changed in what is named.
func TestBucketsAreCreated(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	open := func(bucket, text string) error {
		sink, err := nats.Connector().Sink.Open(t.Context(),
			sinkYAML(t, s, fmt.Sprintf("{kv: %s, buckets: {%[1]s: %s}}", bucket, text)),
			bridgetest.Env(t, "test-to"))
		if err == nil {
			_ = sink.Close()
		}
		return err
	}
	for _, c := range []struct {
		text string
		want jetstream.KeyValueConfig
	}{
		{"{}", jetstream.KeyValueConfig{Bucket: "B1"}},
		{"{history: 3, max_age: 1m, max_bytes: 1MiB, storage: memory, replicas: 1}", jetstream.KeyValueConfig{
			Bucket: "B2", History: 3, TTL: time.Minute, MaxBytes: 1 << 20, Storage: jetstream.MemoryStorage,
			Replicas: 1,
		}},
	} {
		if err := open(c.want.Bucket, c.text); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateKeyValue(t.Context(), c.want); err != nil {
			t.Errorf("%s: made it otherwise than a client: %v", c.text, err)
		}
	}
	kv := createBucket(t, js, jetstream.KeyValueConfig{Bucket: "B", History: 2})
	put(t, kv, "a", "1")
	put(t, kv, "a", "2")
	if err := open("B", "{}"); err != nil {
		t.Error(err)
	}
	err := open("B", "{history: 1}")
	if err == nil || !bridge.IsPermanent(err) || !strings.Contains(err.Error(), "history") {
		t.Errorf("err = %v, want one that names history, by which a value would be lost", err)
	}
	if err := open("B", "3"); err != nil {
		t.Error(err)
	}
	status, err := kv.Status(t.Context())
	if err != nil || status.History() != 3 {
		t.Errorf("history %d, err = %v, want 3", status.History(), err)
	}
	for age, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 5 * time.Minute, 3 * time.Minute: 3 * time.Minute,
	} {
		name := fmt.Sprint("KV_D", int(age.Minutes()))
		stream := createStream(t, js, jetstream.StreamConfig{
			Name: name, Subjects: []string{"$" + strings.Replace(name, "_", ".", 1) + ".>"}, AllowRollup: true,
			Duplicates: 5 * time.Minute, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1,
		})
		if err := open(name[3:], fmt.Sprintf("{max_age: %v}", age)); err != nil {
			t.Fatal(err)
		}
		if info, err := stream.Info(t.Context()); err != nil || info.Config.Duplicates != want {
			t.Errorf("max_age %v: duplicates %v, err = %v, want %v", age, info.Config.Duplicates, err, want)
		}
	}
}

// A bucket behind a domain is written where that is.
func TestBucketOfADomain(t *testing.T) {
	s := natstest.Start(t, func(o *server.Options) { o.JetStreamDomain = "hub" })
	kv := createBucket(t, client(t, s), jetstream.KeyValueConfig{Bucket: "B"})
	for _, where := range []string{"domain: hub", "api_prefix: $JS.hub.API"} {
		deliverAll(t, openSinkAt(t, where, sinkYAML(t, s, "{kv: B, "+where+"}")),
			bridge.Batch{{ID: "1", Topic: "a", Payload: []byte(where)}})
		if got := changed(t, kv, "a"); !slices.Equal(got, []string{where}) {
			t.Errorf("a has become %q", got)
		}
		settings := sourceYAML(t, s, "{kv: B, deliver: last, durable: "+where[:3]+", "+where+"}")
		read, acks := readN(t, openSource(t, settings, counted(t, new(int))), 1)
		if read[0].Topic != "a" || string(read[0].Payload) != where {
			t.Errorf("read %+v", read[0])
		}
		settle(t, acks, nil)
	}
}

// A mirror of a bucket has the keys of that, is read as it is, and not written to.
func TestMirroredBucket(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	kv := createBucket(t, js, jetstream.KeyValueConfig{Bucket: "B"})
	createBucket(t, js, jetstream.KeyValueConfig{Bucket: "M", Mirror: &jetstream.StreamSource{Name: "B"}})
	createBucket(t, js, jetstream.KeyValueConfig{Bucket: "N", Mirror: &jetstream.StreamSource{Name: "M"}})
	createBucket(t, js, jetstream.KeyValueConfig{Bucket: "S", Sources: []*jetstream.StreamSource{{Name: "B"}}})
	put(t, kv, "a.b", "1")
	put(t, kv, "c", "2")
	for _, bucket := range []string{"M", "N", "S"} {
		for settings, want := range map[string][]string{"": {"a.b", "c"}, ", filter: a.*": {"a.b"}} {
			text := fmt.Sprintf("{kv: %s, durable: D%d%s}", bucket, len(want), settings)
			source := openSource(t, sourceYAML(t, s, text),
				counted(t, new(int)))
			batch, acks := readN(t, source, len(want))
			for i, m := range batch {
				if m.Topic != want[i] {
					t.Errorf("%s: read %+v, want key %s", bucket, m, want[i])
				}
			}
			settle(t, acks, nil)
		}
	}
	_, err := sinkYAML(t, s, "kv: M").Probe(t.Context(), bridgetest.Env(t, "test-to"))
	if err == nil || !strings.Contains(err.Error(), `mirrors "KV_B"`) {
		t.Errorf("err = %v, want that it mirrors another", err)
	}
}

// A bucket that is missing is an error that says what to do.
func TestMissingBucket(t *testing.T) {
	s := natstest.Start(t, nil)
	_, err := nats.Connector().Source.Open(t.Context(), sourceYAML(t, s, "kv: B"), bridgetest.Env(t, "test-from"))
	if err == nil || !strings.Contains(err.Error(), `bucket "B"`) || !strings.Contains(err.Error(), "under buckets") {
		t.Errorf("err = %v, want one that names the bucket, and how to declare it", err)
	}
	sink := openSink(t, sinkYAML(t, s, "kv: B"))
	_, err = sink.Write(t.Context(), bridge.Batch{{ID: "1", Topic: "a"}})
	if err == nil || !strings.Contains(err.Error(), `"KV_B"`) {
		t.Errorf("err = %v, want one that names the bucket", err)
	}
}

// Many changes that come too late are refused by one look each at one connection, and by none where
// that is forbidden.
func TestManyRevisions(t *testing.T) {
	for _, forbidden := range []string{"", "$JS.API.DIRECT.GET.>", "$JS.API.STREAM.INFO.KV_B"} {
		t.Run("without "+forbidden, func(t *testing.T) {
			s := natstest.Start(t, func(o *server.Options) {
				if forbidden == "" {
					return
				}
				o.NoAuthUser = "u"
				o.Users = []*server.User{{Username: "u", Password: "p"}, {
					Username: "limited", Password: "p", Permissions: &server.Permissions{
						Publish: &server.SubjectPermission{Deny: []string{forbidden}},
					},
				}}
			})
			put(t, createBucket(t, client(t, s), jetstream.KeyValueConfig{Bucket: "B"}), "a", "1")
			login := ""
			if forbidden != "" {
				login = ", username: limited, password: p"
			}
			sink := openSink(t, sinkYAML(t, s, `{kv: B, key: a, revision: "7"`+login+"}"))
			var batch bridge.Batch
			for i := range 300 {
				batch = append(batch, bridge.Message{ID: fmt.Sprint(i)})
			}
			before := connections(t, s)
			begun := time.Now()
			r, err := sink.Write(t.Context(), batch)
			if err != nil || r.Settled != len(batch) || len(r.Refused) != len(batch) {
				t.Errorf("settled %d, refused %d, err = %v, want all refused", r.Settled, len(r.Refused), err)
			}
			if made := connections(t, s) - before; made != 1 {
				t.Errorf("made %d connections, want one", made)
			}
			t.Logf("in %v", time.Since(begun))
		})
	}
}

func connections(t testing.TB, s *server.Server) uint64 {
	t.Helper()
	v, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.TotalConnections
}

// What the server refuses because of what one message says is refused alone.
func TestRefusedByHeaders(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	createBucket(t, js, jetstream.KeyValueConfig{Bucket: "B", LimitMarkerTTL: time.Minute})
	createStream(t, js, jetstream.StreamConfig{Name: "KV_C", Subjects: []string{"$KV.C.>"}})
	for settings, bad := range map[string]map[string]string{
		`{kv: B, headers: {Nats-TTL: "{{ header.ttl ?? '' }}"}}`: {"ttl": "soon"},
		"kv: C": {"KV-Operation": "PURGE"},
	} {
		sink := openSink(t, sinkYAML(t, s, settings))
		refuses(t, sink, bridge.Batch{{ID: "1", Topic: "a"}, {ID: "2", Topic: "b", Header: bad}, {ID: "3", Topic: "c"}}, 1)
	}
}

// What cannot be right is found before the start.
func TestBucketSettings(t *testing.T) {
	for text, key := range map[string]string{
		"{kv: B}":                                         "",
		"{kv: B, revision: \"\"}":                         "",
		"{kv: B, revision: 0}":                            "",
		"{kv: B, revision: abc}":                          "revision",
		"{kv: B, revision: -1}":                           "revision",
		"{kv: B, key: a b}":                               "key",
		"{kv: a.b}":                                       "kv",
		"{kv: B, subject: a}":                             "kv",
		"{kv: B, objects: C}":                             "objects",
		"{objects: C, revision: 1}":                       "revision",
		"{subject: a, key: b}":                            "key",
		"{subject: a, empty: delete}":                     "empty",
		"{kv: B, buckets: {\"\": {}}}":                    "buckets",
		"{kv: B, buckets: {a.b: {}}}":                     "buckets.a.b",
		"{kv: B, buckets: {B: {}}, streams: {KV_B: [a]}}": "buckets.B",
		"{objects: B, object_stores: {B: {}}, streams: {OBJ_B: [a]}}": "object_stores.B",
	} {
		t.Run(text, func(t *testing.T) {
			settings := nats.Connector().Sink.Settings().(*nats.SinkSettings)
			err := decodeYAML(t, "nats://127.0.0.1", text, settings)
			if key == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), key) {
				t.Errorf("err = %v, want one about %q", err, key)
			}
		})
	}
}
