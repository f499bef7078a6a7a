package mqtt

import (
	"errors"
	"fmt"
	"time"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// ClientSettings are what source and sink have in common.
type ClientSettings struct {
	URL            bridge.URL    `yaml:"url,required"`    // mqtt://host:1883, mqtts://host:8883, ws://host:80/path, wss://host:443/path
	ClientID       string        `yaml:"client_id,own"`   // default: xrtcbridge-PIPELINE-from, and for a sink -to and a random end
	Username       string        `yaml:"username"`        // may stand in the URL
	Password       bridge.Secret `yaml:"password"`        // may stand in the URL
	TLS            bridge.TLS    `yaml:"tls"`             // for mqtts and wss
	Keepalive      time.Duration `yaml:"keepalive"`       // silence after which the broker is pinged
	ConnectTimeout time.Duration `yaml:"connect_timeout"` // for connecting, and again for subscribing
	WriteTimeout   time.Duration `yaml:"write_timeout"`   // for a write to get through, and for the answer to a ping
	MaxPacket      bridge.Size   `yaml:"max_packet"`      // the largest packet to receive or send; larger messages are refused
}

// SourceSettings are the settings of the source.
type SourceSettings struct {
	ClientSettings `yaml:",inline"`

	Topics  []string    `yaml:"topics,required"`                 // filters: sensors/+/temp, sensors/#, $share/group/sensors/#
	QoS     int         `yaml:"qos"`                             // the most to ask for: 0, 1 or 2
	Session string      `yaml:"session" enum:"persistent|clean"` // default: persistent with qos 1 and 2, clean with 0
	Buffer  bridge.Size `yaml:"buffer"`                          // room for messages that have arrived and wait for the pipeline
}

// SinkSettings are the settings of the sink.
type SinkSettings struct {
	ClientSettings `yaml:",inline"`

	Topic       bridge.Template `yaml:"topic,required"` // where to publish; may be a template
	QoS         int             `yaml:"qos"`            // 0, 1 or 2
	Retain      bool            `yaml:"retain"`         // have the broker keep the last message of each topic
	MaxInflight int             `yaml:"max_inflight"`   // messages sent and not confirmed, 1 to 65535
	AckTimeout  time.Duration   `yaml:"ack_timeout"`    // for which the broker may confirm nothing
}

// Validate checks what the types do not.
func (s *SourceSettings) Validate() error {
	errs := append(s.check(), checkQoS(s.QoS))
	seen := make(map[string]bool)
	for _, filter := range s.Topics {
		if err := checkFilter(filter); err != nil {
			errs = append(errs, keyError("topics", "%q: %w", filter, err))
		}
		if seen[filter] {
			errs = append(errs, keyError("topics", "%q is there twice", filter))
		}
		seen[filter] = true
	}
	if s.Topics != nil && len(s.Topics) == 0 {
		errs = append(errs, keyError("topics", "there is none"))
	}
	switch s.Session {
	case "", "persistent", "clean":
	default:
		errs = append(errs, keyError("session", "%q is not persistent or clean", s.Session))
	}
	if s.Buffer < 1 {
		errs = append(errs, keyError("buffer", "must be above 0"))
	}
	return errors.Join(errs...)
}

// clean tells whether the broker is to forget the session at the end of the connection.
func (s *SourceSettings) clean() bool {
	return s.Session == "clean" || s.Session == "" && s.QoS == 0
}

// Validate checks what the types do not.
func (s *SinkSettings) Validate() error {
	errs := append(s.check(), checkQoS(s.QoS))
	if s.Topic != nil {
		if topic, constant := s.Topic.Constant(); constant {
			if err := checkTopic(topic); err != nil {
				errs = append(errs, keyError("topic", "%q: %w", topic, err))
			}
		}
	}
	if s.MaxInflight < 1 || s.MaxInflight > maxInflight {
		errs = append(errs, keyError("max_inflight", "must be 1 to %d", maxInflight))
	}
	if s.AckTimeout <= 0 {
		errs = append(errs, keyError("ack_timeout", "must be above 0"))
	}
	return errors.Join(errs...)
}

// exclusive names the client at its broker, where a second one of the same name
// would take over the connection of the first.
func (s *ClientSettings) exclusive() string {
	if s.ClientID == "" || s.URL.IsZero() {
		return ""
	}
	return fmt.Sprintf("client_id %s at %s", s.ClientID, s.URL.Host)
}

func (s *ClientSettings) clientID(env bridge.Env) string {
	if s.ClientID != "" {
		return s.ClientID
	}
	return "xrtcbridge-" + env.Instance
}

func (s *ClientSettings) credentials() (user, password string) {
	if u := s.URL.User; u != nil {
		user = u.Username()
		password, _ = u.Password()
	}
	if s.Username != "" {
		user = s.Username
	}
	if !s.Password.IsZero() {
		password = s.Password.Reveal()
	}
	return user, password
}

func (s *ClientSettings) check() []error {
	var errs []error
	if !s.URL.IsZero() {
		scheme, known := schemes(s.URL.Scheme)
		switch {
		case !known:
			errs = append(errs, keyError("url", "the scheme is not mqtt, mqtts, ws or wss"))
		case s.URL.Hostname() == "":
			errs = append(errs, keyError("url", "there is no host, as in mqtt://host:1883"))
		case !scheme.web && s.URL.Path != "" && s.URL.Path != "/":
			errs = append(errs, keyError("url", "there is a path: topics have a key of their own"))
		}
		if user, password := s.credentials(); user == "" && password != "" {
			errs = append(errs, keyError("username", "a password needs a username"))
		}
	}
	if s.Keepalive < time.Second || s.Keepalive > 65535*time.Second {
		errs = append(errs, keyError("keepalive", "must be 1s to 18h"))
	}
	if s.ConnectTimeout <= 0 {
		errs = append(errs, keyError("connect_timeout", "must be above 0"))
	}
	if s.WriteTimeout <= 0 {
		errs = append(errs, keyError("write_timeout", "must be above 0"))
	}
	if s.MaxPacket < 128 || s.MaxPacket > maxRemaining {
		errs = append(errs, keyError("max_packet", "must be 128 bytes to 255 MiB"))
	}
	if len(s.ClientID) > maxTopic {
		errs = append(errs, keyError("client_id", "is longer than 65535 bytes"))
	}
	return errs
}

func checkQoS(qos int) error {
	if qos < 0 || qos > 2 {
		return keyError("qos", "must be 0, 1 or 2")
	}
	return nil
}

func keyError(key, format string, args ...any) error {
	return &bridge.KeyError{Key: key, Err: fmt.Errorf(format, args...)}
}
