package mqtt

import (
	"fmt"
	"strings"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Guarantee says what the QoS and the session promise.
func (s *SourceSettings) Guarantee() bridge.Guarantee {
	switch {
	case s.QoS == 0:
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "qos 0: the broker sends each message once; qos: 1 lets it send again what was not acknowledged"}
	case s.Session == "clean":
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "session: clean: what comes while the bridge is away is not kept; session: persistent keeps it"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: fmt.Sprintf("qos %d: the broker sends again what was not acknowledged, as long as it keeps the session", s.QoS)}
}

// Guarantee says what the QoS promises.
func (s *SinkSettings) Guarantee() bridge.Guarantee {
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

// Traffic returns what the filters begin with.
func (s *SourceSettings) Traffic() bridge.Traffic {
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

// Traffic returns the template.
func (s *SinkSettings) Traffic() bridge.Traffic {
	return bridge.Traffic{System: s.system(), Topic: s.Topic}
}
