package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// A key-value bucket B is the stream KV_B with the subjects $KV.B.KEY, as ADR-8 of NATS says: what
// deletes a key is a message too.

// Bucket is a key-value bucket to create if it is missing.
type Bucket struct {
	History int64 `yaml:"history,short" min:"0" max:"64" doc:"values that are kept of each key; 0: 1"`
	Keeping `yaml:",inline"`
}

// Keeping says how a bucket or an object store is kept.
type Keeping struct {
	MaxAge   time.Duration `yaml:"max_age" doc:"how long values are kept; 0: for ever"`
	MaxBytes bridge.Size   `yaml:"max_bytes" doc:"most bytes; 0: no limit"`
	Storage  string        `yaml:"storage" enum:"file|memory" doc:"where it is kept; empty: file"`
	Replicas int           `yaml:"replicas" doc:"copies that a cluster keeps; 0: 1"`
}

func (k Keeping) stream() Stream {
	return Stream{Storage: k.Storage, Discard: "new", MaxBytes: k.MaxBytes, MaxAge: k.MaxAge, Replicas: k.Replicas}
}

// stream returns the stream that is the bucket.
func (b Bucket) stream(name string) Stream {
	s := b.Keeping.stream()
	s.Subjects, s.bucket, s.history = []string{keyPrefix(name) + ">"}, true, b.History
	return s
}

func bucketStream(name string) string {
	if name == "" {
		return ""
	}
	return "KV_" + name
}

func keyPrefix(bucket string) string { return "$KV." + bucket + "." }

// streams returns the streams to create, those of buckets included.
func (c *Client) streams() map[string]Stream {
	all := make(map[string]Stream)
	maps.Copy(all, c.Streams)
	for name, b := range c.Buckets {
		all[bucketStream(name)] = b.stream(name)
	}
	for name, o := range c.ObjectStores {
		all[objectStream(name)] = o.stream(name)
	}
	return all
}

// checkBucket refuses what clients of NATS refuse in the name of a bucket.
func checkBucket(key, name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return !keyRune(r) || strings.ContainsRune("/=.", r) }) {
		return bridge.KeyErrorf(key, "%q is not the name of a bucket: letters, digits, _ and - are allowed", name)
	}
	return nil
}

// isKey reports whether clients of NATS take a key, or some with wildcards.
func isKey(key string, wildcards bool) bool {
	takes := publishable
	if wildcards {
		takes = subscribable
	}
	return takes(key) && !strings.ContainsFunc(key, func(r rune) bool { return !keyRune(r) && r != '*' && r != '>' })
}

func keyRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-/_=.", r)
}

// operation is the header by which a message deletes a key.
const (
	operation = "KV-Operation"
	deletes   = "DEL"   // keeps its history
	purges    = "PURGE" // does not
)

// revision is the header of the source with the number of a change.
const revision = "Nats-Sequence"

// ofBucket makes of a message of the stream one of the bucket.
func ofBucket(m *bridge.Message, h nats.Header, number string) {
	if of, is := strings.CutPrefix(m.Topic, "$KV."); is {
		_, m.Topic, _ = strings.Cut(of, ".")
	}
	if m.Header == nil {
		m.Header = make(map[string]string)
	}
	m.Header[revision] = number
	switch h.Get(jetstream.MarkerReasonHeader) { // the server itself has deleted it
	case "Remove":
		m.Header[operation] = deletes
	case "MaxAge", "Purge":
		m.Header[operation] = purges
	}
}

// keySubject is the template of the subject of a key.
type keySubject struct {
	prefix string
	key    bridge.Template // nil: the topic
}

func (k keySubject) Render(m *bridge.Message) (string, error) {
	key := m.Topic
	if k.key != nil {
		var err error
		if key, err = k.key.Render(m); err != nil {
			return "", err
		}
	}
	if !isKey(key, false) {
		return "", notKey(key)
	}
	return k.prefix + key, nil
}

func notKey(key string) error {
	return fmt.Errorf("%q cannot be a key: letters, digits and - / _ = are allowed, and single dots between them", key)
}

func (k keySubject) Constant() (string, bool) {
	if k.key == nil {
		return k.prefix, false
	}
	key, constant := k.key.Constant()
	return k.prefix + key, constant
}

func (k keySubject) Prefix(topic string) string {
	if k.key == nil {
		return k.prefix + topic
	}
	return k.prefix + k.key.Prefix(topic)
}

func (k keySubject) String() string {
	if k.key == nil {
		return k.prefix + "{{ topic }}"
	}
	return fmt.Sprint(k.prefix, k.key)
}

// change adds what says to the server how m changes its key. An error is a reason to refuse m.
func (f *form) change(h *header, m *bridge.Message) error {
	if len(m.Payload) == 0 && f.deletes && h.header.Get(operation) == "" {
		h.set(operation, deletes)
	}
	if h.header.Get(operation) == purges {
		h.set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	}
	if f.revision == nil {
		return nil
	}
	text, err := f.revision.Render(m)
	if err != nil {
		return fmt.Errorf("render revision: %w", err)
	}
	if text == "" {
		return nil
	}
	if !isRevision(text) {
		return fmt.Errorf("revision %q is not a whole number", text)
	}
	h.set(jetstream.ExpectedLastSubjSeqHeader, text)
	return nil
}

func isRevision(text string) bool {
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil
}

// lookup asks what the last change of a key is: the server looks at revisions before it looks at
// ids, so that a change whose confirmation was lost is refused when it comes again. It asks by a
// connection of its own, which is not the one to end where that is forbidden.
type lookup struct {
	dial func(context.Context) (*conn, error)

	mu        sync.Mutex // guards what follows
	conn      *conn      // nil: none yet
	stream    jetstream.Stream
	forbidden bool
	closed    bool
}

// isLast reports whether the last change of subject in the stream has that id. An error means that
// it is not known yet.
func (l *lookup) isLast(ctx context.Context, stream, subject, id string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forbidden || l.closed {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	last, err := l.last(ctx, stream, subject)
	switch {
	case err == nil:
		return last.Header.Get(jetstream.MsgIDHeader) == id, nil
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return false, nil
	case l.conn != nil && errors.Is(l.conn.Err(), nats.ErrPermissionViolation):
		l.forbidden = true
		return false, nil
	}
	return false, fmt.Errorf("look whether it is there already: %w", err)
}

func (l *lookup) last(ctx context.Context, stream, subject string) (last *jetstream.RawStreamMsg, err error) {
	if l.conn == nil {
		if l.conn, err = l.dial(ctx); err != nil {
			return nil, err
		}
	}
	ended := make(chan struct{})
	defer close(ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the client library would wait for an answer
		select {
		case <-l.conn.Gone:
			cancel()
		case <-ended:
		}
	}()
	if l.stream == nil {
		if l.stream, err = l.conn.js.Stream(ctx, stream); err != nil {
			return nil, err
		}
	}
	return l.stream.GetLastMsgForSubject(ctx, subject)
}

func (l *lookup) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed = true; l.conn != nil {
		l.conn.End()
	}
}
