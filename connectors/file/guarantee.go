package file

import "github.com/xrtcbridge/xrtcbridge/bridge"

// Guarantee says what a restart does.
func (s SourceSettings) Guarantee() bridge.Guarantee {
	if s.Follow {
		return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, StableIDs: true, Why: "a restart goes on where it ended, also over renames; what a writer cuts off a file before it is read is lost"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "a restart reads the files from their beginning again"}
}

// Guarantee says what is on the disk when a message counts as delivered.
func (s SinkSettings) Guarantee() bridge.Guarantee {
	if s.Sync {
		return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "synced to disk"}
	}
	return bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "sync: false: survives a crash of the process, not of the machine"}
}
