package nats_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/bridgetest"
	"github.com/xrtcbridge/xrtcbridge/bridge/natstest"
	"github.com/xrtcbridge/xrtcbridge/connectors/nats"
	"github.com/xrtcbridge/xrtcbridge/connectors/plugin/plugintest"
)

// putObjects returns what puts objects into a store. Put of the client library leaves a goroutine
// behind on a busy machine; what it would have put, clients get.
func putObjects(t *testing.T, s *server.Server, store string) func(name string, data []byte) {
	t.Helper()
	sink := openSinkAt(t, "made-by-test", sinkYAML(t, s, "objects: "+store))
	return func(name string, data []byte) {
		t.Helper()
		deliverAll(t, sink, bridge.Batch{{Topic: name, Payload: data, Header: map[string]string{"Unit": "C"}}})
	}
}

// Objects of all sizes, names and headers go from one store to another, and what is deleted in one
// is deleted in the other.
func TestObjectsToObjects(t *testing.T) { plugintest.Both(t, nats.Connector(), testObjectsToObjects) }

func testObjectsToObjects(t *testing.T, c bridge.Connector) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	from, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "SRC"})
	if err != nil {
		t.Fatal(err)
	}
	put := putObjects(t, s, "SRC")
	seed := rand.Uint64()
	t.Log("seed", seed)
	large := make([]byte, 3<<20+1)
	for i, r := 0, rand.New(rand.NewPCG(seed, 0)); i < len(large); i++ {
		large[i] = byte(r.Uint32())
	}
	put("a b/ü.txt", large)
	put("small", []byte("1"))
	put("small", []byte("2"))
	put("empty", nil)
	put("deleted", []byte("1"))
	if err := from.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	source, sink := openEnds(t, c, sourceYAML(t, s, "objects: SRC"),
		sinkYAML(t, s, "{objects: DST, key: \"copy of {{ topic }}\", object_stores: {DST: {}}}"))
	to, err := js.ObjectStore(t.Context(), "DST")
	if err != nil {
		t.Fatal(err)
	}
	putObjects(t, s, "DST")("copy of deleted", []byte("0"))
	batch, acks := readN(t, source, 4)
	deliverAll(t, sink, batch)
	settle(t, acks, nil)
	for name, want := range map[string]string{"a b/ü.txt": string(large), "small": "2", "empty": ""} {
		got, err := to.GetString(t.Context(), "copy of "+name)
		info, _ := to.GetInfo(t.Context(), "copy of "+name)
		if err != nil || got != want || info.Headers.Get("Unit") != "C" {
			t.Errorf("%s has %d bytes, err = %v, want %d", name, len(got), err, len(want))
		}
	}
	if _, err := to.GetInfo(t.Context(), "copy of deleted"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("err = %v, want that it is deleted", err)
	}
}

// What is too large is refused, what was not settled comes again, and an empty message may delete.
func TestObjectsOneByOne(t *testing.T) {
	s := natstest.Start(t, nil)
	js := client(t, s)
	store, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "B"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		text := strings.Repeat("x", 10)
		if i == 1 {
			text = strings.Repeat("x", 11)
		}
		putObjects(t, s, "B")(fmt.Sprint(i), []byte(text))
	}
	source := openSource(t, sourceYAML(t, s, "{objects: B, max_size: 10B, durable: D}"), counted(t, new(int)))
	for i := range 4 {
		batch, ack, err := source.Read(t.Context())
		said, _ := errors.AsType[bridge.Refusals](err)
		if len(batch) != 1 || batch[0].Topic != fmt.Sprint(i) || (len(said) == 1) != (i == 1) || err != nil && i != 1 {
			t.Fatalf("read %+v, err = %v, want object %d, and that the one of 11 bytes is refused", batch, err, i)
		}
		reason := error(nil)
		if i >= 2 {
			reason = errors.New("the disk is full")
		}
		if err := ack(t.Context(), reason); err != nil {
			t.Fatal(err)
		}
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	batch, _ := readN(t, openSource(t, sourceYAML(t, s, "{objects: B, durable: D}"), counted(t, new(int))), 2)
	if batch[0].Topic != "2" || batch[1].Topic != "3" {
		t.Errorf("read %+v, want what was not settled", batch)
	}
	sink := openSink(t, sinkYAML(t, s, "{objects: B, empty: delete}"))
	deliverAll(t, sink, bridge.Batch{{Topic: "1"}, {Topic: "missing"}, {Topic: "new", Payload: []byte("n")}})
	refuses(t, sink, bridge.Batch{{Topic: "new", Payload: []byte("m")}, {Payload: []byte("m")}}, 1, "without a name")
	if got, err := store.GetString(t.Context(), "new"); got != "m" {
		t.Errorf("new is %q, err = %v", got, err)
	}
	// What was replaced or deleted is gone, chunks included.
	if err := store.Delete(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "OBJ_B")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("$O.B.C.>"))
	if err != nil || len(info.State.Subjects) != 3 {
		t.Errorf("chunks %v, err = %v, want those of 0, 2 and 3", info.State.Subjects, err)
	}
	if _, err := store.GetInfo(t.Context(), "1"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("err = %v, want that it is deleted", err)
	}
}

// An object store that is made is as clients make one; one that is missing is an error that says
// what to do.
func TestObjectStoresAreCreated(t *testing.T) {
	s := natstest.Start(t, nil)
	sink := openSink(t, sinkYAML(t, s, "{objects: B, object_stores: {B: {max_bytes: 1MiB, storage: memory}}}"))
	deliverAll(t, sink, bridge.Batch{{Topic: "a", Payload: []byte("1")}})
	if _, err := client(t, s).CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{
		Bucket: "B", MaxBytes: 1 << 20, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Errorf("made it otherwise than a client: %v", err)
	}
	if r, err := sink.Write(t.Context(), bridge.Batch{{Topic: "b", Payload: make([]byte, 2<<20)}}); r.Settled != 0 ||
		err == nil || bridge.IsPermanent(err) {
		t.Errorf("%+v, err = %v, want that a full store makes the pipeline wait", r, err)
	}
	_, err := nats.Connector().Sink.Open(t.Context(), sinkYAML(t, s, "objects: C"), bridgetest.Env(t, "test-to"))
	if err == nil || !strings.Contains(err.Error(), `object store "C"`) ||
		!strings.Contains(err.Error(), "object_stores") {
		t.Errorf("err = %v, want one that names the store, and how to declare it", err)
	}
}
