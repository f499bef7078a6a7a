package nats

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/xrtcbridge/xrtcbridge/bridge"
	"github.com/xrtcbridge/xrtcbridge/bridge/natsclient"
)

// Client is what source and sink have in common.
type Client struct {
	natsclient.Settings `yaml:",inline"`

	Name         string                 `yaml:"name" doc:"of the connection, in the server's reports; empty: after the pipeline"`
	Streams      map[string]Stream      `yaml:"streams" doc:"streams, by name, that are created if missing"`
	Buckets      map[string]Bucket      `yaml:"buckets" doc:"key-value buckets, by name, that are created if missing"`
	ObjectStores map[string]ObjectStore `yaml:"object_stores" doc:"object stores, by name, that are created if missing"`
}

// Validate checks the streams and the buckets.
func (c *Client) Validate() error {
	var errs []error
	for name, s := range c.Streams {
		errs = append(errs, checkName("streams."+name, name), checkFilters("streams."+name+".subjects", s.Subjects))
	}
	for name := range c.Buckets {
		errs = append(errs, c.checkMade("buckets", name, bucketStream(name)))
	}
	for name := range c.ObjectStores {
		errs = append(errs, c.checkMade("object_stores", name, objectStream(name)))
	}
	return errors.Join(errs...)
}

func (c *Client) checkMade(key, name, stream string) error {
	_, twice := c.Streams[stream]
	switch {
	case name == "":
		return bridge.KeyErrorf(key, "one has no name")
	case twice:
		return bridge.KeyErrorf(key+"."+name, "it is the stream %s, which streams says something else about", stream)
	}
	return checkBucket(key+"."+name, name)
}

// Stream is a stream to create if it is missing.
type Stream struct {
	Subjects   []string      `yaml:"subjects,short,required" doc:"of the stream"`
	Storage    string        `yaml:"storage" enum:"file|memory" doc:"where it is kept; empty: file"`
	Discard    string        `yaml:"discard" enum:"old|new" doc:"when a limit is reached; empty: old"`
	MaxBytes   bridge.Size   `yaml:"max_bytes" doc:"most bytes; 0: no limit"`
	MaxAge     time.Duration `yaml:"max_age" doc:"how long messages are kept; 0: for ever"`
	MaxMsgs    int64         `yaml:"max_msgs" doc:"most messages; 0: no limit"`
	Replicas   int           `yaml:"replicas" doc:"copies that a cluster keeps; 0: 1"`
	Duplicates time.Duration `yaml:"duplicates" doc:"window of de-duplication; 0: 2m"`

	bucket, objects bool
	history         int64 // of a bucket
}

const minBuffer bridge.Size = 4 << 10

// SourceSettings are the settings of the source.
type SourceSettings struct {
	Client   `yaml:",inline"`
	Subject  string      `yaml:"subject" doc:"to read without JetStream; * is one word, > the rest"`
	Subjects []string    `yaml:"subjects" doc:"several, instead of subject"`
	Queue    string      `yaml:"queue" doc:"shares the subject with others of this queue group"`
	Buffer   bridge.Size `yaml:"buffer" doc:"most bytes that wait for the pipeline; more are dropped and counted"`

	Stream        string        `yaml:"stream" doc:"reads this stream of JetStream"`
	Durable       string        `yaml:"durable" doc:"the consumer, which remembers how far it is; empty: after the pipeline"`
	KV            string        `yaml:"kv" doc:"reads this key-value bucket of JetStream: topics are its keys"`
	Objects       string        `yaml:"objects" doc:"reads this object store of JetStream: topics are names of objects"`
	MaxSize       bridge.Size   `yaml:"max_size" doc:"of an object; a larger one is refused"`
	GivenUp       bool          `yaml:"given_up" doc:"reads advisories of messages given up, and refuses these"`
	Filter        []string      `yaml:"filter" doc:"subjects of the stream, or keys of the bucket; empty: all of them"`
	Deliver       string        `yaml:"deliver" enum:"all|new|last" doc:"where a new consumer starts; last: of each key of kv"`
	AckWait       time.Duration `yaml:"ack_wait" doc:"0: 30s for a consumer of ours"`
	MaxAckPending int           `yaml:"max_ack_pending" min:"0" doc:"most messages without acknowledgement; 0: four batches, at least 1000"`

	once bool // the server is to forget the consumer when nobody has read it for a while
}

// OneRun implements [bridge.OneRunner].
func (s *SourceSettings) OneRun() {
	if s.stream() != "" && s.Durable == "" {
		s.once, s.Durable = true, "xrtcbridge-inline-"+strings.ToLower(rand.Text()[:8])
	}
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	Client     `yaml:",inline"`
	Subject    bridge.Template            `yaml:"subject" doc:"where to publish"`
	Replies    bool                       `yaml:"replies" doc:"a message may choose a subject on which somebody waits for an answer, as with {{ header.reply }}"`
	Headers    map[string]bridge.Template `yaml:"headers" doc:"beside those of the message; one that comes out empty is left out"`
	Flush      bool                       `yaml:"flush" doc:"without JetStream: wait until the server has the messages"`
	JetStream  bool                       `yaml:"jetstream" doc:"wait until a stream has stored each message"`
	Stream     string                     `yaml:"stream" doc:"the stream that must take it; implies jetstream"`
	KV         string                     `yaml:"kv" doc:"instead of subject: puts into this key-value bucket"`
	Objects    string                     `yaml:"objects" doc:"instead of subject: puts into this object store"`
	Key        bridge.Template            `yaml:"key" doc:"in the bucket, or the name of the object; empty: the topic"`
	Empty      string                     `yaml:"empty" enum:"put|delete" doc:"what an empty message does with its key"`
	Revision   bridge.Template            `yaml:"revision" doc:"that the key must have; 0: none; empty: any"`
	AckTimeout time.Duration              `yaml:"ack_timeout" doc:"how long the stream may take"`
}

// Validate checks each setting and the combinations.
func (s *SourceSettings) Validate() error {
	subjects := s.subjects()
	var errs []error
	switch {
	case s.KV != "" && (s.Stream != "" || len(subjects) > 0):
		errs = append(errs, bridge.KeyErrorf("kv", "set one of subject, stream, kv and objects"))
	case s.Objects != "" && (s.Stream != "" || s.KV != "" || len(subjects) > 0):
		errs = append(errs, bridge.KeyErrorf("objects", "set one of subject, stream, kv and objects"))
	case s.Objects != "" && len(s.Filter) > 0:
		errs = append(errs, bridge.KeyErrorf("filter", "objects cannot be chosen by name here: use a step filter"))
	case s.Subject != "" && len(s.Subjects) > 0:
		errs = append(errs, bridge.KeyErrorf("subjects", "set subject or subjects, not both"))
	case s.Stream != "" && len(subjects) > 0:
		errs = append(errs, bridge.KeyErrorf("stream",
			"set subject to read core NATS, or stream to read JetStream (with filter for its subjects), not both"))
	case s.stream() == "" && len(subjects) == 0:
		errs = append(errs, bridge.KeyErrorf("subject",
			"set subject to read core NATS, stream to read JetStream, or kv or objects to read a bucket of it"))
	}
	if s.GivenUp && s.KV+s.Objects != "" {
		errs = append(errs, bridge.KeyErrorf("given_up", "is for stream or subject, not for kv and objects"))
	}
	if s.MaxSize < 1 {
		errs = append(errs, bridge.KeyErrorf("max_size", "must be above 0"))
	}
	errs = append(errs, checkFilters("subject", subjects), checkBucket("kv", s.KV), checkBucket("objects", s.Objects))
	if s.KV == "" {
		errs = append(errs, checkFilters("filter", s.Filter))
	}
	for _, key := range s.Filter {
		if s.KV != "" && !isKey(key, true) {
			errs = append(errs, bridge.KeyErrorf("filter", "%q is no key: letters, digits and - / _ = are allowed, "+
				"with single dots between them; * for any word, > at the end for any rest", key))
		}
	}
	if s.stream() == "" {
		errs = append(errs, onlyWithStream("durable", s.Durable != ""), onlyWithStream("filter", len(s.Filter) > 0))
	} else if s.Queue != "" {
		errs = append(errs, bridge.KeyErrorf("queue",
			"a stream needs none: bridges with the same durable share its messages"))
	}
	errs = append(errs, checkName("stream", s.Stream), checkName("durable", s.Durable))
	if strings.ContainsAny(s.Queue, " \t\r\n") {
		errs = append(errs, bridge.KeyErrorf("queue", "white space is not allowed"))
	}
	if s.Buffer < minBuffer {
		errs = append(errs, bridge.KeyErrorf("buffer", "at least %v", minBuffer))
	}
	if s.AckWait != 0 && s.AckWait < time.Second {
		errs = append(errs, bridge.KeyErrorf("ack_wait", "at least 1s"))
	}
	return errors.Join(errs...)
}

// stream returns the stream that is read; empty: core NATS is.
func (s *SourceSettings) stream() string {
	return cmp.Or(s.Stream, bucketStream(s.KV), objectStream(s.Objects))
}

// named says what is read of JetStream.
func (s *SourceSettings) named() string {
	switch {
	case s.KV != "":
		return fmt.Sprintf("bucket %q", s.KV)
	case s.Objects != "":
		return fmt.Sprintf("object store %q", s.Objects)
	}
	return fmt.Sprintf("stream %q", s.Stream)
}

// filters returns the subjects of a stream that are read; none: all.
func (s *SourceSettings) filters(of jetstream.StreamConfig) []string {
	if s.Objects != "" {
		return []string{"$O." + s.Objects + ".M.>"}
	}
	if s.KV == "" {
		return s.Filter
	}
	prefix := keyPrefix(s.KV)
	if of.Mirror != nil { // where subjects have the name of the bucket that is mirrored
		prefix = keyPrefix("*")
	}
	if len(s.Filter) == 0 {
		return []string{prefix + ">"}
	}
	all := slices.Clone(s.Filter)
	for i := range all {
		all[i] = prefix + all[i]
	}
	return all
}

func (s *SourceSettings) subjects() []string {
	if s.Subject == "" {
		return s.Subjects
	}
	return append([]string{s.Subject}, s.Subjects...)
}

// Validate checks each setting and the combinations.
func (s *SinkSettings) Validate() error {
	errs := []error{checkName("stream", s.Stream), checkBucket("kv", s.KV), checkBucket("objects", s.Objects)}
	switch {
	case s.Objects != "" && (s.Subject != nil || s.Stream+s.KV != ""):
		errs = append(errs, bridge.KeyErrorf("objects", "set one of subject, kv and objects; stream is for subject"))
	case s.Objects != "":
		errs = append(errs, onlyWithBucket("revision", s.Revision != nil))
	case s.KV != "" && (s.Subject != nil || s.Stream != ""):
		errs = append(errs, bridge.KeyErrorf("kv", "set one of subject, kv and objects; stream is for subject"))
	case s.KV == "" && s.Subject == nil:
		errs = append(errs, bridge.KeyErrorf("subject",
			"set subject to publish, or kv or objects to put into a bucket"))
	case s.KV == "":
		errs = append(errs, onlyWithBucket("key", s.Key != nil), onlyWithBucket("revision", s.Revision != nil),
			onlyWithBucket("empty", s.Empty == "delete"))
		if subject, constant := s.Subject.Constant(); constant && !publishable(subject) {
			errs = append(errs, bridge.KeyErrorf("subject", "%w", notPublishable(subject)))
		}
	case s.Key != nil:
		if key, constant := s.Key.Constant(); constant && !isKey(key, false) {
			errs = append(errs, bridge.KeyErrorf("key", "%w", notKey(key)))
		}
	}
	if s.Revision != nil {
		if text, constant := s.Revision.Constant(); constant && text != "" && !isRevision(text) {
			errs = append(errs, bridge.KeyErrorf("revision", "%q is not a whole number", text))
		}
	}
	errs = append(errs, checkHeaders(s.Headers))
	if s.AckTimeout <= 0 {
		errs = append(errs, bridge.KeyErrorf("ack_timeout", "at least 1ms"))
	}
	return errors.Join(errs...)
}

func checkHeaders(headers map[string]bridge.Template) error {
	var errs []error
	for name := range headers {
		switch {
		case name == "" || escapeName(name) != name:
			errs = append(errs, bridge.KeyErrorf("headers", "%q is not the name of a header", name))
		case strings.EqualFold(name, jetstream.MsgIDHeader), strings.HasPrefix(strings.ToLower(name),
			"nats-expected-"), strings.HasPrefix(strings.ToLower(name), "nats-batch-"):
			errs = append(errs, bridge.KeyErrorf("headers."+name, "the bridge itself sets this one"))
		}
	}
	return errors.Join(errs...)
}

// stream returns the stream that must take the messages; empty: any, or none.
func (s *SinkSettings) stream() string {
	return cmp.Or(s.Stream, bucketStream(s.KV), objectStream(s.Objects))
}

// to returns the template of subjects.
func (s *SinkSettings) to() bridge.Template {
	if s.Objects != "" { // which is where the stream says what there is
		return bridge.Text("$O." + s.Objects + ".M.>")
	}
	if s.KV != "" {
		prefix := keyPrefix(s.KV)
		if api := s.API(); api != jetstream.DefaultAPIPrefix { // the server maps what is behind that, too
			prefix = api + prefix
		}
		return keySubject{prefix, s.Key}
	}
	return s.Subject
}

func onlyWithBucket(key string, set bool) error {
	if !set {
		return nil
	}
	return bridge.KeyErrorf(key, "is for a key-value bucket: set kv too")
}

func onlyWithStream(key string, set bool) error {
	if !set {
		return nil
	}
	return bridge.KeyErrorf(key, "is for JetStream: set stream too")
}

func checkFilters(key string, subjects []string) error {
	var errs []error
	for _, s := range subjects {
		if !subscribable(s) {
			errs = append(errs, bridge.KeyErrorf(key,
				"%q cannot be subscribed to: a subject is words with dots between, * for any word, > at the end for any rest", s))
		}
	}
	return errors.Join(errs...)
}

// checkName refuses what the server would refuse in the name of a stream or consumer.
func checkName(key, name string) error {
	if strings.ContainsAny(name, " \t\r\n\f.*>/\\") {
		return bridge.KeyErrorf(key, "%q is not a name: white space and . * > / \\ are not allowed", name)
	}
	return nil
}
