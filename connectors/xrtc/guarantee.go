package xrtc

import (
	"github.com/xrtcbridge/xrtcbridge/bridge"
	sdk "github.com/xrtcbridge/xrtcbridge/xrtc"
)

// Describe says what a portal's ring promises.
func (s *SourceSettings) Describe() bridge.Description {
	topics := s.Portals
	if s.all() {
		topics = []string{""}
	}
	return bridge.Description{
		Guarantee: s.guarantee(),
		Traffic:   bridge.Traffic{System: s.system(), Topics: topics, Headers: s.Envelope, HeadersBy: "envelope: true"},
		Reads:     s.reads(),
	}
}

// Describe says what the server confirms.
func (s *SinkSettings) Describe() bridge.Description {
	return bridge.Description{
		Guarantee: s.guarantee(),
		Traffic:   bridge.Traffic{System: s.system(), Topic: s.Portal, Headers: s.Envelope, HeadersBy: "envelope: true"},
		Reads:     s.reads(),
	}
}

func (s *SourceSettings) guarantee() bridge.Guarantee {
	if s.Cutoff > 0 {
		return bridge.Guarantee{Level: bridge.LevelAtMostOnce, Why: "cutoff: what is older is left out"}
	}
	if s.lifo() {
		return bridge.Guarantee{
			Level: bridge.LevelAtMostOnce,
			Why:   "schedule: LIFO: the newest come first, and what an answer has no room for is left out",
		}
	}
	return bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce, StableIDs: true,
		Why: "a restart goes on where it ended, as long as the portal's ring holds an item; " +
			"one that was overrun is counted as dropped",
	}
}

func (s *SinkSettings) guarantee() bridge.Guarantee {
	if s.Overflow != "block" {
		return bridge.Guarantee{
			Level: bridge.LevelAtMostOnce,
			Why:   "overflow: " + s.Overflow + ": what the server's rate has no room for is left out",
		}
	}
	return bridge.Guarantee{
		Level: bridge.LevelAtLeastOnce,
		Why:   "the server confirms each request, and keeps the newest items of a portal in memory",
	}
}

// reads returns the file that is read where the settings name none.
func (s *ClientSettings) reads() []string {
	if s.EnvFile != "" {
		return nil
	}
	return []string{sdk.DefaultFile}
}

func (s *ClientSettings) system() string {
	if s.URL.IsZero() {
		return "xrtc"
	}
	return "xrtc " + s.URL.Host
}
