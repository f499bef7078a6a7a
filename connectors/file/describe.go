package file

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

// system names all files of this machine.
const system = "files"

// Describe says what a restart does, and which files are read.
func (s SourceSettings) Describe() bridge.Description {
	d := bridge.Description{
		Guarantee: bridge.Guarantee{
			Level: bridge.LevelAtLeastOnce,
			Why:   "a restart reads the files from their beginning again",
		},
		Traffic: s.traffic(),
		Ends:    !s.Follow,
	}
	if s.Follow {
		d.Guarantee.Why = "a restart goes on where it ended, also over renames; " +
			"what a writer cuts off a file before it is read is lost"
		d.Guarantee.StableIDs, d.Where = true, where
	}
	return d
}

func (s SourceSettings) traffic() bridge.Traffic {
	t := bridge.Traffic{System: system, Reads: s.reads}
	for _, p := range s.Path {
		t.Topics = append(t.Topics, strings.TrimPrefix(constant(filepath.Clean(p)), "./"))
	}
	return t
}

// constant returns what the paths that match a pattern begin with.
func constant(pattern string) string {
	if !isPattern(pattern) {
		return pattern
	}
	dir, _ := doublestar.SplitPattern(filepath.ToSlash(pattern))
	return strings.TrimSuffix(dir, "/") + "/"
}

// reads reports whether the source may read a file that is called path, or begins so.
func (s SourceSettings) reads(path string, whole bool) bool {
	path = absolute(path)
	if whole && slices.ContainsFunc(s.Exclude, func(p string) bool { return matchesAny([]string{p, absolute(p)}, path) }) {
		return false
	}
	return slices.ContainsFunc(s.Path, func(p string) bool {
		p = absolute(p)
		if whole {
			return matchesAny([]string{p}, path)
		}
		return strings.HasPrefix(path, constant(p)) || strings.HasPrefix(constant(p), path)
	})
}

// Describe says what is on the disk when a message counts as delivered, which files are written,
// and which one no other sink may write.
func (s SinkSettings) Describe() bridge.Description {
	d := bridge.Description{Guarantee: bridge.Guarantee{Level: bridge.LevelAtLeastOnce, Why: "synced to disk"}}
	if !s.Sync {
		d.Guarantee.Why = "sync: false: survives a crash of the process, not of the machine"
	}
	if s.Path == nil {
		return d
	}
	d.Traffic = bridge.Traffic{
		System: system, Topic: s.Path, Apart: "another folder, or exclude: at the source, of what the sink writes",
	}
	if path, constant := s.Path.Constant(); constant {
		d.Exclusive = "file " + absolute(path)
		if s.Rotate.rotates() {
			d.Traffic.Besides = []string{path + stamp}
		}
	}
	return d
}

// absolute makes a path, or how one begins, absolute.
func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if strings.HasSuffix(path, "/") && abs != "/" {
		abs += "/"
	}
	return abs
}
