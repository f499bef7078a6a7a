package mqtt

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Values of protocol. The other one is auto.
const (
	protocol4 = "3.1.1"
	protocol5 = "5"
)

// What a session is asked for in MQTT 5 unless settings say otherwise.
const (
	defaultExpiry   = time.Hour
	defaultInflight = bridge.DefaultMaxBatch
)

// ClientSettings are what source and sink have in common.
type ClientSettings struct {
	URL            []bridge.URL  `yaml:"url,required" doc:"mqtt://host:1883, mqtts://host:8883, ws://host:80/path, wss://host:443/path; of several the first that answers"`
	Protocol       string        `yaml:"protocol" enum:"auto|5|3.1.1" doc:"of MQTT; auto: 5, or 3.1.1 where the broker refuses that"`
	ClientID       string        `yaml:"client_id,own" doc:"default: xrtcbridge-PIPELINE-from, and for a sink -to and a random end"`
	Username       string        `yaml:"username" doc:"may stand in the URL"`
	Password       bridge.Secret `yaml:"password" doc:"may stand in the URL"`
	TLS            bridge.TLS    `yaml:"tls" doc:"certificates, for mqtts and wss"`
	Keepalive      time.Duration `yaml:"keepalive" doc:"silence after which the broker is pinged"`
	ConnectTimeout time.Duration `yaml:"connect_timeout" doc:"for connecting, and for each answer until the instance is open"`
	WriteTimeout   time.Duration `yaml:"write_timeout" doc:"for which a write, or the answer to a ping, may not get on"`
	MaxPacket      bridge.Size   `yaml:"max_packet" doc:"the largest packet to receive or send; larger messages are refused"`
	SessionExpiry  time.Duration `yaml:"session_expiry" doc:"how long a session is kept while the bridge is away; MQTT 5 only"`
	Bridge         string        `yaml:"bridge" doc:"the source and the sink of this name share a connection that has it as its client id, and on which nothing comes back"`
	Birth          *Notice       `yaml:"birth" doc:"published when the connection is there"`
	Will           *Will         `yaml:"will" doc:"published by the broker when the connection breaks, and by the bridge when it ends in order"`
}

// Notice is a message about a client.
type Notice struct {
	Topic   string            `yaml:"topic,required" doc:"where it is published"`
	Payload string            `yaml:"payload" doc:"what it says"`
	QoS     int               `yaml:"qos" min:"0" max:"2" doc:"0, 1 or 2"`
	Retain  bool              `yaml:"retain" doc:"the broker keeps it"`
	Header  map[string]string `yaml:"header" doc:"properties of MQTT 5, named as the headers of messages are"`
}

// Will is a message about a client that has gone.
type Will struct {
	Notice `yaml:",inline"`

	Delay time.Duration `yaml:"delay" doc:"how long the broker waits for the client before that; MQTT 5 only"`
}

// notice returns what is published, nil for no will.
func (w *Will) notice() *Notice {
	if w == nil {
		return nil
	}
	return &w.Notice
}

// SourceSettings are the settings of the source.
type SourceSettings struct {
	ClientSettings `yaml:",inline"`

	Topics            []string    `yaml:"topics,required" doc:"filters: sensors/+/temp, sensors/#, $share/group/sensors/#"`
	QoS               int         `yaml:"qos" min:"0" max:"2" doc:"the most to ask for: 0, 1 or 2"`
	Retained          string      `yaml:"retained" enum:"all|none|once" doc:"what the broker has kept: each time, never, or with a new subscription; MQTT 5 only but for all"`
	RetainAsPublished bool        `yaml:"retain_as_published" doc:"mqtt_retained is there for all that was published so; MQTT 5 only"`
	Session           string      `yaml:"session" enum:"persistent|clean" doc:"default: clean with qos 0 and for shared subscriptions, else persistent, of which mosquitto keeps 1000 messages (max_queued_messages) while the bridge is away, or its pipeline gone or renamed"`
	MaxInflight       int         `yaml:"max_inflight" min:"1" max:"65535" doc:"messages that may come ahead of acknowledgements; MQTT 5 only"`
	Buffer            bridge.Size `yaml:"buffer" doc:"room for messages that have arrived and wait for the pipeline"`
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	ClientSettings `yaml:",inline"`

	Topic       bridge.Template `yaml:"topic,required" doc:"where to publish; may be a template"`
	QoS         int             `yaml:"qos" min:"0" max:"2" doc:"0, 1 or 2"`
	Retain      bridge.Template `yaml:"retain" doc:"have the broker keep the last message of each topic: true, false, or a template that gives one of them"`
	MaxInflight int             `yaml:"max_inflight" min:"1" max:"65534" doc:"messages sent and not confirmed, 1 to 65534"`
	AckTimeout  time.Duration   `yaml:"ack_timeout" doc:"for which the broker may confirm nothing and take nothing"`
}

// OneRun implements [bridge.OneRunner].
func (s *SourceSettings) OneRun() {
	if s.ClientID == "" && s.Bridge == "" && s.Session != "persistent" {
		s.Session, s.ClientID = "clean", "xrtcbridge-inline-"+strings.ToLower(rand.Text()[:8])
	}
}

// Validate checks what the types do not.
func (s *SourceSettings) Validate() error {
	errs := s.check()
	seen := make(map[string]bool)
	for _, filter := range s.Topics {
		if err := checkFilter(filter); err != nil {
			errs = append(errs, bridge.KeyErrorf("topics", "%q: %w", filter, err))
		}
		if seen[filter] {
			errs = append(errs, bridge.KeyErrorf("topics", "%q is there twice", filter))
		}
		seen[filter] = true
	}
	if s.Topics != nil && len(s.Topics) == 0 {
		errs = append(errs, bridge.KeyErrorf("topics", "there is none"))
	}
	if need := s.five(); need != "" && need != s.ClientSettings.five() && s.Protocol == protocol4 {
		errs = append(errs, bridge.KeyErrorf(need, "is of MQTT 5 only: leave out protocol: 3.1.1"))
	}
	if s.Bridge != "" && s.Session == "clean" {
		errs = append(errs, bridge.KeyErrorf("session", "that of a bridge is persistent"))
	}
	if s.Bridge != "" && s.MaxInflight != defaultInflight {
		errs = append(errs, bridge.KeyErrorf("max_inflight",
			"cannot be set in a bridge, whose sink may connect first and does not know it"))
	}
	if s.Bridge != "" && s.Protocol != protocol4 && slices.ContainsFunc(s.Topics, isShared) {
		errs = append(errs, bridge.KeyErrorf("topics",
			"$share cannot be in a bridge, since MQTT 5 does not keep apart what the bridge itself publishes there"))
	}
	if s.Buffer < 1 {
		errs = append(errs, bridge.KeyErrorf("buffer", "must be above 0"))
	}
	return errors.Join(errs...)
}

// five returns a setting that only MQTT 5 can do, empty if there is none.
func (s *SourceSettings) five() string {
	switch {
	case s.Retained == "none" || s.Retained == "once":
		return "retained"
	case s.RetainAsPublished:
		return "retain_as_published"
	}
	return s.ClientSettings.five()
}

func (s *ClientSettings) five() string {
	if s.Will != nil && s.Will.Delay > 0 {
		return "will.delay"
	}
	return ""
}

// subscription returns what to ask for.
func (s *SourceSettings) subscription() subscription {
	o := subscription{qos: byte(s.QoS), asPublished: s.RetainAsPublished}
	switch s.Retained {
	case "once":
		o.retained = 1
	case "none":
		o.retained = 2
	}
	return o
}

// clean tells whether the broker is to forget the session at the end of the connection. In a shared
// subscription a session that waits would keep messages from those who are there.
func (s *SourceSettings) clean() bool {
	return s.Session == "clean" || s.Session == "" && s.Bridge == "" &&
		(s.QoS == 0 || len(s.Topics) > 0 && !slices.ContainsFunc(s.Topics, func(f string) bool { return !isShared(f) }))
}

// Validate checks what the types do not.
func (s *SinkSettings) Validate() error {
	errs := s.check()
	if s.Topic != nil {
		if topic, constant := s.Topic.Constant(); constant {
			if err := checkTopic(topic); err != nil {
				errs = append(errs, bridge.KeyErrorf("topic", "%q: %w", topic, err))
			}
		}
	}
	if s.Retain != nil {
		if text, constant := s.Retain.Constant(); constant && text != "true" && text != "false" {
			errs = append(errs, bridge.KeyErrorf("retain",
				"%q is not true, false or a template like {{ header.mqtt_retained == 'true' }}", text))
		}
	}
	if s.Bridge != "" && s.QoS == 2 {
		errs = append(errs, bridge.KeyErrorf("qos",
			"must be 0 or 1 in a bridge: its session is kept, in which a broker may take a message for one from before a break"))
	}
	if s.Bridge == "" && s.SessionExpiry != defaultExpiry {
		errs = append(errs, bridge.KeyErrorf("session_expiry", "a sink has no session that is kept, but in a bridge"))
	}
	if s.AckTimeout <= 0 {
		errs = append(errs, bridge.KeyErrorf("ack_timeout", "must be above 0"))
	}
	return errors.Join(errs...)
}

// exclusive names the client at its broker, where a second one of the same name
// would take over the connection of the first.
func (s *ClientSettings) exclusive(end string) string {
	if link := s.link(); link != "" {
		return "the " + end + " of " + link
	}
	if s.ClientID == "" || s.host() == "" {
		return ""
	}
	return fmt.Sprintf("client_id %s at %s", s.ClientID, s.host())
}

// host returns that of the first broker, empty if it is not known.
func (s *ClientSettings) host() string {
	if len(s.URL) == 0 || s.URL[0].IsZero() {
		return ""
	}
	return s.URL[0].Host
}

func (s *ClientSettings) clientID(env bridge.Env) string {
	return cmp.Or(s.Bridge, s.ClientID, "xrtcbridge-"+env.Instance)
}

// link names the connection that source and sink share; empty: they share none.
func (s *ClientSettings) link() string {
	if s.Bridge == "" || s.host() == "" {
		return ""
	}
	return fmt.Sprintf("bridge %s at %s", s.Bridge, s.host())
}

// credentials returns those for the broker at u.
func (s *ClientSettings) credentials(u bridge.URL) (user, password string) {
	password, _ = u.User.Password()
	return cmp.Or(s.Username, u.User.Username()), cmp.Or(s.Password.Reveal(), password)
}

func (s *ClientSettings) check() []error {
	errs := []error{s.Birth.check("birth"), s.Will.notice().check("will")}
	if s.Will != nil && s.Will.Delay < 0 {
		errs = append(errs, bridge.KeyErrorf("will.delay", "must not be below 0"))
	}
	if need := s.five(); need != "" && s.Protocol == protocol4 {
		errs = append(errs, bridge.KeyErrorf(need, "is of MQTT 5 only: leave out protocol: 3.1.1"))
	}
	for _, u := range s.URL {
		if u.IsZero() {
			continue
		}
		port, _, web := scheme(u.Scheme)
		switch {
		case port == "":
			errs = append(errs, bridge.KeyErrorf("url", "the scheme of %q is not mqtt, mqtts, ws or wss", u))
		case u.Hostname() == "":
			errs = append(errs, bridge.KeyErrorf("url", "there is no host in %q, as in mqtt://host:1883", u))
		case !web && u.Path != "" && u.Path != "/":
			errs = append(errs, bridge.KeyErrorf("url", "there is a path in %q: topics have a key of their own", u))
		}
		if user, password := s.credentials(u); user == "" && password != "" {
			errs = append(errs, bridge.KeyErrorf("username", "a password needs a username"))
		}
	}
	if s.Keepalive < time.Second || s.Keepalive > 65535*time.Second {
		errs = append(errs, bridge.KeyErrorf("keepalive", "must be 1s to 18h"))
	}
	if s.SessionExpiry < time.Second {
		errs = append(errs, bridge.KeyErrorf("session_expiry", "must be 1s or more; session: clean keeps none"))
	}
	for key, d := range map[string]time.Duration{"connect_timeout": s.ConnectTimeout, "write_timeout": s.WriteTimeout} {
		if d <= 0 {
			errs = append(errs, bridge.KeyErrorf(key, "must be above 0"))
		}
	}
	if s.MaxPacket < 128 || s.MaxPacket > maxRemaining {
		errs = append(errs, bridge.KeyErrorf("max_packet", "must be 128 bytes to 255 MiB"))
	}
	for key, id := range map[string]string{"client_id": s.ClientID, "bridge": s.Bridge} {
		if len(id) > maxTopic {
			errs = append(errs, bridge.KeyErrorf(key, "is longer than 65535 bytes"))
		}
	}
	return errs
}

func (n *Notice) check(key string) error {
	if n == nil {
		return nil
	}
	var errs []error
	if err := checkTopic(n.Topic); err != nil {
		errs = append(errs, bridge.KeyErrorf(key+".topic", "%q: %w", n.Topic, err))
	}
	if _, err := n.properties(); err != nil {
		errs = append(errs, bridge.KeyErrorf(key+".header", "%w", err))
	}
	if len(n.Payload) > maxTopic {
		errs = append(errs, bridge.KeyErrorf(key+".payload", "is longer than 65535 bytes"))
	}
	return errors.Join(errs...)
}

// properties returns those of MQTT 5.
func (n *Notice) properties() ([]byte, error) {
	var w writer
	block, _, err := w.properties(nil, &bridge.Message{Header: n.Header, Payload: []byte(n.Payload)}, time.Time{})
	return block, err
}
