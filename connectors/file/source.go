package file

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/xrtcbridge/xrtcbridge/bridge"
)

func openSource(ctx context.Context, s *SourceSettings, env bridge.Env) (bridge.Source, error) {
	if s.Follow {
		return openFollower(ctx, s, env)
	}
	return openReader(s, env)
}

// matches returns the paths that match any of the patterns, sorted, each once.
func matches(patterns []string) ([]string, error) {
	var paths []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", p, err)
		}
		paths = append(paths, found...)
	}
	return compact(paths), nil
}

// compact returns the paths sorted, each once.
func compact(paths []string) []string {
	slices.Sort(paths)
	return slices.Compact(paths)
}

func tooLong(path string, offset int64, limit int) error {
	return bridge.Permanent(fmt.Errorf("the line at byte %d of %s is longer than max_line, which is %v", offset, path, bridge.Size(limit)))
}
