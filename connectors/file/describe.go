package file

import (
	"path/filepath"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// Describe says what a restart does.
func (s SourceSettings) Describe() bridge.Description {
	if s.Follow {
		return bridge.Description{Guarantee: bridge.Guarantee{
			Level: bridge.LevelAtLeastOnce, StableIDs: true,
			Why: "a restart goes on where it ended, also over renames; what a writer cuts off a file before it is read is lost",
		}}
	}
	return bridge.Description{
		Guarantee: bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "a restart reads the files from their beginning again"},
		Ends:      true,
	}
}

// Describe says what is on the disk when a message counts as delivered, and which file no other
// sink may write.
func (s SinkSettings) Describe() bridge.Description {
	g := bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "synced to disk"}
	if !s.Sync {
		g.Why = "sync: false: survives a crash of the process, not of the machine"
	}
	return bridge.Description{Guarantee: g, Exclusive: s.exclusive()}
}

func (s SinkSettings) exclusive() string {
	if s.Path == nil {
		return ""
	}
	path, constant := s.Path.Constant()
	if !constant {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return "file " + path
}
