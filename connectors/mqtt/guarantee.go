package mqtt

import (
	"fmt"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// maxUnacked is how many messages a broker has on their way to one client before it waits for
// acknowledgements. Each has a setting of its own for that, which MQTT 3.1.1 does not tell; this is
// max_inflight_messages of mosquitto, unless its configuration says otherwise, and the least of the
// well-known ones.
const maxUnacked = 20

// Describe says what the QoS and the session promise.
func (s *SourceSettings) Describe() bridge.Description {
	d := bridge.Description{Guarantee: s.guarantee(), Traffic: s.traffic(), Exclusive: s.exclusive()}
	if s.QoS > 0 {
		d.MaxUnacked = maxUnacked
	}
	return d
}

// Describe says what the QoS promises.
func (s *SinkSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: s.guarantee(), Exclusive: s.exclusive(),
		Traffic: bridge.Traffic{System: s.system(), Topic: s.Topic},
	}
}

func (s *SourceSettings) guarantee() bridge.Guarantee {
	switch {
	case s.QoS == 0:
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "qos 0: the broker sends each message once; qos: 1 lets it send again what was not acknowledged"}
	case s.Session == "clean":
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "session: clean: what comes while the bridge is away is not kept; session: persistent keeps it"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: fmt.Sprintf("qos %d: the broker sends again what was not acknowledged, as long as it keeps the session", s.QoS)}
}

func (s *SinkSettings) guarantee() bridge.Guarantee {
	if s.QoS == 0 {
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "qos 0: the broker confirms nothing; with qos: 1 it does"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: fmt.Sprintf("qos %d: the broker confirms each message", s.QoS)}
}

func (s *ClientSettings) system() string {
	if s.URL.IsZero() {
		return ""
	}
	return "mqtt " + s.URL.Host
}

// traffic returns what the filters begin with.
func (s *SourceSettings) traffic() bridge.Traffic {
	t := bridge.Traffic{System: s.system()}
	for _, filter := range s.Topics {
		if group, is := strings.CutPrefix(filter, "$share/"); is {
			_, filter, _ = strings.Cut(group, "/")
		}
		begin, _, _ := strings.Cut(filter, "#")
		begin, _, _ = strings.Cut(begin, "+")
		t.Topics = append(t.Topics, begin)
	}
	return t
}
