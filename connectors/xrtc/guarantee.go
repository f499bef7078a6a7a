package xrtc

import "github.com/xrtcbridge/xrtcbridge/bridge"

// Describe says what a portal's ring promises.
func (s *SourceSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: s.guarantee(),
		Traffic:   bridge.Traffic{System: s.system(), Topics: s.Portals, Headers: s.Envelope},
	}
}

// Describe says what the server confirms.
func (s *SinkSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: s.guarantee(),
		Traffic:   bridge.Traffic{System: s.system(), Topic: s.Portal, Headers: s.Envelope},
	}
}

func (s *SourceSettings) guarantee() bridge.Guarantee {
	if s.Cutoff > 0 {
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "cutoff: what is older is left out"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, StableIDs: true, Why: "a restart goes on where it ended, as long as the portal's ring holds an item; one that was overrun is counted as dropped"}
}

func (s *SinkSettings) guarantee() bridge.Guarantee {
	if s.Overflow != "block" {
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "overflow: " + s.Overflow + ": what the server's rate has no room for is left out"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "the server confirms each request, and keeps the newest items of a portal in memory"}
}

func (s *ClientSettings) system() string {
	if s.URL.IsZero() {
		return "xrtc"
	}
	return "xrtc " + s.URL.Host
}
