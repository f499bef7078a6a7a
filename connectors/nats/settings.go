package nats

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Client is what source and sink have in common.
type Client struct {
	URL            []bridge.URL      `yaml:"url,required"`
	Name           string            `yaml:"name"` // of the connection, in the server's reports; empty: after the pipeline
	Username       string            `yaml:"username"`
	Password       bridge.Secret     `yaml:"password"`
	Token          bridge.Secret     `yaml:"token"`
	Creds          string            `yaml:"creds"` // credentials file
	NKey           string            `yaml:"nkey"`  // file with the seed
	TLS            bridge.TLS        `yaml:"tls"`
	ConnectTimeout time.Duration     `yaml:"connect_timeout"`
	Streams        map[string]Stream `yaml:"streams"`
}

// Stream is a stream to create if it is missing.
type Stream struct {
	Subjects   []string      `yaml:"subjects,short,required"`
	Storage    string        `yaml:"storage" enum:"file|memory"` // empty: file
	Discard    string        `yaml:"discard" enum:"old|new"`     // when a limit is reached; empty: old
	MaxBytes   bridge.Size   `yaml:"max_bytes"`                  // 0: no limit, as for the next two
	MaxAge     time.Duration `yaml:"max_age"`
	MaxMsgs    int64         `yaml:"max_msgs"`
	Replicas   int           `yaml:"replicas"`   // 0: 1
	Duplicates time.Duration `yaml:"duplicates"` // window of de-duplication; 0: 2m
}

const minBuffer bridge.Size = 4 << 10

// SourceSettings are the settings of the source.
type SourceSettings struct {
	Client   `yaml:",inline"`
	Subject  string      `yaml:"subject"`
	Subjects []string    `yaml:"subjects"`
	Queue    string      `yaml:"queue"`
	Buffer   bridge.Size `yaml:"buffer"`

	Stream        string        `yaml:"stream"`
	Durable       string        `yaml:"durable"`
	Filter        []string      `yaml:"filter"`
	Deliver       string        `yaml:"deliver" enum:"all|new|last"`
	AckWait       time.Duration `yaml:"ack_wait"`
	MaxAckPending int           `yaml:"max_ack_pending"` // 0: four batches, at least 1000
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	Client     `yaml:",inline"`
	Subject    bridge.Template `yaml:"subject,required"`
	Flush      bool            `yaml:"flush"`
	JetStream  bool            `yaml:"jetstream"`
	Stream     string          `yaml:"stream"`
	AckTimeout time.Duration   `yaml:"ack_timeout"`
}

// Validate checks each setting and the combinations.
func (s *SourceSettings) Validate() error {
	subjects := s.subjects()
	errs := []error{s.validate()}
	switch {
	case s.Subject != "" && len(s.Subjects) > 0:
		errs = append(errs, keyError("subjects", "set subject or subjects, not both"))
	case s.Stream != "" && len(subjects) > 0:
		errs = append(errs, keyError("stream", "set subject to read core NATS, or stream to read JetStream (with filter for its subjects), not both"))
	case s.Stream == "" && len(subjects) == 0:
		errs = append(errs, keyError("subject", "set subject to read core NATS, or stream to read JetStream"))
	}
	errs = append(errs, checkFilters("subject", subjects), checkFilters("filter", s.Filter))
	if s.Stream == "" {
		errs = append(errs, onlyWithStream("durable", s.Durable != ""), onlyWithStream("filter", len(s.Filter) > 0))
	} else if s.Queue != "" {
		errs = append(errs, keyError("queue", "a stream needs none: bridges with the same durable share its messages"))
	}
	errs = append(errs, checkName("stream", s.Stream), checkName("durable", s.Durable))
	if strings.ContainsAny(s.Queue, " \t\r\n") {
		errs = append(errs, keyError("queue", "white space is not allowed"))
	}
	if s.Buffer < minBuffer {
		errs = append(errs, keyError("buffer", "at least %v", minBuffer))
	}
	if s.AckWait < time.Second {
		errs = append(errs, keyError("ack_wait", "at least 1s"))
	}
	if s.MaxAckPending < 0 {
		errs = append(errs, keyError("max_ack_pending", "a number cannot be negative"))
	}
	return errors.Join(errs...)
}

func (s *SourceSettings) subjects() []string {
	if s.Subject == "" {
		return s.Subjects
	}
	return append([]string{s.Subject}, s.Subjects...)
}

// Validate checks each setting and the combinations.
func (s *SinkSettings) Validate() error {
	errs := []error{s.validate(), checkName("stream", s.Stream)}
	if s.Subject != nil {
		if subject, constant := s.Subject.Constant(); constant && !publishable(subject) {
			errs = append(errs, keyError("subject", "%q cannot be published to: a subject is words with dots between, no white space, * or >", subject))
		}
	}
	if s.AckTimeout <= 0 {
		errs = append(errs, keyError("ack_timeout", "at least 1ms"))
	}
	return errors.Join(errs...)
}

func (c *Client) validate() error {
	var errs []error
	for _, u := range c.URL {
		if u.IsZero() || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			errs = append(errs, keyError("url", "the scheme of %q is not nats, tls, ws or wss", u))
		}
	}
	ways := 0
	for _, set := range []bool{c.Username != "", !c.Token.IsZero(), c.Creds != "", c.NKey != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		errs = append(errs, keyError("username", "set one of username, token, creds and nkey"))
	}
	if c.Username == "" && !c.Password.IsZero() {
		errs = append(errs, keyError("password", "a password goes with a username"))
	}
	if c.Creds != "" {
		if err := checkCreds(c.Creds); err != nil {
			errs = append(errs, keyError("creds", "%w", err))
		}
	}
	if c.NKey != "" {
		if _, err := nats.NkeyOptionFromSeed(c.NKey); err != nil {
			errs = append(errs, keyError("nkey", "%w", err))
		}
	}
	if c.ConnectTimeout <= 0 {
		errs = append(errs, keyError("connect_timeout", "at least 1ms"))
	}
	for name, s := range c.Streams {
		errs = append(errs, checkName("streams."+name, name), checkFilters("streams."+name+".subjects", s.Subjects))
	}
	return errors.Join(errs...)
}

func onlyWithStream(key string, set bool) error {
	if !set {
		return nil
	}
	return keyError(key, "is for JetStream: set stream too")
}

func checkFilters(key string, subjects []string) error {
	var errs []error
	for _, s := range subjects {
		if !subscribable(s) {
			errs = append(errs, keyError(key, "%q cannot be subscribed to: a subject is words with dots between, * for any word, > at the end for any rest", s))
		}
	}
	return errors.Join(errs...)
}

// checkName refuses what the server would refuse in the name of a stream or consumer.
func checkName(key, name string) error {
	if strings.ContainsAny(name, " \t\r\n\f.*>/\\") {
		return keyError(key, "%q is not a name: white space and . * > / \\ are not allowed", name)
	}
	return nil
}

func keyError(key, format string, args ...any) error {
	return &bridge.KeyError{Key: key, Err: fmt.Errorf(format, args...)}
}
