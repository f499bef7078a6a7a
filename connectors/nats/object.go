package nats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// An object store B is the stream OBJ_B: the subjects $O.B.C.> have the chunks of objects, and for
// each object one of $O.B.M.> says what there is of it, as ADR-20 of NATS says.

// ObjectStore is an object store to create if it is missing.
type ObjectStore struct {
	Keeping `yaml:",inline"`
}

// stream returns the stream that is the object store.
func (o ObjectStore) stream(name string) Stream {
	s := o.Keeping.stream()
	s.Subjects, s.objects = []string{"$O." + name + ".C.>", "$O." + name + ".M.>"}, true
	return s
}

func objectStream(store string) string {
	if store == "" {
		return ""
	}
	return "OBJ_" + store
}

var _ bridge.Source = (*objectSource)(nil)

// objectSource reads objects of which Source reads that they have changed. It has one of them at a
// time, since they may be large.
type objectSource struct {
	bridge.Source
	conn    *conn
	store   jetstream.ObjectStore
	most    bridge.Size
	changes bridge.Batch // to be read
	acks    *bridge.Portions
	late    error // of the Source, which came with the changes
}

func (o *objectSource) Read(ctx context.Context) (bridge.Batch, bridge.Ack, error) {
	for {
		for len(o.changes) == 0 {
			if err := o.late; err != nil {
				o.late = nil
				return nil, nil, err
			}
			var ack bridge.Ack
			o.changes, ack, o.late = o.Source.Read(ctx)
			o.acks = &bridge.Portions{Ack: ack}
		}
		m := o.changes[0]
		o.changes = o.changes[1:]
		ack := o.acks.Next(1, len(o.changes) == 0)
		there, refused, err := o.read(ctx, &m)
		switch {
		case err != nil:
			return nil, nil, err // what was not acknowledged goes back when the instance is closed
		case refused != nil:
			return bridge.Batch{m}, ack, bridge.Refusals{{Err: refused}}
		case there:
			return bridge.Batch{m}, ack, nil
		}
		if err := ack(ctx, nil); err != nil { // the change that deletes it is still to come
			return nil, nil, err
		}
	}
}

// read makes m the object that has changed, if that is still there.
func (o *objectSource) read(ctx context.Context, m *bridge.Message) (there bool, refused, err error) {
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(m.Payload, &info); err != nil {
		return false, fmt.Errorf("this says of no object that it has changed: %w", err), nil
	}
	m.Topic, m.Payload, m.Header = info.Name, nil, received(info.Headers)
	switch {
	case info.Deleted:
		m.Header[operation] = deletes
		return true, nil, nil
	case info.Size > uint64(o.most):
		return false, fmt.Errorf("the object %q has %v, and max_size is %v",
			info.Name, bridge.Size(info.Size), o.most), nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout+transfer(info.Size))
	defer cancel()
	defer context.AfterFunc(ctx, o.conn.Cut)()
	m.Payload, err = o.store.GetBytes(ctx, info.Name)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
		return false, nil, nil
	case err != nil:
		return false, nil, o.conn.failed(ctx, fmt.Errorf("read object %q: %w", info.Name, err))
	}
	return true, nil, nil
}

// transfer returns how long so many bytes may take on a slow line.
func transfer(n uint64) time.Duration { return time.Duration(n/20_000) * time.Second }

// failed returns why a call failed, whose reason is the end of the connection or of ctx, if one of
// these has ended.
func (c *conn) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.IsClosed():
		return c.Err()
	}
	return err
}

var _ bridge.Sink = (*objectSink)(nil)

// objectSink puts objects.
type objectSink struct {
	conn    *conn
	name    string // of the store
	store   jetstream.ObjectStore
	stream  jetstream.Stream // which is that
	key     bridge.Template  // nil: the topic
	headers map[string]bridge.Template
	deletes bool // an empty payload does
	timeout time.Duration
	close   func()
}

func openObjectSink(ctx context.Context, c *conn, s *SinkSettings) (*objectSink, error) {
	store, err := c.objects(ctx, s.Objects)
	if err != nil {
		return nil, err
	}
	stream, err := c.js.Stream(ctx, objectStream(s.Objects))
	if err != nil {
		return nil, fmt.Errorf("object store %q: %w", s.Objects, c.explain(err))
	}
	return &objectSink{
		conn: c, name: s.Objects, store: store, stream: stream, key: s.Key, headers: s.Headers,
		deletes: s.Empty == "delete", timeout: s.AckTimeout,
		close: sync.OnceFunc(c.End),
	}, nil
}

// objects returns an object store.
func (c *conn) objects(ctx context.Context, name string) (jetstream.ObjectStore, error) {
	store, err := c.js.ObjectStore(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = fmt.Errorf("%w: create it, or declare it under object_stores", err)
	}
	if err != nil {
		return nil, fmt.Errorf("object store %q: %w", name, c.explain(err))
	}
	return store, nil
}

func (o *objectSink) Close() error {
	o.close()
	return nil
}

func (o *objectSink) Write(ctx context.Context, batch bridge.Batch) (r bridge.Result, err error) {
	defer context.AfterFunc(ctx, o.conn.Cut)() // a peer that does not read blocks us in the socket
	for i := range batch {
		refused, err := o.put(ctx, &batch[i])
		if err != nil {
			return r, err
		}
		if refused != nil {
			r.Refused = append(r.Refused, bridge.Refusal{Index: i, Err: refused})
		}
		r.Settled++
	}
	return r, nil
}

func (o *objectSink) put(ctx context.Context, m *bridge.Message) (refused, err error) {
	name := m.Topic
	if o.key != nil {
		if name, refused = o.key.Render(m); refused != nil {
			return fmt.Errorf("render key: %w", refused), nil
		}
	}
	if name == "" {
		return errors.New("an object without a name: set key"), nil
	}
	var h header
	h.reset()
	h.add(m.Header)
	if refused := h.render(o.headers, m); refused != nil {
		return refused, nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout+transfer(uint64(len(m.Payload))))
	defer cancel()
	if op := h.header.Get(operation); op == deletes || op == purges || o.deletes && len(m.Payload) == 0 {
		err = o.store.Delete(ctx, name)
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			err = nil
		}
	} else {
		err = o.upload(ctx, jetstream.ObjectMeta{Name: name, Headers: h.header}, m.Payload)
	}
	if err != nil {
		return nil, o.conn.failed(ctx, fmt.Errorf("object %q: %w", name, err))
	}
	return nil, nil
}

// How an object is sent.
const (
	chunkSize   = 128 << 10 // as the client library does
	chunkWindow = 32        // chunks whose confirmations are waited for at a time
)

// upload does what Put of the client library does, which leaves a goroutine behind for ever when the
// machine is busy: chunks under a new name, then what there is of the object, then the old chunks go.
func (o *objectSink) upload(ctx context.Context, meta jetstream.ObjectMeta, data []byte) error {
	old, err := o.store.GetInfo(ctx, meta.Name, jetstream.GetObjectInfoShowDeleted())
	if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return err
	}
	meta.Opts = &jetstream.ObjectMetaOptions{ChunkSize: chunkSize}
	digest := sha256.Sum256(data)
	info := jetstream.ObjectInfo{
		ObjectMeta: meta, Bucket: o.name, NUID: rand.Text(), Size: uint64(len(data)),
		Digest: "SHA-256=" + base64.URLEncoding.EncodeToString(digest[:]),
	}
	if info.Chunks, err = o.send(ctx, "$O."+o.name+".C."+info.NUID, data); err != nil {
		_ = o.purge(context.WithoutCancel(ctx), info.NUID) // the next try has a name of its own
		return err
	}
	about, err := json.Marshal(info)
	if err != nil {
		return err
	}
	// Should the answer to this be lost, the chunks may be those of an object that is there.
	_, err = o.conn.js.PublishMsg(ctx, &nats.Msg{
		Subject: "$O." + o.name + ".M." + base64.URLEncoding.EncodeToString([]byte(meta.Name)), Data: about,
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}},
	})
	if err == nil && old != nil && !old.Deleted && old.NUID != "" {
		return o.purge(ctx, old.NUID)
	}
	return err
}

// send sends the chunks of an object, and returns how many these are.
func (o *objectSink) send(ctx context.Context, subject string, data []byte) (uint32, error) {
	var sent []jetstream.PubAckFuture
	n := uint32(0)
	for len(data) > 0 || len(sent) > 0 {
		if len(data) > 0 && len(sent) < chunkWindow {
			chunk := data[:min(len(data), chunkSize)]
			future, err := o.conn.js.PublishAsync(subject, chunk)
			if err != nil {
				return n, err
			}
			data, sent, n = data[len(chunk):], append(sent, future), n+1
			continue
		}
		select {
		case <-sent[0].Ok():
			sent = sent[1:]
		case err := <-sent[0].Err():
			return n, err
		case <-o.conn.Gone:
			return n, o.conn.Err()
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	return n, nil
}

// purge deletes the chunks of an object.
func (o *objectSink) purge(ctx context.Context, nuid string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return o.stream.Purge(ctx, jetstream.WithPurgeSubject("$O."+o.name+".C."+nuid))
}
