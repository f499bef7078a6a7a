package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

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
		return false, fmt.Errorf("the object %q has %v, and max_size is %v", info.Name, bridge.Size(info.Size), o.most), nil
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
	store   jetstream.ObjectStore
	key     bridge.Template // nil: the topic
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
	return &objectSink{
		conn: c, store: store, key: s.Key, headers: s.Headers, deletes: s.Empty == "delete", timeout: s.AckTimeout,
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
		_, err = o.store.Put(ctx, jetstream.ObjectMeta{Name: name, Headers: h.header},
			bytes.NewReader(m.Payload))
	}
	if err != nil {
		return nil, o.conn.failed(ctx, fmt.Errorf("object %q: %w", name, err))
	}
	return nil, nil
}
