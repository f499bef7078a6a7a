package mqtt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// maxUnacked is how many messages a broker has on their way to one client before it waits for
// acknowledgements. Each has a setting of its own for that, which MQTT 3.1.1 does not tell; this is
// max_inflight_messages of mosquitto, unless its configuration says otherwise, and the least of the
// well-known ones.
const maxUnacked = 20

// What ends circles: linkBy by itself, headersBy with a mark in a header.
const (
	linkBy    = "bridge: NAME"
	headersBy = "protocol: 5"
)

// Describe says what the QoS and the session promise.
func (s *SourceSettings) Describe() bridge.Description {
	d := bridge.Description{Guarantee: s.guarantee(), Traffic: s.traffic(), Exclusive: s.exclusive("source")}
	if s.QoS > 0 {
		d.MaxUnacked = min(maxUnacked, s.MaxInflight)
	}
	filters, covered := uncovered(s.Topics)
	if len(covered) > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("left out, since another topic covers it: %q", covered))
	}
	for i, a := range filters {
		for _, b := range filters[:i] {
			if overlap(inner(a), inner(b)) {
				d.Notes = append(d.Notes, fmt.Sprintf("%q and %q overlap: brokers may send twice what matches both", b, a))
			}
		}
	}
	if slices.ContainsFunc(filters, isShared) {
		if s.Protocol != protocol5 {
			d.Notes = append(d.Notes,
				"$share is no part of MQTT 3.1.1: nats-server, which is the embedded broker too, grants it and delivers nothing")
		}
		if !s.clean() {
			d.Notes = append(d.Notes, "session: persistent makes messages for $share wait for a member that is away; "+
				"session: clean leaves them to the others")
		}
	}
	return d
}

// Describe says what the QoS promises.
func (s *SinkSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: s.guarantee(), Exclusive: s.exclusive("sink"),
		Traffic: bridge.Traffic{
			System: s.system(), Topic: s.Topic, Link: s.link(), LinkBy: linkBy,
			Headers: s.Protocol == protocol5, HeadersBy: headersBy,
		},
	}
}

func (s *SourceSettings) guarantee() bridge.Guarantee {
	switch {
	case s.QoS == 0:
		return bridge.Guarantee{
			Level: bridge.LevelAtMostOnce,
			Why:   "qos 0: the broker sends each message once; qos: 1 lets it send again what was not acknowledged",
		}
	case s.clean():
		return bridge.Guarantee{
			Level: bridge.LevelAtMostOnce,
			Why:   "session: clean: what comes while the bridge is away is not kept; session: persistent keeps it",
		}
	}
	return bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce,
		Why: fmt.Sprintf("qos %d: the broker sends again what was not acknowledged, as long as it keeps the session%s",
			s.QoS, s.kept()),
	}
}

// kept says for how long a session is kept without a client, if that is known.
func (s *SourceSettings) kept() string {
	switch s.Protocol {
	case protocol4:
		return ""
	case protocol5:
		return fmt.Sprintf(": session_expiry, %v", s.SessionExpiry)
	}
	return fmt.Sprintf(": session_expiry, %v, where it speaks MQTT 5", s.SessionExpiry)
}

func (s *SinkSettings) guarantee() bridge.Guarantee {
	if s.QoS == 0 {
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "qos 0: the broker confirms nothing; with qos: 1 it does"}
	}
	return bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce,
		Why:   fmt.Sprintf("qos %d: the broker confirms each message", s.QoS),
	}
}

func (s *ClientSettings) system() string {
	if s.host() == "" {
		return ""
	}
	return "mqtt " + s.host()
}

// traffic returns what the filters begin with.
func (s *SourceSettings) traffic() bridge.Traffic {
	t := bridge.Traffic{
		System: s.system(), Link: s.link(), LinkBy: linkBy, Headers: s.Protocol == protocol5, HeadersBy: headersBy,
	}
	for _, filter := range s.Topics {
		begin, _, _ := strings.Cut(inner(filter), "#")
		begin, _, _ = strings.Cut(begin, "+")
		t.Topics = append(t.Topics, begin)
	}
	return t
}
